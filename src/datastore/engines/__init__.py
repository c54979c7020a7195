"""Engines: plain PostgreSQL and TimescaleDB's two editions, behind one interface.

Engines apply the schema to a server. The schema itself is in `datastore.schema`.
"""

from datastore.engines.apache import CHUNKS_AT_ONCE, TimescaleApache
from datastore.engines.base import OLDEST_SERVER, Driver, Engine, Setting, one
from datastore.engines.detect import ENGINES, detect
from datastore.engines.timescale import Timescale

__all__ = [
    "CHUNKS_AT_ONCE",
    "ENGINES",
    "OLDEST_SERVER",
    "Driver",
    "Engine",
    "Setting",
    "Timescale",
    "TimescaleApache",
    "detect",
    "one",
]
