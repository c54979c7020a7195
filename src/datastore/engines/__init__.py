"""Engines: plain PostgreSQL and TimescaleDB's two editions, behind one interface.

Engines apply the schema to a server. The schema itself is in `datastore.schema`.
"""

from datastore.engines.base import OLDEST_SERVER, Driver, Engine, Setting, one
from datastore.engines.detect import ENGINES, detect
from datastore.engines.timescale import CHUNKS_AT_ONCE, Timescale, TimescaleApache

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
