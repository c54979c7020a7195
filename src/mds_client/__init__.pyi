from ._version import __version__
from .aclient import AMDS
from .batch import AsyncBatchProcessor, BatchConfig, BatchProcessor, BatchStats, Reject
from .client import MDS
from .config import Config
from .errors import (
    CommitUnknown,
    ConfigurationError,
    ConstraintViolation,
    IdempotencyConflict,
    InvalidRow,
    MDSError,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
    SchemaMismatch,
    SeriesConflict,
    ServerOutOfMemory,
    ServerUnreachable,
    TimeoutExceeded,
    UnknownSeries,
)
from .mapping import Mapping
from .models import (
    Bar,
    Coverage,
    DataQualityWarning,
    Fundamentals,
    Instrument,
    Job,
    LatestPrice,
    News,
    OptionSnap,
    Row,
    Series,
)
from .profiles import Profile, profile
from .protocol.server import Health
from .reading.parts import Part
from .schema import KINDS, Kind

__all__ = [
    "AMDS",
    "KINDS",
    "MDS",
    "AsyncBatchProcessor",
    "Bar",
    "BatchConfig",
    "BatchProcessor",
    "BatchStats",
    "CommitUnknown",
    "Config",
    "ConfigurationError",
    "ConstraintViolation",
    "Coverage",
    "DataQualityWarning",
    "Fundamentals",
    "Health",
    "IdempotencyConflict",
    "Instrument",
    "InvalidRow",
    "Job",
    "Kind",
    "LatestPrice",
    "MDSError",
    "MDSOperationalError",
    "Mapping",
    "News",
    "OptionSnap",
    "Part",
    "Profile",
    "RLSDenied",
    "Reject",
    "RetryableError",
    "Row",
    "SchemaMismatch",
    "Series",
    "SeriesConflict",
    "ServerOutOfMemory",
    "ServerUnreachable",
    "TimeoutExceeded",
    "UnknownSeries",
    "__version__",
    "profile",
]
