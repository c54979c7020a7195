"""Publish the files of old rows as Iceberg tables, for Spark, Trino, DuckDB, polars and others.

Each tenant and kind has a table over the files on the list. It has no rows of its own: no file is copied. The list
stays what the store itself reads; a table follows it, and can be published again at any time. Nobody else may write to
a table, or clean up its files.

The catalog is in the store's database (`store.iceberg_tables`), the metadata of a table are beside the files, below
`<tenant>/iceberg/<kind>`. A table that was published once is published again after each move, fold and restore.

Needs the extra `lake`: import this module only to publish.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from datastore.cold.owning import claim
from datastore.cold.records import Step, alone, kinds, listed, nobody, separately, tenants
from datastore.cold.writing import fields_of
from datastore.connections import as_owner
from datastore.engines import Driver
from datastore.errors import ControlError
from datastore.names import OWNER, STORE
from datastore.tenants import Tenant
from mds_client.cold.places import Place, place
from mds_client.reading.packed import schema_of
from mds_client.schema import Kind

try:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
    from pyiceberg.io import PY_IO_IMPL
    from pyiceberg.table import Table

    from datastore.cold import metadata
except ImportError as error:
    raise ControlError("pyiceberg is not installed: install the extra lake (see Installing)") from error

CATALOG: Final = "store"
"""The name of the catalog."""

_PROPERTIES: Final = {
    # Metadata of earlier publications are removed by pyiceberg, except the newest.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "3",
    # Files belong to the store's list. Engines that know this property never remove one.
    "gc.enabled": "false",
}


@dataclass(frozen=True, slots=True)
class Published:
    """A published table: how many files it has, and how many were added and taken out by this publication."""

    tenant: UUID
    kind: str
    files: int
    added: int
    removed: int
    metadata: str


def publish(
    dsn: str,
    url: str,
    *,
    tenant: UUID | None = None,
    kind: str | None = None,
    again: bool = False,
    reached: Step = nobody,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Published]:
    """Make the tables of all files on the list, and yield each table that changed.

    You can stop it at any moment, and call it again. A failure of one tenant does not stop the others.

    Args:
        dsn: The control plane's DSN.
        url: The place of the files.
        tenant: Only this tenant's tables.
        kind: Only tables of this kind.
        again: Only tables that were published before.
        reached: Called with the name of the last step.
        check: Called often; it may raise.

    Raises:
        ControlError: The place is another store's, or a table cannot be written.
    """
    target = place(url)
    with as_owner(dsn) as (_, driver):
        meant = _meant(driver, again=again)
    some = [(whose, one) for whose, one in product(tenants(dsn, tenant), kinds(kind)) if (whose.no, one.name) in meant]
    if not some:
        return
    with Tables(dsn, target) as tables:

        def published(whose: Tenant, one: Kind) -> Iterator[Published]:
            check()
            with alone(dsn) as (_, driver):
                claim(target, driver)
                driver.commit()
                yield from _publish(driver, target, tables, whose, one, reached)

        yield from separately(partial(published, *of) for of in some)


def _meant(driver: Driver, *, again: bool) -> set[tuple[int, str]]:
    """Return the tenants, by number, and the kinds with a table, and unless it is `again`, those with files."""
    tables = "SELECT t.no, i.table_name FROM store.iceberg_tables AS i JOIN store.tenants AS t ON t.id = i.tenant_id"
    files = "SELECT tenant_no, kind FROM store.cold_periods WHERE replaced_at IS NULL"
    return set(driver.execute(tables if again else f"{tables} UNION {files}").fetchall())


class Tables:
    """The published tables and their catalog. Close it by a `with` block."""

    def __init__(self, dsn: str, target: Place) -> None:
        self._target = target
        self._catalog = SqlCatalog(
            CATALOG,
            uri=_uri(dsn),
            init_catalog_tables="false",
            schema_version="v1",
            **{PY_IO_IMPL: f"{metadata.__name__}.{metadata.PlaceIO.__name__}", metadata.PLACE: target.url},
        )

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *_: object) -> None:
        self._catalog.close()

    def table(self, driver: Driver, tenant: Tenant, kind: Kind) -> Table:
        """Return the table; it is made if there is none, or if the files have moved to another place."""
        name = (str(tenant.id), kind.name)
        location = metadata.location(self._target, f"{tenant.id}/iceberg/{kind.name}")
        there = driver.execute(
            "SELECT starts_with(metadata_location, %s) FROM store.iceberg_tables"
            " WHERE table_namespace = %s AND table_name = %s",
            (f"{location}/", *name),
        ).fetchone()
        driver.commit()
        if there == (False,):
            self._catalog.drop_table(name)
        try:
            return self._catalog.load_table(name)
        except NoSuchTableError:
            self._catalog.create_namespace_if_not_exists(name[0])
            schema = schema_of(kind, fields_of(kind), plain=True)
            return self._catalog.create_table(name, schema, location=location, properties=_PROPERTIES)

    def needed(self, owners: Collection[str]) -> set[str]:
        """Return the locations of all files that the current states of tables refer to, of rows and of metadata.

        Args:
            owners: The ids of the tenants whose tables are read.

        Raises:
            ControlError: A table cannot be read.
        """
        found: set[str] = set()
        for (namespace,) in self._catalog.list_namespaces():
            if namespace not in owners:
                continue
            for name in self._catalog.list_tables(namespace):
                try:
                    table = self._catalog.load_table(name)
                    found |= {table.metadata_location, *(one.metadata_file for one in table.metadata.metadata_log)}
                    for snapshot in table.metadata.snapshots:
                        found.add(snapshot.manifest_list)
                        for manifest in snapshot.manifests(table.io):
                            rows = manifest.fetch_manifest_entry(table.io)
                            found |= {manifest.manifest_path, *(one.data_file.file_path for one in rows)}
                except (OSError, ValueError) as error:
                    raise ControlError(f"the table {'.'.join(name)} cannot be read: {error}") from error
        return found


def _uri(dsn: str) -> str:
    """Return the URL by which SQLAlchemy connects as the owner, with the catalog's tables in the search path."""
    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    options = f"{given.pop('options', '')} -csearch_path={STORE} -crole={OWNER}".strip()
    made = URL.create(
        "postgresql+psycopg",
        username=given.pop("user", None),
        password=given.pop("password", None),
        database=given.pop("dbname", None),
        query={**given, "options": options},
    )
    return made.render_as_string(hide_password=False)


