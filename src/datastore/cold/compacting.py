"""Write the small files of a year's months as one file, so that a tenant with few rows has few files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, product
from typing import Final
from uuid import UUID

from datastore.cold.folding import Period, named, rows_of_file
from datastore.cold.owning import claim
from datastore.cold.records import (
    ColdFile,
    Step,
    alone,
    fence,
    has_rows,
    kinds,
    listed,
    nobody,
    put_on_list,
    separately,
    series_of,
    take_off_list,
    tenants,
)
from datastore.cold.writing import write_file
from datastore.connections import as_owner
from datastore.engines import Driver
from datastore.tenants import Tenant
from mds_client.cold import merging
from mds_client.cold.places import place
from mds_client.schema import Kind

LARGEST: Final = 2_000_000
"""The largest number of rows of a file that is made of several. They are in memory as a whole, and the files of more
rows are not small."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """A year whose `files` files became one, with that many rows."""

    tenant: UUID
    kind: str
    start: datetime
    files: int
    rows: int
    path: str


def compact(
    dsn: str,
    url: str,
    *,
    tenant: UUID | None = None,
    kind: str | None = None,
    reached: Step = nobody,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Compacted]:
    """Write one file for each year that is in several files of at most `LARGEST` rows together, and yield each.

    The whole year must be before the fence. Late rows stay late rows. You can stop it at any moment, and call it again.
    A failure of one tenant does not stop the others.

    Raises:
        VerificationError: A file does not match the list. Nothing of that year has changed.
    """

    def compacted(whose: Tenant, one: Kind) -> Iterator[Compacted]:
        with alone(dsn) as (_, driver):
            years = _years(driver, whose, one)
            if years:
                claim(place(url), driver)
            driver.commit()
            for period, there in years:
                check()
                yield _compact(driver, url, whose, one, period, there, reached)

    with as_owner(dsn) as (_, driver):
        several = set(
            driver.execute(
                "SELECT DISTINCT tenant_no, kind FROM store.cold_periods WHERE replaced_at IS NULL"
                " GROUP BY tenant_no, kind, date_trunc('year', period_start, 'UTC')"
                " HAVING count(*) > 1 AND sum(rows) <= %s",
                (LARGEST,),
            )
        )
    yield from separately(
        partial(compacted, whose, one)
        for whose, one in product(tenants(dsn, tenant), kinds(kind))
        if (whose.no, one.name) in several
    )


def _years(driver: Driver, tenant: Tenant, kind: Kind) -> list[tuple[Period, list[ColdFile]]]:
    until = fence(driver, tenant, kind)
    if until is None:
        return []
    years = []
    for year, group in groupby(listed(driver, tenant, kind), lambda file: file.period_start.year):
        files = list(group)
        period = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        small = len(files) > 1 and sum(file.rows for file in files) <= LARGEST
        if small and period[1] <= until and not has_rows(driver, kind, tenant, period[1]):
            years.append((period, files))
    return years


def _compact(
    driver: Driver, url: str, tenant: Tenant, kind: Kind, period: Period, there: list[ColdFile], reached: Step
) -> Compacted:
    series = series_of(driver, tenant, kind)
    driver.commit()
    tables = [rows_of_file(url, file, kind, series) for file in there]
    reached("read")
    table = merging.merged(kind, list(series), kind.column_names, tables, [])
    file = write_file(place(url), tenant, kind, period, named(kind, table, series), reached)
    for old in there:
        take_off_list(driver, tenant, kind, old.period_start)
    put_on_list(driver, tenant, file)
    reached("deleted")
    driver.commit()
    reached("committed")
    return Compacted(tenant.id, kind.name, period[0], len(there), file.rows, file.path)
