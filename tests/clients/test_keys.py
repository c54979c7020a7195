"""Keys as fine as what vendors tell apart: an article's symbols, a vendor's own ids, the roots of options."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pytest

from mds_client import DataQualityWarning, InvalidRow, News, OptionSnap
from tests.conftest import Client, Store

ALWAYS = ("2020-01-01", "2030-01-01")
ARTICLE = "6b1c4d0e-9d8f-4a52-9d0c-2f5f5a8a1c99"
MODES = ("executemany", "values", "copy")


def article(symbol: str | None = "NVDA", **more: Any) -> dict[str, Any]:
    return {"vendor": "v", "published_at": "2024-01-02T15:30:00Z", "title": "Chips", "symbol": symbol, **more}


def contract(root: str | None = None, **more: Any) -> dict[str, Any]:
    settled = {"vendor": "v", "symbol": "SPX", "expiry": "2024-06-21", "option_type": "C", "strike": 5000.0}
    return {**settled, "ts": "2024-01-02", "iv": 0.15, "root": root, **more}


def models(rows: list[dict[str, Any]]) -> Any:
    model = News if "title" in rows[0] else OptionSnap
    return [model.model_validate(row) for row in rows]


FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "mappings": lambda rows: rows,
    "models": models,
    "arrow": pa.Table.from_pylist,
    "pandas": pd.DataFrame,
}


@pytest.mark.every_engine
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["mappings", "arrow"])
def test_an_article_about_several_symbols_is_stored_as_one_row_per_symbol(
    connect: Callable[..., Client], store: Store, mode: str, form: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    rows = [article(symbol, vendor_id=ARTICLE) for symbol in ("NVDA", "AMD", None, "INTC")]
    assert client.upsert_news(FORMS[form](rows)) == 4
    # The same again, with scores, is the same four rows.
    client.upsert_news(FORMS[form]([{**row, "sentiment_score": at / 4} for at, row in enumerate(rows)]))
    found = client.news_window(*ALWAYS)
    assert len(found) == 4
    scores = {row.symbol: (row.vendor_id, row.sentiment_score) for row in found}
    assert scores == {name: (ARTICLE, at / 4) for at, name in enumerate(("NVDA", "AMD", None, "INTC"))}
    assert [row.symbol for row in client.news_window(*ALWAYS, symbol="AMD")] == ["AMD"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("own", [24843171, "8ec638777ca03b553ae516761c2a22ba2fdd2f37befae3ab6fdab74e9e5193eb"])
def test_the_vendors_id_is_kept_and_a_correction_replaces_the_article(client: Client, form: str, own: Any) -> None:
    for title in ("Exmaple", "Example"):
        client.upsert_news(FORMS[form]([article(id=own, title=title)]))
    (found,) = client.news_window(*ALWAYS)
    assert (found.title, found.vendor_id) == ("Example", str(own))
    assert str(UUID(found.id)) == found.id
    # What was read can be written again as it is.
    client.upsert_news([found])
    client.upsert_news(FORMS[form]([{**article(title="Example"), "id": found.id, "vendor_id": str(own)}]))
    assert client.news_window(*ALWAYS) == [found]


def test_every_form_gives_an_article_the_same_id(client: Client) -> None:
    rows = [article(id=own) for own in (7, "8", ARTICLE.upper(), None)]
    for form in FORMS.values():
        for row in rows:
            client.upsert_news(form([row]))
    client.upsert_news(pd.DataFrame({**article(), "id": [7.0, None]}))
    assert {row.vendor_id for row in client.news_window(*ALWAYS)} == {"7", "8", None}
    assert len(client.news_window(*ALWAYS)) == 4


@pytest.mark.parametrize("own", [True, 1.5, "", "x" * 256, "a\0b"])
def test_an_invalid_article_id_is_rejected(client: Client, own: Any) -> None:
    for form in ("mappings", "arrow"):
        with pytest.raises(InvalidRow, match=r"row 0: (vendor_)?id"):
            client.upsert_news(FORMS[form]([article(id=own)]))
    assert client.news_window(*ALWAYS) == []


@pytest.mark.every_engine
@pytest.mark.parametrize("form", ["models", "arrow"])
def test_options_with_different_roots_are_different_contracts(client: Client, form: str) -> None:
    rows = [contract(root, iv=iv, multiplier=100) for root, iv in ((None, 0.1), ("SPXW", 0.2), ("SPX7", 0.3))]
    client.upsert_options(FORMS[form](rows))
    client.upsert_options(FORMS[form]([contract("spxw", iv=0.25), contract("SPX", iv=0.15)]))
    chain = client.option_chain("SPX", vendor="v", at="2024-01-03")
    assert {row.root: (row.iv, row.multiplier) for row in chain} == {
        "SPX": (0.15, None),
        "SPXW": (0.25, None),
        "SPX7": (0.3, 100),
    }


@pytest.mark.parametrize("form", FORMS)
def test_an_explicit_default_root_names_the_same_contract_as_no_root(client: Client, form: str) -> None:
    with pytest.warns(DataQualityWarning, match="row 0: a later row has the same key"):
        client.upsert_options(FORMS[form]([contract(iv=0.1), contract("SPX", iv=0.2)]))
    (found,) = client.option_chain("SPX", vendor="v", at="2024-01-03")
    assert (found.root, found.iv) == ("SPX", 0.2)


def test_replaying_news_and_options_writes_nothing(client: Client, store: Store) -> None:
    versions = "SELECT array_agg(xmin::text || ctid::text ORDER BY ctid) FROM store."
    for kind, rows in (("news", [article(None, id=7), article()]), ("options", [contract(), contract("SPXW")])):
        client.upsert(kind, rows)
        before = store.rows(versions + kind)
        client.upsert(kind, rows)
        assert store.rows(versions + kind) == before
