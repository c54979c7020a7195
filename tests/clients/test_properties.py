"""Whatever rows come, in whatever batches and modes: the table is what a plain Python model of it says."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mds_client import Bar
from tests.conftest import Client, Store, odd_rows, on_tables

pytestmark = pytest.mark.every_engine

BEGIN = datetime(2024, 3, 29, 23, 57, tzinfo=UTC)

Key = tuple[str, datetime]
Values = tuple[float | None, float | None]

prices = st.none() | st.sampled_from([0.0, -0.0, 0.1, -37.63, 1e300, 5e-324]) | st.floats(-1e9, 1e9)
volumes = st.none() | st.integers(0, 2**53) | st.floats(0, 1e9) | st.sampled_from([2**62, 0.1, 1e18])
bars = st.builds(
    lambda symbol, minute, close, volume: Bar(
        vendor="v",
        symbol=symbol,
        timeframe="1m",
        ts=BEGIN + timedelta(minutes=minute),
        close_price=close,
        volume=volume,
    ),
    st.sampled_from(["A", "B", "C"]),
    st.integers(0, 7),
    prices,
    volumes,
)
writes = st.tuples(
    st.lists(bars, max_size=12),
    st.sampled_from(["replace", "keep", "fill"]),
)


class Model:
    """The table as a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[Key, Values] = {}

    def write(self, batch: list[Bar], on_conflict: str) -> None:
        last: dict[Key, Values] = {}
        for bar in batch:
            new = bar.close_price, bar.volume
            # A row without any value replaces none.
            if new != (None, None) or (bar.symbol, bar.ts) not in last:
                last[bar.symbol, bar.ts] = new
        for key, new in last.items():
            old = self.rows.get(key)
            if old is None or (on_conflict == "replace" and new != (None, None)):
                self.rows[key] = new
            elif on_conflict == "fill":
                self.rows[key] = (
                    old[0] if new[0] is None else new[0],
                    old[1] if new[1] is None else new[1],
                )

    def latest(self) -> dict[str, tuple[datetime, datetime | None, float | None]]:
        """Of each symbol: its newest time, and the newest time with a price and that price."""
        latest: dict[str, tuple[datetime, datetime | None, float | None]] = {}
        for (symbol, ts), (close, _) in sorted(self.rows.items()):
            _, price_ts, price = latest.get(symbol, (ts, None, None))
            latest[symbol] = (ts, price_ts, price) if close is None else (ts, ts, close)
        return latest


@pytest.mark.parametrize("mode", ["copy", on_tables("values"), on_tables("executemany")])
@settings(
    max_examples=20,
    deadline=None,
    # Each example has a tenant of its own, and so an empty table.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(writes, max_size=6))
@odd_rows
def test_the_table_matches_a_reference_model_after_random_batches(
    connect: Callable[..., Client], store: Store, mode: str, batches: list[tuple[list[Bar], str]]
) -> None:
    ((tenant_id, no),) = store.rows(
        "INSERT INTO store.tenants (name) VALUES (gen_random_uuid()::text) RETURNING id::text, no"
    )
    client = _shared(connect, store, mode).for_tenant(tenant_id)
    model = Model()
    for batch, on_conflict in batches:
        assert client.upsert_bars(batch, on_conflict=on_conflict) == len(batch)
        model.write(batch, on_conflict)
        before = _versions(store, no)
        if on_conflict != "replace" or batch:
            client.upsert_bars(batch, on_conflict=on_conflict)
        assert _versions(store, no) == before, "a replay has written"
    assert _rows(store, no) == model.rows
    assert _latest(store, no) == model.latest()


_clients: dict[tuple[int, str], Client] = {}


def _shared(connect: Callable[..., Client], store: Store, mode: str) -> Client:
    """One client for all examples of a test."""
    key = (id(connect), mode)
    if key not in _clients:
        _clients.clear()
        _clients[key] = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode, values_page_size=3)
    return _clients[key]


def _rows(store: Store, no: int) -> dict[Key, Values]:
    found = store.rows(
        "SELECT s.symbol, b.ts, b.close_price, b.volume + coalesce(b.volume_fraction, 0)"
        " FROM store.bars AS b JOIN store.series AS s USING (series_id) WHERE series_id >> 40 = %s",
        no,
    )
    return {(symbol, ts): (close, volume) for symbol, ts, close, volume in found}


def _latest(store: Store, no: int) -> dict[str, tuple[datetime, datetime | None, float | None]]:
    found = store.rows(
        "SELECT symbol, last_ts, last_price_ts, last_price FROM store.series WHERE series_id >> 40 = %s", no
    )
    return {symbol: (last_ts, price_ts, price) for symbol, last_ts, price_ts, price in found}


def _versions(store: Store, no: int) -> list[tuple[Any, ...]]:
    return store.rows(
        "SELECT 'row', ctid::text, xmin::text FROM store.bars WHERE series_id >> 40 = %s"
        " UNION ALL SELECT 'series', ctid::text, xmin::text FROM store.series WHERE series_id >> 40 = %s ORDER BY 1, 2",
        no,
        no,
    )
