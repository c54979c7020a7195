"""Rows that would take something away without a word: of one key, and without values."""

import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mds_client import MDS, Bar, BatchProcessor, DataQualityWarning
from tests.conftest import Client, Store

ALWAYS = ("2020-01-01", "2030-01-01")


def bar(close: float | None, minute: int = 0, **more: Any) -> dict[str, Any]:
    settled = {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": f"2024-01-02T15:{minute:02}:00Z"}
    return {**settled, "close_price": close, **more}


def closes(client: Client) -> list[float | None]:
    return [row.close_price for row in client.bars_window("S", "1m", *ALWAYS, "v")]


FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "mappings": lambda rows: rows,
    "models": lambda rows: [Bar.model_validate(row) for row in rows],
    "arrow": pa.Table.from_pylist,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_with_the_same_key_and_different_values_are_counted_in_a_warning(client: Client, form: str) -> None:
    rows = [bar(1.0), bar(2.0, 1), bar(3.0), bar(2.0, 1), bar(4.0)]
    with pytest.warns(DataQualityWarning, match=r"row 0: a later row has the same key \(v S 1m .*; 2 rows in all"):
        assert client.upsert_bars(FORMS[form](rows)) == 5
    assert closes(client) == [4.0, 2.0]


def test_a_feed_may_correct_a_bar_without_a_warning(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        with warnings.catch_warnings(action="error"), BatchProcessor(client) as processor:
            for close in (1.0, 2.0, 3.0):
                processor.add(bar(close), "bars")
        assert [row.close_price for row in client.bars_window("S", "1m", *ALWAYS, "v")] == [3.0]


@pytest.mark.every_engine
@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
@pytest.mark.parametrize("on_conflict", ["replace", "fill", "keep"])
def test_a_row_without_values_does_not_erase_stored_values(
    connect: Callable[..., Client], store: Store, mode: str, on_conflict: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars([bar(1.0, volume=5), bar(2.0, 1)])
    with pytest.warns(DataQualityWarning, match="row 0: no value beside the key; .*; 2 rows in all"):
        assert client.upsert_bars([bar(None), bar(None, 2)], on_conflict=on_conflict) == 2
    assert closes(client) == [1.0, 2.0, None]
    assert [price.price for price in client.latest_prices(["S"], "v")] == [2.0]


@pytest.mark.parametrize("form", ["mappings", "arrow", "polars"])
def test_a_row_without_values_does_not_erase_values_of_the_same_call(client: Client, form: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.upsert_bars(FORMS[form]([bar(1.0), bar(None)]))
    # It is said once, and not that a row with values was replaced.
    (said,) = (str(warning.message) for warning in caught)
    assert said.startswith("row 1: no value beside the key")
    assert closes(client) == [1.0]


def test_a_row_with_another_value_can_set_a_price_to_null(client: Client) -> None:
    client.upsert_bars([bar(1.0, volume=5)])
    client.upsert_bars([bar(None, volume=6)])
    assert closes(client) == [None]
