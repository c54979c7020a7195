"""Export all rows of a tenant into files, as a job."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast
from uuid import UUID

from psycopg.sql import SQL, Identifier

from datastore import config, jobs
from datastore.config import SettingsError
from datastore.connections import as_owner
from datastore.engines import Driver, one
from datastore.errors import ControlError
from datastore.jobs import JobContext, JobFailed, JobRecord, KindName, Order, job_type
from datastore.names import STORE
from datastore.reads import known_kind, series_range
from datastore.tenants.lifecycle import count
from datastore.tenants.registry import Tenant, get_tenant
from mds_client import KINDS, export, sql
from mds_client.models import Row
from mds_client.schema import Kind
from mds_client.values.built import built_of_series

EXPORT: Final = "export-tenant"

Format = Literal["ndjson", "ndjson.zst", "parquet"]

_WRITERS: Final[dict[Format, Callable[..., export.Dump]]] = {
    "ndjson": export.dump_ndjson,
    "ndjson.zst": export.dump_ndjson,
    "parquet": export.dump_parquet,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written: its kind, its path below the folder for exports, and its number of rows."""

    kind: str
    path: str
    rows: int


class ExportOrder(Order):
    """The payload of an export: the format and the kinds (None: all).

    `tenant` is for a job of the store itself. A tenant's own job always exports its own rows, whatever its payload
    says.
    """

    format: Format = "ndjson"
    kinds: list[KindName] | None = None
    tenant: UUID | None = None


def export_tenant(
    dsn: str,
    tenant: UUID,
    *,
    idempotency_key: str,
    format: Format = "ndjson",  # noqa: A002
    kinds: list[str] | None = None,
) -> JobRecord:
    """Enqueue an export of a tenant's rows into files, one for each kind, and return the job.

    A worker writes the files into its export folder (`DATASTORE_EXPORTS`), below the tenant's id and the job's number.
    All are from one snapshot; `mds ingest-ndjson` reads the NDJSON. A disabled tenant's own jobs wait until it is
    enabled, so the job of its export belongs to the store. Raises UnknownTenant, and ControlError if there is no such
    kind or format.
    """
    found = get_tenant(dsn, tenant)
    for kind in kinds or ():
        known_kind(kind)
    if format not in _WRITERS:
        raise ControlError(f"there is no format {format!r}; there are: {', '.join(_WRITERS)}")
    with as_owner(dsn) as (_, driver):
        if found.disabled_at is None:
            own = {"format": format, "kinds": kinds}
            return jobs.enqueue(driver, EXPORT, own, tenant=tenant, idempotency_key=idempotency_key)
        order = ExportOrder(format=format, kinds=kinds, tenant=tenant)
        return jobs.enqueue(driver, EXPORT, order, tenant=None, idempotency_key=f"{idempotency_key} of {found.no}")


def _root() -> Path:
    root = config.load().exports
    if root is None:
        raise SettingsError("there is no folder for exports: set DATASTORE_EXPORTS for the worker")
    return root


@job_type(EXPORT, ready=_root)
def run_export(context: JobContext, order: ExportOrder) -> dict[str, Any]:
    """Write the files of an export; a second run writes them again."""
    whose = context.job.tenant or order.tenant
    if whose is None:
        raise JobFailed("an export job needs a tenant")
    root = _root()
    tenant = get_tenant(context.dsn, whose)
    folder = root / str(tenant.id) / str(context.job.id)
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(".*"):
        part.unlink()  # of a run that was killed
    kinds = [KINDS[name] for name in order.kinds or KINDS]
    files = []
    with as_owner(context.dsn) as (_, driver):
        driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        in_files = _in_files(driver, tenant, kinds)
        span = series_range(tenant.no)
        total = sum(count(driver, (STORE, kind.name), span) for kind in kinds) + _rows_in_files(driver, tenant, kinds)
        reader = _Everything(driver, tenant, context, total, in_files)
        for kind in kinds:
            path = folder / f"{kind.name}.{order.format}"
            dump = _WRITERS[order.format](reader, kind.name, str(path))
            files.append(asdict(Exported(kind.name, path.relative_to(root).as_posix(), dump.rows)))
    # The tenant reads this, and must not learn where the worker keeps its files.
    return {"folder": folder.relative_to(root).as_posix(), "files": files}


