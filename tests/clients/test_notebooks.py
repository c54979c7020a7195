"""Frames as notebooks use them: with an index, or wide; and what a notebook shows of a client and of its answers."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest

from mds_client import AMDS, Bar, ConfigurationError, OptionSnap, Series
from mds_client.columns import arrow
from mds_client.notebook import SHOWN, Listing
from mds_client.protocol.pooled import Pooled
from mds_client.reading import reads
from tests.conftest import Client

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
DAY = (NOON, NOON + timedelta(days=1))
UTC_TIME = "datetime64[us, UTC]"


@pytest.fixture
def filled(client: Client) -> Client:
    """Bars of two symbols: the second lacks the second minute, and was seen by the store first."""
    client.upsert_bars(
        [
            Bar(vendor="v", symbol=symbol, timeframe="1m", ts=NOON + timedelta(minutes=n), close_price=n + at, volume=n)
            for symbol, at, minutes in (("MSFT", 0.5, (0, 2)), ("AAPL", 0.25, (0, 1, 2)))
            for n in minutes
        ]
    )
    return client


def test_a_time_index_is_a_datetime_index_in_utc(filled: Client) -> None:
    frame = filled.bars_window("AAPL", "1m", *DAY, "v", as_="pandas", index="ts")
    assert (frame.index.name, str(frame.index.dtype)) == ("ts", UTC_TIME)
    assert frame.loc["2024-01-02 12:01Z", "close_price"] == 1.25
    assert list(frame.resample("1h").close_price.last()) == [2.25]
    two = filled.bars_window(["AAPL", "MSFT"], "1m", *DAY, "v", as_="pandas", index=["symbol", "ts"])
    assert two.index.names == ["symbol", "ts"]
    assert two.loc[("MSFT", NOON), "close_price"] == 0.5


def test_frames_have_the_types_that_the_guide_documents(filled: Client) -> None:
    frame = filled.bars_window("AAPL", "1m", *DAY, "v", as_="pandas")
    columns = ("symbol", "ts", "close_price", "volume", "trade_count")
    assert [str(frame[name].dtype) for name in columns] == ["category", UTC_TIME, "float64", "float64", "Int64"]
    polars = filled.bars_window("AAPL", "1m", *DAY, "v", as_="polars")
    assert [polars.schema[name] for name in columns] == [
        pl.Categorical, pl.Datetime("us", "UTC"), pl.Float64, pl.Float64, pl.Int64,
    ]  # fmt: skip


def test_a_wide_frame_has_one_column_per_symbol_in_the_requested_order(filled: Client) -> None:
    frame = filled.bars_window(["msft", "AAPL"], "1m", *DAY, "v", as_="pandas", wide="close_price")
    assert list(frame.columns) == ["MSFT", "AAPL"]
    assert (frame.columns.name, frame.index.name, str(frame.index.dtype)) == ("symbol", "ts", UTC_TIME)
    assert frame.fillna(-1).to_numpy().tolist() == [[0.5, 0.25], [-1, 1.25], [2.5, 2.25]]
    polars = filled.bars_window(["MSFT", "AAPL"], "1m", *DAY, "v", as_="polars", wide="close_price")
    assert polars.columns == ["ts", "MSFT", "AAPL"]
    assert polars.rows() == [
        (NOON, 0.5, 0.25), (NOON + timedelta(minutes=1), None, 1.25), (NOON + timedelta(minutes=2), 2.5, 2.25),
    ]  # fmt: skip
    one = filled.bars_window("AAPL", "1m", *DAY, "v", as_="arrow", wide="volume")
    assert one.column_names == ["ts", "AAPL"]
    counts = filled.bars_window(["AAPL", "MSFT"], "1m", *DAY, "v", as_="pandas", wide="trade_count", index="ts")
    assert [str(dtype) for dtype in counts.dtypes] == ["Int64", "Int64"]


def test_a_wide_rollup_has_an_empty_column_for_a_symbol_without_rows(filled: Client) -> None:
    frame = filled.rollup(["AAPL", "NOPE", "MSFT"], "1h", *DAY, "v", as_="pandas", wide="close_price", missing="ignore")
    assert list(frame.columns) == ["AAPL", "NOPE", "MSFT"]
    assert frame.fillna(-1).to_numpy().tolist() == [[2.25, -1, 2.5]]
    nothing = filled.rollup(["NOPE"], "1h", *DAY, "v", as_="polars", wide="close_price", missing="ignore")
    assert nothing.schema == {"ts": pl.Datetime("us", "UTC"), "NOPE": pl.Float64}


def test_an_option_chain_can_be_indexed_by_contract(client: Client) -> None:
    expiry = date(2024, 6, 21)
    client.upsert_options(
        OptionSnap(vendor="v", symbol="A", expiry=expiry, option_type=side, strike=strike, ts=NOON, iv=strike / 100)
        for side in ("C", "P")
        for strike in (10, 20)
    )
    frame = client.option_chain("A", NOON, "v", as_="pandas", index=["option_type", "strike"])
    assert frame.loc[("P", 20), "iv"] == 0.2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wide": "close_price"}, "wide is of a frame: pass as_"),
        ({"index": "ts"}, "index is that of a pandas frame"),
        ({"index": "ts", "as_": "polars"}, "index is that of a pandas frame: pass as_='pandas'; polars has none"),
        ({"index": "when", "as_": "pandas"}, "index: there is no column 'when'; symbol, ts,"),
        ({"index": "ts", "columns": ["symbol"], "as_": "pandas"}, "index: there is no column 'ts'; symbol"),
        ({"index": [], "as_": "pandas"}, "index names each of its columns once"),
        ({"index": ["ts", "ts"], "as_": "pandas"}, "index names each of its columns once"),
        ({"wide": "price", "as_": "pandas"}, "wide: there is no value 'price'; there are: open_price"),
        ({"wide": "vendor", "as_": "pandas"}, "wide: there is no value 'vendor'"),
        ({"wide": "volume", "columns": ["ts"], "as_": "polars"}, "wide and columns: choose one of them"),
        ({"wide": "volume", "index": "symbol", "as_": "pandas"}, "the index of a wide frame is 'ts', not 'symbol'"),
    ],
)
def test_an_invalid_frame_layout_is_rejected_before_any_query(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        reads.bars_window(["AAPL"], "1m", *DAY, "v", **options)


def test_a_wide_frame_rejects_several_rows_of_one_symbol_and_time() -> None:
    table = pa.table(
        {"ts": pa.array([NOON, NOON], arrow.ARROW_TYPES["timestamptz"]), "symbol": ["A", "A"], "x": [1, 2]}
    )
    with pytest.raises(ConfigurationError, match="a symbol has several rows of the same time"):
        arrow.widened(table, "ts", "x", ["A"])


def test_a_notebook_shows_a_result_as_a_table_with_escaped_text(client: Client) -> None:
    client.upsert_bars([Bar(vendor="<b>&", symbol="A", timeframe="1d", ts=NOON, close_price=1.5)])
    shown: Any = client.series()
    html = shown._repr_html_()
    assert "<td>&lt;b&gt;&amp;</td><td>A</td><td>1d</td>" in html
    assert "<th>last price</th>" in html
    assert "<b>" not in html
    covered: Any = client.coverage()
    assert "<td>2024-01-02 12:00:00+00:00</td><td>1</td>" in covered._repr_html_()
    assert client.series() == [shown[0]]
    empty: Any = client.series("news")
    assert empty._repr_html_() == "<p>no rows</p>"


def test_a_long_list_is_cut_short_in_a_notebook() -> None:
    one = Series(kind="bars", vendor="v", symbol="A", timeframe="1d", last_ts=None, last_price=None)
    html = Listing([one] * (SHOWN + 1_500))._repr_html_()
    assert html.count("<tr>") == SHOWN + 1
    assert html.endswith("<p>… and 1,500 more</p>")


@pytest.mark.parametrize("made", [Pooled, AMDS])
def test_a_notebook_shows_a_client_without_its_password(made: type[Pooled]) -> None:
    client = made(dsn="postgresql://me:s3cret@db.example:6543/market", tenant_id=str(UUID(int=7)), app_name="<script>")
    html = client._repr_html_()
    assert "s3cret" not in html
    assert "<th>server</th><td>db.example:6543</td>" in html
    assert f"<th>tenant</th><td>{UUID(int=7)}</td>" in html
    assert "&lt;script&gt;" in html
