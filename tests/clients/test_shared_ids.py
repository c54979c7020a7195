"""News of several symbols that share one id: each is a row, also beside rows of earlier releases."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pytest

from mds_client import MDS, MDSError, News
from mds_client.sql import USE_TENANT
from tests.conftest import Client, Store

ALWAYS = ("2020-01-01", "2030-01-01")
ARTICLE = "6b1c4d0e-9d8f-4a52-9d0c-2f5f5a8a1c99"
SYMBOLS = ("NVDA", "AMD", None, "INTC")
MODES = ("executemany", "values", "copy")

FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "mappings": lambda rows: rows,
    "models": lambda rows: [News(**row) for row in rows],
    "arrow": pa.Table.from_pylist,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
}


def article(symbol: str | None, title: str = "Chips", id_: str = ARTICLE, **more: Any) -> dict[str, Any]:
    published = {"vendor": "v", "published_at": "2024-01-02T15:30:00Z"}
    return {**published, "title": title, "symbol": symbol, "id": id_, **more}


def read(client: Client) -> dict[str | None, tuple[str | None, str]]:
    return {row.symbol: (row.id, row.title) for row in client.news_window(*ALWAYS)}


def versions(store: Store) -> Any:
    return store.rows("SELECT array_agg(xmin::text || ctid::text ORDER BY ctid) FROM store.news")


@pytest.mark.every_engine
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["mappings", "arrow"])
def test_rows_that_share_an_id_are_stored_corrected_and_replayed_separately(
    connect: Callable[..., Client], store: Store, mode: str, form: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    rows = [article(symbol) for symbol in SYMBOLS]
    assert client.upsert_news(FORMS[form](rows)) == 4
    assert read(client) == dict.fromkeys(SYMBOLS, (ARTICLE, "Chips"))
    before = versions(store)
    # In any order, and in parts.
    for part in (rows, rows[::-1], rows[1:2], rows[2:]):
        client.upsert_news(FORMS[form](part))
    assert versions(store) == before
    client.upsert_news(FORMS[form]([article("AMD", "Chips rise"), article("XLK")]))
    titles = {**dict.fromkeys(SYMBOLS, "Chips"), "AMD": "Chips rise", "XLK": "Chips"}
    assert read(client) == {symbol: (ARTICLE, title) for symbol, title in titles.items()}


@pytest.mark.parametrize("form", FORMS)
def test_batches_in_any_form_and_single_rows_store_the_same(client: Client, store: Store, form: str) -> None:
    for symbol in SYMBOLS:
        client.upsert_news(FORMS[form]([article(symbol)]))
    before = versions(store)
    for other in FORMS.values():
        client.upsert_news(other([article(symbol) for symbol in SYMBOLS]))
    assert versions(store) == before
    assert read(client) == dict.fromkeys(SYMBOLS, (ARTICLE, "Chips"))


@pytest.mark.every_engine
def test_a_row_written_by_an_earlier_release_is_recognised_as_the_same_row(client: Client, store: Store) -> None:
    client.upsert_news([article("AMD")])
    # As earlier releases have stored it.
    assert store.rows("SELECT id::text, id_given FROM store.news") == [(ARTICLE, None)]
    before = versions(store)
    client.upsert_news([article("AMD")])
    assert versions(store) == before
    client.upsert_news(pa.Table.from_pylist([article(symbol) for symbol in ("AMD", "NVDA")]))
    assert store.rows("SELECT symbol FROM store.news WHERE id_given IS NULL") == [("AMD",)]
    assert read(client) == dict.fromkeys(("AMD", "NVDA"), (ARTICLE, "Chips"))


@pytest.mark.parametrize("on_conflict", ["keep", "fill"])
@pytest.mark.parametrize("mode", MODES)
def test_on_conflict_applies_to_each_row_of_a_shared_id(
    connect: Callable[..., Client], store: Store, mode: str, on_conflict: Any
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_news([article("NVDA", url="https://a"), article("AMD", url="https://b")])
    rows = [article(symbol, "Chips rise", url=None) for symbol in ("NVDA", "AMD", "INTC")]
    client.upsert("news", rows, on_conflict=on_conflict)
    found = {row.symbol: (row.title, row.url) for row in client.news_window(*ALWAYS)}
    title = "Chips" if on_conflict == "keep" else "Chips rise"
    assert found == {"NVDA": (title, "https://a"), "AMD": (title, "https://b"), "INTC": ("Chips rise", None)}


def test_writing_back_rows_read_in_any_form_changes_nothing(client: Client, store: Store) -> None:
    client.upsert_news([article(symbol) for symbol in SYMBOLS])
    before = versions(store)
    client.upsert_news(client.news_window(*ALWAYS))
    for form in ("arrow", "pandas", "polars"):
        client.upsert_news(client.news_window(*ALWAYS, as_=form))
    for frame in client.iter_rows("news", *ALWAYS, as_="arrow"):
        assert frame.column("id").to_pylist() == [ARTICLE] * 4
        client.upsert_news(frame)
    assert versions(store) == before
    with psycopg.connect(store.dsn) as connection:
        connection.execute(USE_TENANT, (store.tenant_a,))
        assert connection.execute("SELECT DISTINCT id::text FROM public.news").fetchall() == [(ARTICLE,)]


def test_later_writes_in_a_transaction_keep_its_earlier_rows(client: Client) -> None:
    client.upsert_news([article("NVDA")])
    with client.transaction() as transaction:
        transaction.upsert_news([article("NVDA", id_=ARTICLE.replace("6b", "7c"))])
        transaction.upsert_news([article("AMD")])
        transaction.upsert_news([article("INTC")])
    assert len(client.news_window(*ALWAYS)) == 4


def test_a_large_frame_of_articles_about_several_symbols_is_stored_completely(client: Client) -> None:
    ids = [f"{at:08x}-9d8f-4a52-9d0c-2f5f5a8a1c99" for at in range(500)]
    rows = [article(symbol, id_=id_) for symbol in SYMBOLS for id_ in ids]
    for written in (rows[:700], rows[600:], rows):
        client.upsert_news(pa.Table.from_pylist(written))
    found = client.news_window(*ALWAYS)
    assert len(found) == len(rows)
    assert {(row.id, row.symbol) for row in found} == {(row["id"], row["symbol"]) for row in rows}


def test_concurrent_writers_of_one_article_for_two_symbols_store_both_rows(store: Store) -> None:
    first = News(**article("NVDA"))
    clients = [MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) for _ in range(2)]
    together = threading.Barrier(2)
    failures: list[MDSError] = []

    def write(client: MDS, symbol: str) -> None:
        try:
            for day in range(40):
                together.wait(20)
                published = first.published_at + timedelta(days=day)
                client.upsert_news([first.model_copy(update={"symbol": symbol, "published_at": published})])
        except MDSError as error:
            failures.append(error)
            together.abort()

    threads = [threading.Thread(target=write, args=pair) for pair in zip(clients, ("NVDA", "AMD"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = clients[0].news_window("2024-01-01", "2025-01-01")
    assert len({(row.published_at, row.symbol) for row in found}) == 80
    assert {row.id for row in found} == {ARTICLE}
    for client in clients:
        client.close()
