"""Detection of a database's engine."""

from typing import Final

from datastore.engines.apache import TimescaleApache
from datastore.engines.base import OLDEST_SERVER, OLDEST_TIMESCALE, Driver, Engine
from datastore.engines.timescale import Timescale
from datastore.errors import UnsupportedServer
from mds_client.protocol.server import engine_name

ENGINES: Final = {engine.name: engine for engine in (Engine, TimescaleApache, Timescale)}


def detect(driver: Driver) -> Engine:
    """Return the engine of a database. Raises UnsupportedServer if PostgreSQL or TimescaleDB is too old."""
    version = driver.info.server_version
    if version < OLDEST_SERVER:
        raise UnsupportedServer(f"PostgreSQL 15 or newer is needed, this is {version // 10000}")
    row = driver.execute(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),"
        " current_setting('timescaledb.license', true)"
    ).fetchone()
    assert row is not None
    extension, license_ = row
    if extension is not None and _parsed(extension) < OLDEST_TIMESCALE:
        raise UnsupportedServer(
            f"TimescaleDB {'.'.join(map(str, OLDEST_TIMESCALE))} or newer is needed, this is {extension}:"
            " ALTER EXTENSION timescaledb UPDATE"
        )
    return ENGINES[engine_name(extension, license_)](version, extension)


def _parsed(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split("-")[0].split(".")
    return int(major), int(minor)