def _rows_in_files(driver: Driver, tenant: Tenant, kinds: list[Kind]) -> int:
    statement = (
        "SELECT coalesce(sum(rows), 0)::bigint FROM store.cold_periods"
        " WHERE tenant_no = %s AND replaced_at IS NULL AND kind = ANY(%s)"
    )
    return int(one(driver.execute(statement, (tenant.no, [kind.name for kind in kinds]))))


def _in_files(driver: Driver, tenant: Tenant, kinds: list[Kind]) -> dict[str, str]:
    """Return the kinds of which the tenant keeps old rows in files, with the place of the files.

    Raises JobFailed if the worker has no setting for that, because the export would lack these rows.
    """
    found = driver.execute(
        "SELECT kind FROM store.cold_fences WHERE tenant_no = %s AND cold_before IS NOT NULL AND kind = ANY(%s)",
        (tenant.no, [kind.name for kind in kinds]),
    ).fetchall()
    url = config.load().cold_url
    if found and url is None:
        raise JobFailed(
            f"old {', '.join(kind for (kind,) in found)} of the tenant are kept in files, and this worker does not know"
            " where: set DATASTORE_COLD_URL where it runs"
        )
    return {kind: url or "" for (kind,) in found}


class _Everything:
    """Reads a tenant's rows as the owner of the tables, so that it works for a disabled tenant, with the interface of a
    client (`mds_client.export`)."""

    def __init__(
        self, driver: Driver, tenant: Tenant, context: JobContext, total: int, in_files: Mapping[str, str]
    ) -> None:
        self._driver = driver
        self._tenant = tenant
        self._context = context
        self._done = 0
        self._total = total
        self._in_files = in_files

    def iter_rows(self, kind: Kind, *_always: datetime | None, batch_rows: int) -> Iterator[list[Row]]:
        """Yield every row of a kind, by series and then by key."""
        constants = self._constants(kind, series_range(self._tenant.no))
        model = cast("type[Row]", kind.model)
        amounts = [amount.name for amount in kind.amounts]
        rows = self._of_files if kind.name in self._in_files else self._of_the_table
        for batch in rows(kind, constants, batch_rows):
            yield built_of_series(model, constants, kind.column_names, batch, amounts, kind.maps)
            self._done += len(batch)
            self._context.progress(self._done, max(self._done, self._total))

    def _of_the_table(self, kind: Kind, _constants: Mapping[int, Any], batch_rows: int) -> Iterator[list[Any]]:
        span = series_range(self._tenant.no)
        statement = SQL("SELECT series_id, {} FROM {} WHERE series_id >= %s AND series_id < %s ORDER BY {}").format(
            sql.selected(kind),
            Identifier(STORE, kind.name),
            SQL(", ").join(map(Identifier, ("series_id", *kind.key))),
        )
        with self._driver.cursor(name=f"export_{kind.name}") as cursor:
            cursor.execute(statement, span)
            while rows := cursor.fetchmany(batch_rows):
                yield rows

    def _of_files(self, kind: Kind, constants: Mapping[int, Any], batch_rows: int) -> Iterator[list[Any]]:
        """Yield the rows of a kind whose old rows are kept in files, some series at a time."""
        from datastore.tenants import files  # slow to import, and other exports do not need it

        names = {id_: tuple(values[part] for part in kind.series) for id_, values in constants.items()}
        everything = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        for series in files.chunks(self._driver, self._tenant, kind, names):
            self._context.check()
            table = files.rows(
                self._driver, self._in_files[kind.name], self._tenant, kind, series, everything, kind.column_names
            )
            yield from files.tuples(table, batch_rows)

    def _constants(self, kind: Kind, span: tuple[int, int]) -> dict[int, dict[str, Any]]:
        """Return for each series the values that its rows share, and every other field, in the model's order."""
        found = self._driver.execute(
            SQL("SELECT series_id, {} FROM store.series WHERE kind = %s AND series_id >= %s AND series_id < %s").format(
                sql.series_name(kind)
            ),
            (kind.name, *span),
        ).fetchall()
        empty = {**dict.fromkeys(kind.model.model_fields), "tenant_id": str(self._tenant.id)}
        return {series_id: {**empty, **dict(zip(kind.series, names, strict=True))} for series_id, *names in found}