def _publish(
    driver: Driver, target: Place, tables: Tables, tenant: Tenant, kind: Kind, reached: Step
) -> Iterator[Published]:
    """Bring a table to the state of the list, in one commit."""
    try:
        table = tables.table(driver, tenant, kind)
        reached("made")
        wanted = {metadata.location(target, file.path) for file in listed(driver, tenant, kind)}
        driver.commit()
        there = {task.file.file_path: task.file for task in table.scan().plan_files()}
        gone = [file for path, file in there.items() if path not in wanted]
        new = sorted(wanted - there.keys())
        schema = schema_of(kind, fields_of(kind), plain=True)
        lacking = [name for name in schema.names if name not in table.schema().column_names]
        if not gone and not new and not lacking and table.metadata_location:
            return
        with table.transaction() as change:
            if lacking:
                with change.update_schema() as columns:
                    columns.union_by_name(schema)
            if gone:
                with change.update_snapshot().overwrite() as snapshot:
                    for file in gone:
                        snapshot.delete_data_file(file)
            if new:
                change.add_files(new)
            reached("prepared")
        reached("published")
        _forget_old(table)
    except (CommitFailedException, ValueError, OSError) as error:
        raise ControlError(f"{kind.name} of tenant {tenant.id} cannot be published: {error}") from error
    yield Published(tenant.id, kind.name, len(wanted), len(new), len(gone), str(table.metadata_location))


def _forget_old(table: Table) -> None:
    """Remove all snapshots but the current one from the metadata: their files may be swept."""
    table.refresh()
    current = table.current_snapshot()
    old = [one.snapshot_id for one in table.metadata.snapshots if current and one.snapshot_id != current.snapshot_id]
    if old:
        table.maintenance.expire_snapshots().by_ids(old).commit()


def needed(dsn: str, target: Place, owners: Collection[str]) -> set[str]:
    """Return the paths of all files that published tables refer to, of rows and of metadata.

    Args:
        dsn: The control plane's DSN.
        target: The place of the files.
        owners: The ids of the tenants whose tables are read.

    Raises:
        ControlError: A table cannot be read.
    """
    root = metadata.location(target, "")
    with Tables(dsn, target) as tables:
        return {name.removeprefix(root) for name in tables.needed(owners)}
