"""What people with SQL find in the schema `public`: a catalogue of series and symbols, and comments on all of it."""

from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from mds_client import KINDS, MDS, Bar, Fundamentals, News
from mds_client.rls import dsn_with_tenant
from tests.conftest import Store

pytestmark = pytest.mark.every_engine

TS = datetime(2024, 1, 2, tzinfo=UTC)


def filled(store: Store) -> None:
    """Rows of three kinds for the first tenant, and of one for the second."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client, client.for_tenant(store.tenant_b) as other:
        client.upsert_bars(
            Bar(vendor="v", symbol=symbol, timeframe=timeframe, ts=TS, close_price=1.5)
            for symbol in ("s001", "s002")
            for timeframe in ("1m", "1d")
        )
        client.upsert_fundamentals([Fundamentals(vendor="v", symbol="S001", asof=TS, eps=1.0)])
        client.upsert_news([News(vendor="v", published_at=TS, title="news of no symbol")])
        other.upsert_bars([Bar(vendor="v", symbol="OTHER", timeframe="1m", ts=TS, close_price=2.5)])


def test_the_series_and_symbols_views_list_the_tenants_catalogue(store: Store) -> None:
    filled(store)
    with psycopg.connect(dsn_with_tenant(store.dsn, store.tenant_a)) as connection:
        assert connection.execute("SELECT * FROM public.symbols ORDER BY kind, vendor, symbol").fetchall() == [
            (UUID(store.tenant_a), kind, "v", symbol)
            for kind, symbol in (("bars", "S001"), ("bars", "S002"), ("fundamentals", "S001"))
        ]
        assert connection.execute(
            "SELECT kind, vendor, symbol, timeframe, last_ts, last_price, last_price_ts FROM public.series"
            " WHERE symbol = 'S001' OR kind = 'news' ORDER BY kind, timeframe"
        ).fetchall() == [
            ("bars", "v", "S001", "1d", TS, 1.5, TS),
            ("bars", "v", "S001", "1m", TS, 1.5, TS),
            ("fundamentals", "v", "S001", None, TS, None, None),
            ("news", "v", None, None, TS, None, None),
        ]
        assert connection.execute("SELECT count(*) FROM public.series").fetchone() == (6,)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        assert client.symbols(vendor="v") == ["S001", "S002"]


@pytest.mark.many_sessions
def test_the_symbols_view_reads_the_name_index_in_order(store: Store) -> None:
    filled(store)
    with psycopg.connect(dsn_with_tenant(store.dsn, store.tenant_a)) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashagg = off")
        question = "EXPLAIN SELECT symbol FROM public.symbols WHERE kind = 'bars' AND vendor = 'v'"
        plan = "\n".join(row[0] for row in connection.execute(question).fetchall())
    assert "series_name_key" in plan
    assert "store.bars" not in plan
    assert "kind = 'bars'::text" in plan.partition("Index Cond:")[2], plan
    assert "Sort" not in plan, plan


def test_every_public_view_and_every_column_of_it_has_a_comment(store: Store) -> None:
    found = store.rows(
        "SELECT c.relname, a.attname, obj_description(c.oid, 'pg_class'), col_description(c.oid, a.attnum)"
        " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace"
        " AND has_table_privilege('mds_app', c.oid, 'SELECT')"
    )
    assert {kind.relation for kind in KINDS.values()} | {"series", "symbols"} <= {view for view, *_ in found}
    assert [(view, column) for view, column, *said in found if not all(said)] == []


def test_comments_of_a_view_match_its_model(store: Store) -> None:
    for kind in KINDS.values():
        ((about,),) = store.rows("SELECT obj_description(%s::regclass)", f"public.{kind.relation}")
        assert " ".join((kind.model.__doc__ or "").split()) == about
        for name in (*kind.series, *kind.column_names):
            said = store.rows(
                "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = %s::regclass"
                " AND attname = %s",
                f"public.{kind.relation}",
                name,
            )
            assert said == [(kind.model.model_fields[name].description,)]
