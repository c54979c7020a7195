"""Export all rows of a tenant into files, as a job."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, cast
from uuid import UUID

from psycopg.sql import SQL, Identifier

from datastore import config, jobs
from datastore.config import ConfigurationError
from datastore.connections import as_owner
from datastore.engines import Driver
from datastore.errors import ControlError
from datastore.jobs import JobContext, JobFailed, JobRecord, KindName, Order, job_type
from datastore.names import STORE
from datastore.reads import series_range
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
    if unknown := set(kinds or ()) - set(KINDS):
        raise ControlError(f"there is no kind {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
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
        raise ConfigurationError("there is no folder for exports: set DATASTORE_EXPORTS for the worker")
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
        _refuse_cold(driver, tenant, kinds)
        span = series_range(tenant.no)
        reader = _Everything(driver, tenant, context, sum(count(driver, (STORE, kind.name), span) for kind in kinds))
        for kind in kinds:
            path = folder / f"{kind.name}.{order.format}"
            dump = _WRITERS[order.format](reader, kind.name, str(path))
            files.append(asdict(Exported(kind.name, path.relative_to(root).as_posix(), dump.rows)))
    # The tenant reads this, and must not learn where the worker keeps its files.
    return {"folder": folder.relative_to(root).as_posix(), "files": files}


def _refuse_cold(driver: Driver, tenant: Tenant, kinds: list[Kind]) -> None:
    """Raise JobFailed if rows of the tenant are in cold files, because the export would lack them."""
    for kind, before in driver.execute(
        "SELECT kind, cold_before FROM store.cold_fences WHERE tenant_no = %s AND cold_before IS NOT NULL", (tenant.no,)
    ).fetchall():
        if kind in [one.name for one in kinds]:
            raise JobFailed(
                f"{kind} of the tenant from before {before} are kept in files (datastore cold status): copy these and"
                " export other kinds, write a file with `mds dump-parquet`, or bring the rows back (datastore cold"
                " restore)"
            )


class _Everything:
    """Reads a tenant's rows as the owner of the tables, so that it works for a disabled tenant, with the interface of a
    client (`mds_client.export`)."""

    def __init__(self, driver: Driver, tenant: Tenant, context: JobContext, total: int) -> None:
        self._driver = driver
        self._tenant = tenant
        self._context = context
        self._done = 0
        self._total = total

    def iter_rows(self, kind: Kind, *_always: datetime | None, batch_rows: int) -> Iterator[list[Row]]:
        """Yield every row of a kind, by series and then by key."""
        span = series_range(self._tenant.no)
        constants = self._constants(kind, span)
        model = cast("type[Row]", kind.model)
        statement = SQL("SELECT series_id, {} FROM {} WHERE series_id >= %s AND series_id < %s ORDER BY {}").format(
            sql.selected(kind),
            Identifier(STORE, kind.name),
            SQL(", ").join(map(Identifier, ("series_id", *kind.key))),
        )
        with self._driver.cursor(name=f"export_{kind.name}") as cursor:
            cursor.execute(statement, span)
            while rows := cursor.fetchmany(batch_rows):
                yield built_of_series(
                    model, constants, kind.column_names, rows, [amount.name for amount in kind.amounts]
                )
                self._done += len(rows)
                self._context.progress(self._done, self._total)

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
