"""The client library of market-data-store: write market data idempotently, read it fast, as one tenant among many."""

from mds_client._version import __version__
from mds_client.aclient import AMDS
from mds_client.batch import AsyncBatchProcessor, BatchConfig, BatchProcessor, BatchStats, Reject
from mds_client.client import MDS
from mds_client.config import Config
from mds_client.errors import (
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
    ServerOutOfMemory,
    ServerUnreachable,
    TimeoutExceeded,
    UnknownSeries,
)
from mds_client.mapping import Mapping
from mds_client.models import (
    Bar,
    Coverage,
    DataQualityWarning,
    Fundamentals,
    Job,
    LatestPrice,
    News,
    OptionSnap,
    Row,
    Series,
)
from mds_client.operations import Health
from mds_client.profiles import Profile, profile
from mds_client.schema import KINDS, Kind

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
    "InvalidRow",
    "Job",
    "Kind",
    "LatestPrice",
    "MDSError",
    "MDSOperationalError",
    "Mapping",
    "News",
    "OptionSnap",
    "Profile",
    "RLSDenied",
    "Reject",
    "RetryableError",
    "Row",
    "SchemaMismatch",
    "Series",
    "ServerOutOfMemory",
    "ServerUnreachable",
    "TimeoutExceeded",
    "UnknownSeries",
    "__version__",
    "profile",
]
