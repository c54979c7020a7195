"""The servers and databases of a run. They are started for the run, and deleted afterwards."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from datastore import migration
from datastore.embedded import EmbeddedServer
from tests.engines import DSN_VARIABLES, EngineUnavailable, server
from tests.engines.databases import Databases, Embedded, Native, Single, can_have, shares_session

# What production has, except for what only waits for the disk: these machines' disks are shared and say nothing.
SETTINGS: Final = {
    "synchronous_commit": "off",
    "max_wal_size": "4GB",
    "shared_buffers": "512MB",
    "autovacuum": "off",
    "jit": "off",
}

ENGINES: Final = ("postgres", *DSN_VARIABLES)


@contextmanager
def running() -> Iterator[EmbeddedServer]:
    """Start plain PostgreSQL for the run."""
    with tempfile.TemporaryDirectory(prefix="mds-bench-") as folder:
        embedded = EmbeddedServer(Path(folder) / "home", settings=SETTINGS)
        embedded.up(migration.migrate)
        try:
            yield embedded
        finally:
            embedded.discard()


def missing(engine: str, *, short: bool) -> str | None:
    """Return why an engine cannot be measured here; None if it can."""
    if not short and shares_session(engine):
        return f"timings in WebAssembly mean nothing: name a server in {DSN_VARIABLES[engine]}"
    version, reason = can_have(engine)
    return reason if version is None else None


@contextmanager
def databases(engine: str) -> Iterator[Databases]:
    """The databases of an engine, whose server runs for as long. Raises `EngineUnavailable`."""
    with ExitStack() as stack:
        if engine == "postgres":
            yield Embedded(stack.enter_context(running()))
            return
        started = server(engine, os.environ)
        started.start()
        stack.callback(started.stop)
        if shares_session(engine):
            yield Single(started)  # type: ignore[arg-type]
            return
        native = Native(started)
        stack.callback(native.close)
        yield native


__all__ = ["ENGINES", "SETTINGS", "EngineUnavailable", "databases", "missing", "running"]
