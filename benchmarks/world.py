"""The surroundings of a case: the databases of one engine, the data, and the preparations of cases."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from benchmarks.data import BEGIN, CHECKSUM, VENDOR, Checksum, Data, Size, encoded, long_table, symbol, table
from datastore import reads, tenants
from datastore.names import OWNER, TENANT_BITS
from mds_client import AMDS, KINDS, MDS
from tests.engines.databases import Databases, Place

FAR: Final = BEGIN + timedelta(days=3650)
"""Behind every bar that is written: where series already have a newer row."""

STORED: Final = SQL("(SELECT s.symbol, b.* FROM store.bars AS b JOIN store.series AS s USING (series_id))")
"""The store's rows with the columns of a bar, for the checksum."""

IN_TABLE: Final = KINDS["bars"].in_table
COLUMNS: Final = ("series_id", *(column.name for column in IN_TABLE))
"""The table's columns, an amount as two of them."""


class Database:
    """A migrated database with a tenant whose series exist, as on any day but the first."""

    def __init__(self, place: Place, data: Data, *, single_session: bool) -> None:
        self.data = data
        self.admin_dsn = place.admin_dsn
        self.superuser_dsn = place.superuser_dsn
        self.dsn = place.dsn
        self.single_session = single_session
        self._pause_policies()
        self.tenant: UUID = tenants.create_tenant(place.admin_dsn, "bench").id
        # What is in it: a case that finds another's leavings fills it anew.
        self.state = ""
        with self.client() as mds:
            mds.upsert_bars(data.table.slice(0, data.size.series))

    def _pause_policies(self) -> None:
        """The server's own jobs leave alone what is measured: the data is old, and they would compress it meanwhile."""
        with self.superuser() as superuser:
            if superuser.execute("SELECT to_regclass('timescaledb_information.jobs')").fetchone() != (None,):
                superuser.execute(
                    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
                    " WHERE hypertable_schema = 'store'"
                )

    def client(self, **settings: Any) -> MDS:
        """Make a client of the tenant with one or two connections."""
        return MDS(**self._settings(settings))

    def aclient(self, **settings: Any) -> AMDS:
        """Make an asynchronous client within an event loop."""
        return AMDS(**self._settings(settings))

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        modest = {"pool_min": 1, "pool_max": 2, "statement_timeout_ms": 0}
        if self.single_session:
            settings = {**settings, "prepare_threshold": "none"}
        return {"dsn": self.dsn, "tenant_id": str(self.tenant), **modest, **settings}

    @contextmanager
    def owner(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection that acts as the owner of the tables, in autocommit mode."""
        with psycopg.connect(self.admin_dsn, autocommit=True, prepare_threshold=None) as connection:
            connection.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))
            yield connection

    @contextmanager
    def superuser(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a superuser's connection."""
        with psycopg.connect(self.superuser_dsn, autocommit=True, prepare_threshold=None) as connection:
            yield connection

    @cached_property
    def ids(self) -> dict[str, int]:
        """Return the ids of the tenant's 1m series."""
        with self.superuser() as connection:
            return dict(
                connection.execute("SELECT symbol, series_id FROM store.series WHERE timeframe = '1m'").fetchall()
            )

    @cached_property
    def blocks(self) -> Any:
        """The batch as a binary COPY of sorted narrow rows."""
        return encoded(self.data.table, self.ids)

    @cached_property
    def records(self) -> list[tuple[Any, ...]]:
        """The batch as tuples with the tenant in front."""
        return self.data.records(self.tenant, self.data.table)

    def copy(self, connection: psycopg.Connection[Any], target: Composable, blocks: Any) -> None:
        """Copy encoded narrow rows into a table."""
        columns = SQL(", ").join(map(Identifier, COLUMNS))
        statement = SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(target, columns)
        with connection.cursor().copy(statement) as copying:
            for block in blocks:
                copying.write(block)

    def emptied(self, *, newer: bool = False) -> None:
        """No bars; the series stay. With `newer`, each has one row behind all that will be written, so that no writer
        can know that its rows meet none."""
        self.state = ""
        with self.superuser() as connection:
            connection.execute("TRUNCATE store.bars")
            connection.execute("UPDATE store.series SET last_ts = NULL, last_price = NULL, last_price_ts = NULL")
            if newer:
                connection.execute(
                    "INSERT INTO store.bars (series_id, ts, close_price)"
                    " SELECT series_id, %s, 1 FROM store.series WHERE kind = 'bars' ORDER BY 1",
                    (FAR,),
                )
                connection.execute(
                    "UPDATE store.series SET last_ts = %s, last_price = 1, last_price_ts = %s WHERE kind = 'bars'",
                    (FAR, FAR),
                )
            self.settled(connection)

    def settled(self, connection: psycopg.Connection[Any]) -> None:
        """Vacuum and analyze, so that no work from before is left to the server."""
        connection.execute("VACUUM (ANALYZE) store.series")
        connection.execute("VACUUM (ANALYZE) store.bars")
        connection.execute("CHECKPOINT")

    def filled(self, minutes: int) -> None:
        """So many minutes of every series, and nothing else; nothing to do where that is there already."""
        if self.state == f"{minutes} minutes":
            return
        self.emptied()
        size, most = self.data.size, 2000
        for first in range(0, minutes, most):
            rows = table(size.series, min(most, minutes - first), first_minute=first, seed=first + 1)
            with self.owner() as connection:
                self.copy(connection, SQL("store.bars"), encoded(rows, self.ids))
        with self.superuser() as connection:
            connection.execute(
                "UPDATE store.series AS s SET last_ts = b.ts, last_price = b.close_price, last_price_ts = b.ts"
                " FROM (SELECT DISTINCT ON (series_id) series_id, ts, close_price FROM store.bars"
                "       ORDER BY series_id, ts DESC) AS b WHERE b.series_id = s.series_id"
            )
            self.settled(connection)
        self.state = f"{minutes} minutes"

    def other_tenant(self, name: str) -> str:
        """Return the id of another tenant of the database; creates it if needed."""
        return str(tenants.create_tenant(self.admin_dsn, name, if_absent=True).id)

    def range(self) -> tuple[int, int]:
        """Return the range of the tenant's series ids, without its end."""
        (no,) = (found.no for found in tenants.list_tenants(self.admin_dsn) if found.id == self.tenant)
        return no << TENANT_BITS, (no + 1) << TENANT_BITS

    def many_series(self, tenant: str) -> list[str]:
        """Give a tenant as many series as latest prices are looked for among, each with a bar; some 500 of them."""
        size = self.data.size
        with self.client() as own:
            mds = own.for_tenant(tenant)
            if not mds.latest_prices([symbol(size.many - 1)], VENDOR):
                mds.upsert_bars(table(size.many, 1, timeframe="1d"))
                with self.superuser() as connection:
                    self.settled(connection)
        return [symbol(number) for number in range(0, size.many, max(1, size.many // 500))][:500]

    def long(self) -> tuple[str, int]:
        """Return the name and id of the series of the long window; creates it if needed."""
        name, query = symbol(99_999), "SELECT series_id FROM store.series WHERE symbol = %s AND timeframe = '1s'"
        with self.superuser() as connection:
            if connection.execute(query, (name,)).fetchone() is None:
                with self.client() as mds:
                    mds.upsert_bars(long_table(self.data.size.long))
                self.settled(connection)
            ((id_,),) = connection.execute(query, (name,)).fetchall()
        return name, int(id_)

    def checksum(self, rows: Composable = STORED, until: datetime = FAR) -> Checksum:
        """Return the checksum of the rows before a time."""
        before = SQL("(SELECT * FROM {} AS r WHERE ts < {})").format(rows, Literal(until))
        statement = SQL(CHECKSUM).format(begin=Literal(BEGIN), rows=SQL("{} AS r").format(before))
        with self.superuser() as connection:
            (found,) = connection.execute(statement).fetchall()
        return Checksum(tuple(int(value) for value in found))

    def versions(self) -> tuple[int, int]:
        """Of every row version that there is, where it is and who wrote it, as a number of rows and a sum."""
        with self.superuser() as connection:
            (found,) = connection.execute(
                "SELECT count(*), coalesce(sum(hashtextextended(ctid::text || ' ' || xmin::text, tableoid::int)), 0)"
                " FROM store.bars"
            ).fetchall()
        return int(found[0]), int(found[1])


class World:
    """The databases that the cases of one engine share. Each case empties `writes`; `reads` is filled once."""

    def __init__(self, engine: str, databases: Databases, data: Data, folder: Path) -> None:
        self.engine = engine
        self.data = data
        self.size: Size = data.size
        self.folder = folder
        self._stack = ExitStack()
        # For stores without a server: in memory where that can be, because disks are shared here and say nothing.
        shared = Path("/dev/shm")
        memory = shared if shared.is_dir() and shutil.disk_usage(shared).free > 4 << 30 else folder
        self.memory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=memory, prefix="mds-bench-")))
        # What a program that two cases need has told the first.
        self.told: dict[str, float] = {}
        self._databases = databases
        self.loop = self._stack.enter_context(asyncio.Runner())

    @cached_property
    def writes(self) -> Database:
        """The database for writing."""
        return self._database()

    @cached_property
    def reads(self) -> Database:
        """The database for reading; the same one if the engine has only one."""
        return self.writes if self._databases.single_session else self._database()

    def _database(self) -> Database:
        place = self._stack.enter_context(self._databases.migrated())
        return Database(place, self.data, single_session=self._databases.single_session)

    @cached_property
    def version(self) -> str:
        """The server's version, and the engine's."""
        found = reads.describe(self.writes.admin_dsn)
        return f"PostgreSQL {found.server_version}" + (
            f", TimescaleDB {found.engine_version}" if found.engine_version else ""
        )

    def close(self) -> None:
        """Delete the databases."""
        self._stack.close()
