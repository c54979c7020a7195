"""The commands of `mds` that read, in every format. What `mds bars` prints is in `test_cli`, too."""

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet
import pytest
from psycopg.conninfo import make_conninfo

from datastore import tenants
from mds_client import MDS, Bar, Fundamentals, News, OptionSnap
from mds_client.cli import main
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Store
from tests.engines.databases import Running

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
FORMATS = ("csv", "ndjson", "parquet")

READ = {
    "bars": (4, ("bars", "--vendor", "v")),
    "one symbol": (2, ("bars", "--symbol", "msft")),
    "fundamentals": (1, ("fundamentals",)),
    "news": (1, ("news", "--symbol", "AAPL")),
    "options": (2, ("options", "--symbol", "AAPL", "--end", "2024-01-03")),
    "rollup": (2, ("rollup", "--vendor", "v", "--symbol", "AAPL,MSFT", "--timeframe", "1h")),
    "option-chain": (2, ("option-chain", "--vendor", "v", "--symbol", "AAPL", "--at", "2024-01-03")),
    "series": (2, ("series",)),
    "coverage": (2, ("coverage", "bars", "--end", "2024-01-02T12:01Z")),
}
"""Commands that read, and how many rows they print."""


@pytest.fixture(scope="module")
def store(running: Running) -> Iterator[Store]:
    """A store that all tests here read."""
    with two_tenants(running) as made:
        with MDS(dsn=made.dsn, tenant_id=made.tenant_a) as client:
            client.upsert_bars(
                [
                    Bar(vendor="v", symbol=symbol, timeframe="1m", ts=NOON + timedelta(minutes=n), close_price=n + 0.5)
                    for symbol in ("AAPL", "MSFT")
                    for n in range(2)
                ]
            )
            client.upsert_fundamentals([Fundamentals(vendor="v", symbol="AAPL", asof=NOON, eps=1)])
            client.upsert_news(
                [News(vendor="v", published_at=NOON, title=symbol, symbol=symbol) for symbol in ("AAPL", "MSFT")]
            )
            client.upsert_options(
                OptionSnap(
                    vendor="v", symbol="AAPL", expiry=date(2024, 12, 20), option_type=side, strike=9, ts=NOON, iv=0.2
                )
                for side in ("C", "P")
            )
        with MDS(dsn=made.dsn, tenant_id=made.tenant_b) as client:
            client.upsert_bars([Bar(vendor="v", symbol="SECRET", timeframe="1m", ts=NOON, close_price=1)])
        yield made


@contextmanager
def bound_login(store: Store) -> Iterator[str]:
    """The DSN of a login that is bound to tenant `a`."""
    login = f"reader_{os.getpid()}"
    with psycopg.connect(store.superuser_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'its-own'".encode())
        try:
            tenants.bind_role(store.admin_dsn, "a", login)
            yield make_conninfo(store.dsn, user=login, password="its-own")
        finally:
            connection.execute(f"DROP OWNED BY {login}; DROP ROLE {login}".encode())


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mds …` for tenant `a`."""
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


@pytest.mark.parametrize(("count", "arguments"), READ.values(), ids=READ)
def test_every_format_has_the_same_rows(mds: Run, tmp_path: Path, count: int, arguments: tuple[str, ...]) -> None:
    table = mds(*arguments)
    assert (table.code, table.err, len(table.out.splitlines())) == (0, "", count + 1)
    rows = list(csv.DictReader(io.StringIO(mds(*arguments, "--format", "csv").out)))
    lines = [json.loads(line) for line in mds(*arguments, "--format", "ndjson").out.splitlines()]
    file = tmp_path / "rows.parquet"
    assert mds(*arguments, "--output", file).out == ""
    stored = pyarrow.parquet.read_table(file)
    assert len(rows) == len(lines) == stored.num_rows == len(mds(*arguments, "--json").json) == count
    assert list(rows[0]) == stored.column_names
    assert [{name: value for name, value in row.items() if value} for row in rows] == [
        {name: str(value) for name, value in line.items() if value is not None} for line in lines
    ]


def test_the_format_is_detected_from_the_file_name(mds: Run, tmp_path: Path) -> None:
    mds("bars", "--output", tmp_path / "bars.csv")
    mds("bars", "--output", tmp_path / "bars.ndjson.gz")
    assert (tmp_path / "bars.csv").read_text().startswith("vendor,symbol,")
    assert (tmp_path / "bars.ndjson.gz").read_bytes().startswith(b"\x1f\x8b")
    unknown = mds("bars", "--output", tmp_path / "bars")
    assert (unknown.code, unknown.out) == (2, "")
    assert "does not tell the format: add --format table|csv|ndjson|parquet" in unknown.err
    assert mds("bars", "--json", "--format", "csv").code == 2


def test_a_limit_takes_the_first_rows(mds: Run) -> None:
    assert [row["symbol"] for row in mds("bars", "--limit", "3", "--json").json] == ["AAPL", "AAPL", "MSFT"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bars", "--vendor", "w"), 1, "error: there is no vendor 'w' of bars; there are: v"),
        (("bars", "--vendor", "v", "--symbol", "MSFR"), 1, "error: v has no bars of MSFR; near it: MSFT"),
        (("bars", "--symbol", "NOPE"), 1, "error: there are no bars of NOPE; `series` lists what there is"),
        (("coverage", "options", "--symbol", "X"), 1, "error: there are no options of X; `series` lists what there is"),
        (("series", "bars", "--timeframe", "1d"), 1, "error: there are no bars with timeframe 1d; `series` lists"),
        (("news", "--start", "2030-01-01"), 0, "no news in this time; the newest is of 2024-01-02T12:00:00+00:00"),
        (("news", "--symbol", "ZZZ"), 0, "no news; the newest is of 2024-01-02T12:00:00+00:00"),
        (
            ("option-chain", "--vendor", "v", "--symbol", "AAPL", "--at", "2030-01-01"),
            0,
            "no options in this time; the newest is of 2024-01-02T12:00:00+00:00",
        ),
        (("rollup", "--vendor", "v", "--symbol", "AAPL", "--timeframe", "7m"), 1, "error: there is no rollup '7m'"),
        (("fundamentals", "--timeframe", "1d"), 2, "Usage: "),
        (("series", "nothing"), 2, "Usage: "),
    ],
)
def test_an_empty_result_says_why(mds: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = mds(*arguments, "--format", "ndjson")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(said)


def test_one_missing_symbol_among_others_is_a_warning(mds: Run) -> None:
    done = mds("bars", "--vendor", "v", "--symbol", "AAPL,MSFR", "--format", "csv")
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert done.err == "warning: v has no bars of MSFR; near it: MSFT\n"


def test_reading_without_a_tenant_is_an_error_that_says_so(
    mds: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, MDS_DSN=store.dsn)
    done = mds("series")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: no tenant is set, so nothing is seen")


def test_reading_a_kind_without_any_rows_is_not_an_error(mds: Run, store: Store) -> None:
    done = mds("options", "--tenant-id", store.tenant_b, "--format", "ndjson")
    assert (done.code, done.out, done.err) == (0, "", "the tenant has no options at all\n")


def test_a_bound_login_reads_its_own_rows_without_naming_the_tenant(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with bound_login(store) as dsn:
        use(monkeypatch, MDS_DSN=dsn)
        assert {row["symbol"] for row in runs(main, capsys, monkeypatch)("series", "--json").json} == {"AAPL", "MSFT"}
