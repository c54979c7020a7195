"""Rows in the columnstore: every call answers, and every write ends, as if they were rows.

On an engine without a columnstore the same statements run on tables, and have the same answers.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
import pytest

from datastore import aggregates
from mds_client import KINDS, Bar, Kind, LatestPrice, News, OptionSnap
from mds_client.rls import dsn_with_tenant
from tests.conftest import Client, Store, nothing_there

pytestmark = pytest.mark.every_engine

MODES: Final = ("executemany", "values", "copy", "auto")
CONFLICTS: Final = ("replace", "keep", "fill")
CHUNKED: Final = tuple(kind.name for kind in KINDS.values() if kind.storage)
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
ALWAYS: Final = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
COMPRESSED: Final = (
    "SELECT hypertable_name, count(*) FROM timescaledb_information.chunks"
    " WHERE hypertable_schema = 'store' AND is_compressed GROUP BY 1 ORDER BY 1"
)


def compress(store: Store) -> dict[str, int]:
    """Have the policies do their work, where there is a columnstore; how many chunks of each kind are in it."""
    if store.engine != "timescale":
        return {}
    jobs = store.rows(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'"
        " AND hypertable_schema = 'store'"
    )
    assert len(jobs) == len(CHUNKED)
    for (job,) in jobs:
        store.execute("CALL run_job(%s)", job)
    return dict(store.rows(COMPRESSED))


def partial_chunks(store: Store) -> int:
    """How many compressed chunks have rows outside of the columnstore."""
    ((count,),) = store.rows("SELECT count(*) FROM _timescaledb_catalog.chunk WHERE status & 8 = 8")
    return int(count)


def bar(minutes: float, symbol: str, close: float | None, **fields: Any) -> Bar:
    settled = {"vendor": "v", "symbol": symbol, "timeframe": "1m", "ts": START + timedelta(minutes=minutes), **fields}
    return Bar(close_price=close, **settled)


def rows(level: float) -> dict[str, list[Any]]:
    """Rows of every kind with chunks, over more than one chunk each."""
    hours = range(24 * 24)
    return {
        "bars": [
            bar(hour * 60, f"S{hour % 3}", None if hour % 11 == 0 else level + hour, volume=hour, open_price=level)
            for hour in hours
        ],
        "news": [
            News(
                vendor=f"v{hour % 2}",
                published_at=START + timedelta(hours=hour * 5),
                title=f"{level} {hour}",
                symbol=None if hour % 3 else "S0",
                sentiment_score=None if hour % 5 else -0.5,
            )
            for hour in range(0, 24 * 24, 4)
        ],
        "options": [
            OptionSnap(
                vendor="v",
                symbol=f"S{hour % 2}",
                ts=START + timedelta(hours=hour),
                expiry=date(2024, 2 + hour % 2, 16),
                option_type="C" if hour % 4 < 2 else "P",
                strike=100 + hour % 5,
                iv=None if hour % 7 == 0 else level,
                oi=hour,
            )
            for hour in hours
        ],
    }


def answers(client: Client) -> dict[str, Any]:
    """What a client says to everything that one can ask."""
    at = START + timedelta(days=12, hours=7)
    found: dict[str, Any] = {
        "window": client.bars_window("S1", "1m", START + timedelta(days=5), at, "v"),
        "windows": client.bars_window(["S0", "S2", "NOPE"], "1m", START + timedelta(days=5), at, "v"),
        "nothing": client.bars_window("S1", "1d", *ALWAYS, "v"),
        "latest": client.latest_prices(["S0", "S1", "S2"], "v"),
        "news": client.news_window(START, at),
        "news by symbol": client.news_window(*ALWAYS, symbol="S0", vendor="v0"),
        "news by text": client.news_window(*ALWAYS, text=" 12"),
        "chain": client.option_chain("S1", at, "v"),
        "old chain": client.option_chain("S0", START, "v", within=timedelta(hours=1)),
        "streamed": [row for part in client.iter_bars_window("S2", "1m", *ALWAYS, "v", batch_rows=50) for row in part],
    }
    for rollup in KINDS["bars"].rollups:
        found[rollup.timeframe] = client.rollup("S1", rollup.timeframe, *ALWAYS, "v")
    for kind in CHUNKED:
        found[f"all {kind}"] = everything(client, kind)
        found[f"series {kind}"] = client.series(kind)
        found[f"symbols {kind}"] = client.symbols(kind)
        found[f"coverage {kind}"] = client.coverage(kind)
    return found


def everything(client: Client, kind: str) -> list[Any]:
    return [row for part in client.iter_rows(kind) for row in part]


def write(client: Client, batch: dict[str, list[Any]], **options: Any) -> None:
    for kind, some in batch.items():
        client.upsert(kind, some, **options)


@nothing_there
def test_compression_changes_no_read_result_of_two_tenants_with_equal_series_names(
    client: Client, store: Store
) -> None:
    clients = (client, client.for_tenant(store.tenant_b))
    write(clients[0], rows(100.0))
    write(clients[1], rows(900.0))
    aggregates.refresh(store.admin_dsn)
    before = [answers(one) for one in clients]
    assert before[0]["window"]
    assert before[0]["chain"]
    assert all(before[0][key] != before[1][key] for key in ("window", "chain", "1d", "latest", "news"))
    compressed = compress(store)
    if store.engine == "timescale":
        assert compressed == {"bars": 4, "news": 5, "options": 4}
    assert [answers(one) for one in clients] == before


def later_batch(mode: str) -> dict[str, list[Any]]:
    """Over what `rows` has left: other values, some None; new keys in between, before and after all others."""
    changes: dict[str, dict[str, Any]] = {
        "bars": {"close_price": 5.5, "volume": None},
        "news": {"title": "changed", "sentiment_score": None},
        "options": {"iv": 9.5, "oi": None},
    }
    batch: dict[str, list[Any]] = {}
    for kind, some in rows(100.0).items():
        time = KINDS[kind].time
        # Enough for each mode to be chosen, from every chunk.
        picked = some[:: 2 if mode == "auto" else 7]
        again = [row.model_copy(update=changes[kind]) for row in picked]
        moved = [
            row.model_copy(update={time: getattr(row, time) + shift})
            for shift in (timedelta(minutes=30), timedelta(days=-200), timedelta(days=200))
            for row in reversed(again[:10])
        ]
        batch[kind] = [*moved, *reversed(again)]
    return batch


def key_of(kind: Kind, row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in (*kind.series, *kind.key))


def settled(kind: Kind, there: list[Any], batch: list[Any], on_conflict: str) -> dict[Any, Any]:
    """What is left of two batches, by key, in plain Python."""
    left = {key_of(kind, row): row for row in there}
    for key, row in {key_of(kind, row): row for row in batch}.items():
        if key not in left or on_conflict == "replace":
            left[key] = row
        elif on_conflict == "fill":
            given = {name: value for name in kind.values if (value := getattr(row, name)) is not None}
            left[key] = left[key].model_copy(update=given)
    return left


@pytest.mark.every_case
@nothing_there
@pytest.mark.engines("timescale")  # what they do to tables and to chunks of rows is in test_kinds.py
@pytest.mark.parametrize(
    ("mode", "on_conflict"),
    # All rules with the mode that writes most; with the others, one each.
    [
        *(("copy", rule) for rule in CONFLICTS),
        *zip([mode for mode in MODES if mode != "copy"], CONFLICTS, strict=False),
    ],
)
def test_writes_into_compressed_chunks_follow_on_conflict(
    connect: Callable[..., Client], store: Store, mode: str, on_conflict: str
) -> None:
    client = connect(
        dsn=store.dsn,
        tenant_id=store.tenant_a,
        write_mode=mode,
        values_min_rows=50,
        values_page_size=40,
        copy_min_rows=200,
    )
    other = client.for_tenant(store.tenant_b)
    # What is there before is written in the quickest way, whatever the mode.
    first = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode="copy")
    write(first, rows(100.0))
    write(first.for_tenant(store.tenant_b), rows(100.0))
    theirs = answers(other)
    compress(store)
    batch = later_batch(mode)
    write(client, batch, on_conflict=on_conflict)
    assert partial_chunks(store) > 0

    def holds() -> None:
        for name in CHUNKED:
            kind = KINDS[name]
            found = {key_of(kind, row): row.model_copy(update={"tenant_id": None}) for row in everything(client, name)}
            assert found == settled(kind, rows(100.0)[name], batch[name], on_conflict), name
        assert answers(other) == theirs

    holds()
    bars = settled(KINDS["bars"], rows(100.0)["bars"], batch["bars"], on_conflict).values()
    priced = [row for row in bars if row.symbol == "S1" and row.close_price is not None]
    newest = max(priced, key=lambda row: row.ts)
    assert client.latest_prices(["S1"], "v") == [
        LatestPrice(
            tenant_id=store.tenant_a,
            vendor="v",
            symbol="S1",
            price=newest.close_price,
            price_timestamp=newest.ts,
        )
    ]
    # Writing it again changes nothing; compressed again, it is still all there.
    write(client, batch, on_conflict=on_conflict)
    holds()
    compress(store)
    assert partial_chunks(store) == 0
    holds()


SECONDS: Final = 120_000
"""More rows of one series in one chunk than TimescaleDB takes apart in one transaction without being told to."""


@pytest.mark.engines("timescale")
@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_a_write_may_decompress_more_than_a_hundred_thousand_rows(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars([bar(0, "S", 1.0, timeframe="1s")])
    store.execute(
        "INSERT INTO store.bars (series_id, ts, close_price)"
        " SELECT s.series_id, %s::timestamptz + n * interval '1 second', 1.0"
        " FROM store.series s, generate_series(1, %s) n",
        START,
        SECONDS - 1,
    )
    compress(store)
    # One row in each batch of a thousand that the columnstore keeps together.
    corrected = [bar(second / 60, "S", 2.0, timeframe="1s") for second in range(0, SECONDS, 500)]
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        store.execute(
            "INSERT INTO store.bars (series_id, ts, close_price)"
            " SELECT s.series_id, %s::timestamptz + n * interval '1 second', 2.0"
            " FROM store.series s, generate_series(0, %s, 500) n"
            " ON CONFLICT (series_id, ts) DO UPDATE SET close_price = excluded.close_price",
            START,
            SECONDS - 1,
        )
    assert client.upsert_bars(corrected) == len(corrected)
    assert store.rows("SELECT close_price, count(*) FROM store.bars GROUP BY 1 ORDER BY 1") == [
        (1.0, SECONDS - len(corrected)),
        (2.0, len(corrected)),
    ]


def test_a_series_that_is_new_is_written_into_compressed_chunks(client: Client, store: Store) -> None:
    write(client, rows(100.0))
    compress(store)
    late = [bar(minute, "LATE", float(minute)) for minute in range(0, 60 * 24 * 20, 600)]
    client.upsert_bars(late)
    aggregates.refresh(store.admin_dsn)
    assert [row.close_price for row in client.bars_window("LATE", "1m", *ALWAYS, "v")] == [
        row.close_price for row in late
    ]
    assert sum(1 for _ in client.rollup("LATE", "1d", *ALWAYS, "v")) == 20
    compress(store)
    assert len(client.bars_window("LATE", "1m", *ALWAYS, "v")) == len(late)


@pytest.mark.engines("timescale")
def test_applications_cannot_access_the_internals_of_the_columnstore(
    connect: Callable[..., Client], store: Store
) -> None:
    other = connect(dsn=store.dsn, tenant_id=store.tenant_b)
    write(other, rows(900.0))
    compress(store)
    parts = store.rows(
        "SELECT format('%%I.%%I', schema_name, table_name) FROM _timescaledb_catalog.chunk"
        " UNION ALL SELECT format('%%I.%%I', schema_name, table_name) FROM _timescaledb_catalog.hypertable"
    )
    assert len(parts) > 20
    with psycopg.connect(dsn_with_tenant(store.dsn, store.tenant_a), autocommit=True) as connection:
        for (part,) in parts:
            # This release's planner ends with an error of its own on a chunk that is itself compressed rows.
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InternalError_)):
                connection.execute(f"SELECT * FROM {part}".encode())
        assert connection.execute("SELECT count(*) FROM public.bars").fetchone() == (0,)
        # What the statistics of columns would tell is of tables that one may read.
        assert connection.execute("SELECT count(*) FROM pg_stats WHERE schemaname LIKE '%timescale%'").fetchone() == (
            0,
        )
