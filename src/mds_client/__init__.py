"""The client library of market-data-store: write market data idempotently, read it fast, as one tenant among many."""

from mds_client._version import __version__
from mds_client.aclient import AMDS
from mds_client.client import MDS
from mds_client.config import Config
from mds_client.errors import (
    CommitUnknown,
    ConfigurationError,
    ConstraintViolation,
    InvalidRow,
    MDSError,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
    SchemaMismatch,
    ServerUnreachable,
    TimeoutExceeded,
)
from mds_client.models import Bar, DataQualityWarning, Fundamentals, LatestPrice, News, OptionSnap, Row
from mds_client.operations import Health
from mds_client.schema import KINDS, Kind

__all__ = [
    "AMDS",
    "KINDS",
    "MDS",
    "Bar",
    "CommitUnknown",
    "Config",
    "ConfigurationError",
    "ConstraintViolation",
    "DataQualityWarning",
    "Fundamentals",
    "Health",
    "InvalidRow",
    "Kind",
    "LatestPrice",
    "MDSError",
    "MDSOperationalError",
    "News",
    "OptionSnap",
    "RLSDenied",
    "RetryableError",
    "Row",
    "SchemaMismatch",
    "ServerUnreachable",
    "TimeoutExceeded",
    "__version__",
]
