"""Another tenant's rows, attacked through everything that reads: leaking functions, false names, tenant settings."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mds_client import KINDS, MDS, ConfigurationError, MDSOperationalError, RLSDenied
from mds_client.protocol.operations import Emit, Execute, Group, Operation, Session, Stream, Talk
from mds_client.rls import dsn_with_tenant, tenant
from mds_client.sql.writes import NOT_RENAMED
from tests.conftest import Client, nothing_there
from tests.isolation.conftest import ACTORS, BOUND, VICTIM, Actor, Siege, assault, undone

pytestmark = pytest.mark.every_engine

SPY = (
    (
        "CREATE FUNCTION pg_temp.spy(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
        " $$ BEGIN RAISE NOTICE 'spied %', $1; RETURN true; END $$"
    ),
    (
        "CREATE FUNCTION pg_temp.spy(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
        " $$ BEGIN RAISE NOTICE 'spied % and %', $1, $2; RETURN true; END $$"
    ),
    (
        "CREATE FUNCTION pg_temp.spy(float8, float8) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
        " $$ BEGIN RAISE NOTICE 'spied % and %', $1, $2; RETURN true; END $$"
    ),
    (
        "CREATE OPERATOR pg_temp.~~~ (FUNCTION = pg_temp.spy, LEFTARG = text, RIGHTARG = text,"
        " RESTRICT = eqsel, JOIN = eqjoinsel)"
    ),
    (
        "CREATE OPERATOR pg_temp.~~~ (FUNCTION = pg_temp.spy, LEFTARG = float8, RIGHTARG = float8,"
        " RESTRICT = scalarltsel, JOIN = scalarltjoinsel)"
    ),
    "CREATE AGGREGATE pg_temp.gather(text) (SFUNC = textcat, STYPE = text)",
)

# {view} is each view that an application may read, {column} each of its columns.
ON_A_VIEW = (
    "SELECT count(*) FROM {view} AS v WHERE pg_temp.spy(v::text)",
    "SELECT count(*) FROM {view} AS v WHERE pg_temp.spy(v.{column})",
    "SELECT count(*) FROM {view} AS v WHERE v.{column}::text OPERATOR(pg_temp.~~~) ''",
    "SELECT count(*) FROM {view} AS v JOIN {view} AS w ON v.{column}::text OPERATOR(pg_temp.~~~) w.{column}::text",
    "SELECT count(*) FROM {view} AS v WHERE NOT pg_temp.spy(v.{column}) OR v.{column} IS NULL",
    "SELECT 1 FROM {view} AS v GROUP BY v.{column} HAVING pg_temp.spy(v.{column})",
    "SELECT 1 FROM {view} AS v ORDER BY pg_temp.spy(v.{column})",
    "SELECT DISTINCT ON (pg_temp.spy(v.{column})) 1 FROM {view} AS v",
    "SELECT sum(1) FILTER (WHERE pg_temp.spy(v.{column})) OVER (ORDER BY v.{column}) FROM {view} AS v",
    "SELECT pg_temp.gather(v::text) FROM {view} AS v",
    "SELECT (SELECT pg_temp.spy(v.{column}) FROM {view} AS v WHERE pg_temp.spy(v.{column}) LIMIT 1)",
    "SELECT 1 FROM {view} AS v, LATERAL (SELECT 1 WHERE pg_temp.spy(v.{column})) AS w",
    "SELECT 1 FROM (VALUES (1)) AS x LEFT JOIN {view} AS v ON pg_temp.spy(v.{column})",
    "SELECT 1 FROM {view} AS v WHERE 1 / (1 - (v.{column}::text ~ '666.125|SECRETB|VAULT|b0b0')::int) > 0",
    "SELECT 1 FROM {view} AS v WHERE CASE WHEN v::text ~ '666.125|SECRETB|VAULT|second' THEN v::text::int = 1 END",
    "CREATE TEMP VIEW on_top AS SELECT * FROM {view} WHERE pg_temp.spy({column}); TABLE on_top",
    "CREATE TEMP TABLE copied AS SELECT * FROM {view} AS v WHERE pg_temp.spy(v.{column}); TABLE copied",
    "PREPARE p AS SELECT * FROM {view} WHERE pg_temp.spy({column}); EXECUTE p; DEALLOCATE p",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM {view} WHERE pg_temp.spy({column}); FETCH ALL FROM c",
    "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) SELECT * FROM {view} AS v WHERE pg_temp.spy(v.{column})",
    "EXPLAIN SELECT * FROM {view} AS v WHERE v.{column}::text OPERATOR(pg_temp.~~~) ''",
    "SELECT * FROM {view} TABLESAMPLE SYSTEM (100)",
    "SELECT ctid, tableoid, xmin, * FROM {view}",
    "SELECT * FROM {view} FOR UPDATE",
    "SELECT query_to_xml('TABLE {view}', true, false, '')",
    "COPY (SELECT * FROM {view}) TO STDOUT",
)
ALLOWED = (None, "42501", "42809", "0A000", "42703")
"""What a question may be answered with: rows of one's own, or that the view cannot be asked so."""

SETTINGS = (
    "",
    (
        "SET debug_parallel_query = regress; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
        " SET min_parallel_table_scan_size = 0"
    ),
    "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
    "SET row_security = off",
)


CORE = (
    *("mds.bars", "mds.series"),
    *("public.bars", "public.latest_prices", "public.series", "public.symbols", "public.tenants"),
)
"""The views that every application reads."""
TELLING = ("symbol", "id", "last_price")


def views(siege: Siege) -> list[tuple[str, str, str]]:
    """Every view that an application may read, with each of its columns and their types."""
    found = siege.rows(
        "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), a.atttypid::text FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum > 0"
        " WHERE n.nspname IN ('mds', 'public') AND has_table_privilege('mds_app', c.oid, 'SELECT') ORDER BY 1, a.attnum"
    )
    assert {name for name, *_ in found} >= {*CORE}
    return found


def revealing(siege: Siege, engine: str) -> list[tuple[str, str]]:
    """Every view that shows rows of the second tenant to that tenant, with its columns.

    A view without rows has nothing to reveal. Where hypertables are planned, it is a column of each type: a planner
    treats all columns of a type alike.
    """
    there = views(siege)
    with siege.from_the_other_side().open("service") as other:
        filled = {
            view
            for view in {view for view, *_ in there}
            if other.execute(f"SELECT FROM {view} LIMIT 1".encode()).rowcount
        }
    assert filled >= {*CORE}
    columns = [each for each in there if each[0] in filled]
    if engine != "postgres":
        # The last one of a key stays in the dictionary.
        telling_last = sorted(columns, key=lambda each: each[1] in TELLING)
        columns = sorted({(view, type_): (view, column, type_) for view, column, type_ in telling_last}.values())
    return [(view, column) for view, column, _ in columns]


@pytest.mark.parametrize(
    ("actor", "settings"),
    [("service", ""), *(("bound", settings) for settings in SETTINGS)],
    ids=("service", "bound", "bound, parallel", "bound, no index", "bound, row_security off"),
)
def test_no_query_makes_a_view_reveal_rows_of_another_tenant(
    siege: Siege, engine: str, actor: Actor, settings: str
) -> None:
    columns = revealing(siege, engine)
    if settings:
        columns = [(view, column) for view, column in columns if view in CORE and column in TELLING]
    names = dict.fromkeys(view for view, _ in columns)
    revealed, blind = [], []
    with siege.open(actor) as connection:
        assert assault(connection, [*SPY, settings or "SELECT 1"]).sqlstate is None
        connection.commit()
        connection.autocommit = True
        for question in ON_A_VIEW:
            seen_own = 0
            for view, column in columns if "{column}" in question else [(view, "") for view in names]:
                seen = undone(connection, question.replace("{view}", view).replace("{column}", column))
                if seen.marks(siege.tenant_b, str(siege.foreign)) or seen.sqlstate not in ALLOWED:
                    revealed.append((question, view, column, seen))
                seen_own += "OWN" in seen.text
            if "spy" in question and "EXPLAIN" not in question and not seen_own:
                blind.append(question)
    assert revealed == []
    # The spy was at work, on what it may see.
    assert blind == []


def test_the_spy_function_detects_a_view_without_a_security_barrier(own_siege: Siege) -> None:
    own_siege.execute("CREATE VIEW public.leaky AS SELECT * FROM store.series WHERE md5(vendor) = md5('VENDOR-OF-A')")
    own_siege.execute("ALTER VIEW public.leaky OWNER TO mds_owner; GRANT SELECT ON public.leaky TO mds_app")
    seen = own_siege.attack("bound", *SPY, "SELECT * FROM public.leaky AS v WHERE pg_temp.spy(v.vendor)")
    assert "VAULT-OF-B" in seen.marks()


BECOME_B = (
    "SET app.tenant_id = {b}",
    "SET SESSION app.tenant_id TO {b}",
    "SET LOCAL app.tenant_id = {b}",
    "SELECT set_config('app.tenant_id', {b}, false)",
    "SELECT set_config('app.tenant_id', {b}, true)",
    'SET "APP.Tenant_ID" = {b}',
    "SET app.tenant_id = ''",
    "SET app.tenant_id = 'no uuid'",
    "RESET app.tenant_id",
    "RESET ALL",
    "DISCARD PLANS",
    "SET ROLE NONE",
    "SET ROLE mds_app",
    f"SET ROLE {BOUND}",
    "SET SESSION AUTHORIZATION DEFAULT",
    "DO $$ BEGIN PERFORM set_config('app.tenant_id', {b}, false); END $$",
    (
        "SET search_path = pg_temp, pg_catalog; CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text"
        " LANGUAGE sql AS $$ SELECT {b}::pg_catalog.text $$"
    ),
)


@pytest.mark.parametrize("actor", ACTORS[1:])
def test_a_bound_role_cannot_switch_to_another_tenant(siege: Siege, actor: Actor) -> None:
    own = "SELECT id::text FROM public.tenants UNION ALL SELECT symbol FROM public.bars WHERE vendor ~ '^V'"
    with siege.attacker(actor) as attacked:
        told = [(attempt, attacked(attempt, own)) for attempt in BECOME_B]
    expected = (None, [(siege.tenant_a,), ("OWN",)])
    assert [(attempt, seen) for attempt, seen in told if (seen.sqlstate, seen.rows[-2:]) != expected] == []


@pytest.mark.parametrize("actor", ACTORS[1:])
def test_use_tenant_with_another_tenant_is_rejected_for_a_bound_role(siege: Siege, actor: Actor) -> None:
    seen = siege.attack(actor, "SELECT mds.use_tenant({b})")
    assert seen.sqlstate == "42501"
    assert f"role {BOUND} is bound to another tenant" in seen.text
    nobody = siege.attack(actor, "SELECT mds.use_tenant(gen_random_uuid())")
    # Nothing in the answer says whether such a tenant exists.
    assert (nobody.sqlstate, f"role {BOUND} is bound to another tenant" in nobody.text) == ("42501", True)


def test_a_bound_role_cannot_change_its_tenant_by_dsn_or_role_settings(own_siege: Siege) -> None:
    own_siege.execute(f"ALTER ROLE {BOUND} SET app.tenant_id = '{own_siege.tenant_b}'")
    try:
        for dsn in (own_siege.bound_dsn, dsn_with_tenant(own_siege.bound_dsn, own_siege.tenant_b)):
            with psycopg.connect(dsn) as connection:
                assert connection.execute("SHOW app.tenant_id").fetchone() == (own_siege.tenant_b,)
                assert connection.execute("SELECT id::text FROM public.tenants").fetchall() == [(own_siege.tenant_a,)]
    finally:
        own_siege.execute(f"ALTER ROLE {BOUND} RESET app.tenant_id")


def test_a_bound_client_reads_the_rows_of_its_tenant_without_a_setting(
    siege: Siege, connect: Callable[..., Client]
) -> None:
    client = connect(dsn=siege.bound_dsn)
    assert client.health().tenant_id == siege.tenant_a
    (read,) = client.bars_window("OWN", "1m", *_whole(), "VENDOR-OF-A")
    assert read.tenant_id == siege.tenant_a


@pytest.mark.parametrize("way", ["setting", "options", "for_tenant"])
def test_a_bound_client_for_another_tenant_is_refused(siege: Siege, connect: Callable[..., Client], way: str) -> None:
    if way == "setting":
        client = connect(dsn=siege.bound_dsn, tenant_id=siege.tenant_b)
    elif way == "options":
        client = connect(dsn=dsn_with_tenant(siege.bound_dsn, siege.tenant_b))
    else:
        client = connect(dsn=siege.bound_dsn).for_tenant(siege.tenant_b)
    before = siege.victim()
    for call in (
        lambda: client.bars_window("SECRETB", "1m", *_whole(), "VAULT-OF-B"),
        lambda: client.latest_prices(["SECRETB"], "VAULT-OF-B"),
        lambda: client.upsert_bars([VICTIM]),
        client.health,
    ):
        with pytest.raises(RLSDenied, match="bound to another tenant"):
            call()
    assert siege.victim() == before


NOBODY = (
    ("no setting", ""),
    ("an empty setting", "-c app.tenant_id="),
    ("a tenant that does not exist", "-c app.tenant_id=00000000-0000-4000-8000-000000000000"),
)


@pytest.mark.parametrize("options", [options for _, options in NOBODY], ids=[name for name, _ in NOBODY])
def test_nothing_can_be_read_or_written_without_a_tenant(siege: Siege, options: str) -> None:
    before = siege.rows("SELECT count(*) FROM store.series"), siege.rows("SELECT count(*) FROM store.bars")
    with psycopg.connect(make_conninfo(siege.service_dsn, options=options)) as connection:
        for view in sorted({view for view, *_ in views(siege)}):
            assert assault(connection, [f"SELECT * FROM {view}"]).rows == []
        for statement in (
            "INSERT INTO mds.series (kind, vendor, symbol, timeframe) VALUES ('bars', 'v', 's', '1m')",
            "INSERT INTO mds.bars (series_id, ts) VALUES ({own}, now())",
            "INSERT INTO mds.bars (series_id, ts) VALUES (NULL, now())",
        ):
            assert assault(connection, [siege.filled(statement)]).sqlstate in ("42501", "44000"), statement
            connection.rollback()
    assert (siege.rows("SELECT count(*) FROM store.series"), siege.rows("SELECT count(*) FROM store.bars")) == before


def test_a_malformed_tenant_is_an_error_rather_than_no_tenant(siege: Siege) -> None:
    with psycopg.connect(make_conninfo(siege.service_dsn, options="-c app.tenant_id=nonsense")) as connection:
        for view in CORE:
            seen = assault(connection, [f"SELECT * FROM {view}"])
            connection.rollback()
            assert (seen.sqlstate, "nonsense" in seen.text) == ("22P02", True)


def test_a_malformed_tenant_in_the_dsn_is_refused_by_the_client(siege: Siege, connect: Callable[..., Client]) -> None:
    with pytest.raises(ConfigurationError, match="'nonsense' is not a uuid"):
        connect(dsn=make_conninfo(siege.service_dsn, options="-c app.tenant_id=nonsense"))


def test_a_disabled_tenant_reads_nothing_and_writes_nothing(own_siege: Siege, connect: Callable[..., Client]) -> None:
    own_siege.execute("UPDATE store.tenants SET disabled_at = now() WHERE id = %s", own_siege.tenant_a)
    for actor in ACTORS:
        for view in sorted({view for view, *_ in views(own_siege)}):
            assert own_siege.attack(actor, f"SELECT * FROM {view}").rows == []
        seen = own_siege.attack(actor, "INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'v')")
        assert seen.sqlstate == "42501"
    client = connect(dsn=own_siege.service_dsn, tenant_id=own_siege.tenant_a)
    with pytest.raises(RLSDenied, match=f"tenant {own_siege.tenant_a} is unknown or disabled"):
        client.upsert_bars([VICTIM])
    with pytest.raises(RLSDenied):
        connect(dsn=own_siege.bound_dsn).upsert_bars([VICTIM])
    assert own_siege.rows("SELECT count(*) FROM store.bars") == [(2,)]


def test_prepared_statements_and_temporary_views_follow_the_current_tenant(siege: Siege) -> None:
    # An unbound role may choose its tenant; what it prepared as one must not show that one's rows as the other.
    with psycopg.connect(siege.service_dsn) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.commit()
        with tenant(connection, siege.tenant_b):
            connection.execute("PREPARE p AS SELECT symbol FROM public.bars WHERE vendor ~ '^V[EA]'")
            connection.execute("CREATE TEMP VIEW w AS SELECT symbol FROM public.latest_prices WHERE vendor ~ '^V[EA]'")
            assert connection.execute("EXECUTE p").fetchall() == [("SECRETB",)]
        with tenant(connection, siege.tenant_a):
            assert connection.execute("EXECUTE p").fetchall() == [("OWN",)]
            assert connection.execute("TABLE w").fetchall() == [("OWN",)]
        assert connection.execute("EXECUTE p").fetchall() == []
        connection.rollback()


def test_the_tenant_can_change_within_a_transaction(siege: Siege) -> None:
    with psycopg.connect(siege.service_dsn) as connection, tenant(connection, siege.tenant_a):
        assert connection.execute("SELECT id::text FROM public.tenants").fetchall() == [(siege.tenant_a,)]
        with tenant(connection, siege.tenant_b):
            assert connection.execute("SELECT id::text FROM public.tenants").fetchall() == [(siege.tenant_b,)]


FALSE_FRIENDS = (
    (
        "CREATE TABLE {schema}.bars (series_id bigint, ts timestamptz, open_price float8, high_price float8,"
        " low_price float8, close_price float8, volume bigint, id pg_catalog.uuid, symbol pg_catalog.text)"
    ),
    "CREATE TABLE {schema}.series (series_id bigint, kind pg_catalog.text)",
    "CREATE TABLE {schema}.tenants (id pg_catalog.uuid, no int, disabled_at timestamptz)",
    "CREATE TABLE {schema}.tenant_roles (role pg_catalog.text, tenant_no int)",
    "INSERT INTO {schema}.tenant_roles SELECT session_user, 2",
    "CREATE VIEW {schema}.latest_prices AS SELECT 1 AS price",
    "CREATE FUNCTION {schema}.current_setting(text, boolean) RETURNS pg_catalog.text LANGUAGE sql AS $$ SELECT {b} $$",
    "CREATE FUNCTION {schema}.tenant_no() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "CREATE FUNCTION {schema}.use_tenant(uuid) RETURNS uuid LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION {schema}.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE FUNCTION {schema}.always(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE FUNCTION {schema}.always(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    *(
        f"CREATE OPERATOR {{schema}}.{operator} (FUNCTION = {{schema}}.always, LEFTARG = {type_}, RIGHTARG = {type_})"
        for operator in ("=", ">=", "<", ">")
        for type_ in ("bigint", "int", "uuid")
    ),
)
CHECKED_TYPES = (
    (
        "CREATE FUNCTION pg_temp.who() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE NOTICE 'code ran as %', current_user; RETURN true; END $$"
    ),
    *(
        f"CREATE DOMAIN pg_temp.{name} AS pg_catalog.{name} CHECK (pg_temp.who())"
        for name in ("uuid", "text", "int8", "int4", "regrole", "timestamptz", "float8", "name", "bool")
    ),
)


@pytest.mark.parametrize("path", ["pg_temp, pg_catalog, public, mds", "pg_catalog, public", "''"])
@pytest.mark.parametrize("actor", ACTORS)
def test_shadowing_objects_in_the_temporary_schema_are_not_used(siege: Siege, actor: Actor, path: str) -> None:
    connection = siege.open(actor)
    with connection:
        friends = [siege.filled(text.replace("{schema}", "pg_temp")) for text in FALSE_FRIENDS]
        assert assault(connection, [*friends, f"SET search_path = {path}"]).sqlstate is None
        connection.commit()
        seen = assault(
            connection,
            [
                "SELECT mds.use_tenant(NULL)::pg_catalog.text",
                "SELECT symbol FROM public.bars",
                "SELECT name FROM public.tenants",
                "SELECT count(*) FROM mds.series",
            ],
        )
        assert seen.marks(siege.tenant_b) == []
        assert seen.rows[0] == (siege.tenant_a,)
        assert ("OWN",) in seen.rows


@pytest.mark.many_sessions
@pytest.mark.parametrize("actor", ACTORS)
def test_security_definer_functions_run_no_code_of_the_caller(siege: Siege, actor: Actor) -> None:
    # A temporary type is found before all others by a function whose search_path does not name pg_temp.
    calls = siege.rows(
        "SELECT format('SELECT %I.%I(%s)', n.nspname, p.proname,"
        " (SELECT string_agg('NULL::pg_catalog.' || y.typname, ', ' ORDER BY t.place)"
        " FROM unnest(p.proargtypes) WITH ORDINALITY AS t(type, place) JOIN pg_type AS y ON y.oid = t.type))"
        " FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'mds' AND p.prosecdef"
    )
    assert calls
    with siege.open(actor) as connection:
        assert assault(connection, CHECKED_TYPES).sqlstate is None
        for call in (
            *(call for (call,) in calls),
            f"SELECT mds.use_tenant('{siege.tenant_a}')",
            *(
                f"SELECT * FROM mds.delete_{kind.name}(NULL, {siege.own}, '2030-01-01', '2031-01-01', 10)"
                for kind in KINDS.values()
            ),
            f"SELECT mds.rename_series(NULL, ARRAY[{siege.own}], 0, 'x', NULL, NULL, true)",
            *(f"SELECT * FROM {view}" for view in sorted({view for view, *_ in views(siege)})),
            "INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'typed') ON CONFLICT DO NOTHING",
        ):
            with connection.transaction(force_rollback=True):
                seen = assault(connection, [call])
            # A series of nobody's is refused, and so is a new name for one whose tenant has rows in files.
            assert seen.sqlstate in (None, "44000", "MDS01", NOT_RENAMED), call
            assert "code ran as mds_owner" not in seen.text, call
        connection.rollback()


def test_every_security_definer_function_has_pg_temp_last_in_its_search_path(siege: Siege) -> None:
    assert (
        siege.rows(
            "SELECT p.oid::regprocedure::text, p.proconfig FROM pg_proc AS p WHERE p.prosecdef"
            " AND pg_get_userbyid(p.proowner) LIKE 'mds%' AND p.proconfig IS DISTINCT FROM"
            " ARRAY['search_path=pg_catalog, pg_temp']"
        )
        == []
    )


@pytest.mark.parametrize("actor", ACTORS)
def test_shadowing_operators_in_a_schema_of_the_attacker_are_not_used(own_siege: Siege, actor: Actor) -> None:
    own_siege.execute("CREATE SCHEMA hostile; GRANT ALL ON SCHEMA hostile TO PUBLIC")
    with own_siege.open(actor) as connection:
        friends = [own_siege.filled(text.replace("{schema}", "hostile")) for text in FALSE_FRIENDS]
        assert assault(connection, [*friends, "SET search_path = hostile, pg_catalog"]).sqlstate is None
        connection.commit()
        for view in sorted({view for view, *_ in views(own_siege)}):
            seen = assault(connection, [f"SELECT * FROM {view}"])
            connection.rollback()
            assert seen.sqlstate is None
            assert seen.marks(own_siege.tenant_b, str(own_siege.foreign)) == []
            assert view not in CORE or len(seen.rows) == 1
        seen = assault(
            connection, [own_siege.filled("UPDATE mds.series SET last_price = 0 WHERE series_id = {foreign}")]
        )
        assert seen.sqlstate is None
        connection.commit()
    assert own_siege.rows("SELECT last_price FROM store.series WHERE vendor = %s", VICTIM["vendor"]) == [(666.125,)]


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_a_client_writes_to_the_real_tables_despite_shadowing_objects(
    own_siege: Siege, connect: Callable[..., Client], mode: str
) -> None:
    client = connect(dsn=own_siege.service_dsn, tenant_id=own_siege.tenant_a, pool_max=1, write_mode=mode)
    friends = [own_siege.filled(text.replace("{schema}", "pg_temp")).encode() for text in FALSE_FRIENDS]

    def talk(_: Session) -> Talk[None]:
        for text in (*friends, b"SET search_path = pg_temp, public"):
            yield Group((Execute(text),))

    client.run(Operation("make false friends", talk))
    before = own_siege.victim()
    assert client.upsert_bars([{**VICTIM, "close_price": 2.5}]) == 1
    (read,) = client.bars_window("SECRETB", "1m", *_whole(), "VAULT-OF-B")
    assert (read.close_price, read.tenant_id) == (2.5, own_siege.tenant_a)
    (latest,) = client.latest_prices(["SECRETB"], "VAULT-OF-B")
    assert latest.price == 2.5
    assert own_siege.rows("SELECT close_price FROM store.bars ORDER BY 1") == [(1.5,), (2.5,), (666.125,)]
    assert own_siege.victim() == before


def test_for_tenant_needs_a_uuid(siege: Siege, connect: Callable[..., Client]) -> None:
    with pytest.raises(ConfigurationError, match="'b' is not a uuid"):
        connect(dsn=siege.service_dsn).for_tenant("b")


@nothing_there
def test_a_client_without_a_tenant_reads_nothing_and_cannot_write(siege: Siege, connect: Callable[..., Client]) -> None:
    client = connect(dsn=siege.service_dsn)
    assert client.bars_window("OWN", "1m", *_whole(), "VENDOR-OF-A") == []
    assert client.latest_prices(["OWN"], "VENDOR-OF-A") == []
    with pytest.raises(RLSDenied, match="no tenant is set"):
        client.upsert_bars([VICTIM])


def test_a_login_cannot_see_the_queries_of_another(siege: Siege) -> None:
    with psycopg.connect(siege.bound_to_b_dsn, autocommit=True) as other, siege.open("bound") as connection:
        other.execute("SELECT 'VAULT-OF-B secret' FROM pg_sleep(0)")
        assert (
            connection.execute("SELECT query FROM pg_stat_activity WHERE query ~ ('VAULT' || '-OF')").fetchall() == []
        )


def test_transactions_and_streams_reset_the_tenant_of_their_connection(siege: Siege) -> None:
    with MDS(dsn=siege.service_dsn, tenant_id=siege.tenant_b, pool_max=1) as client:
        look = Operation("look", _look, needs_schema=False)
        with client.transaction() as transaction:
            assert [price.symbol for price in transaction.latest_prices(["SECRETB"], "VAULT-OF-B")] == ["SECRETB"]
        assert client.run(look) is None
        with pytest.raises(LookupError), client.transaction() as transaction:  # noqa: PT012 - what it undoes
            transaction.latest_prices(["SECRETB"], "VAULT-OF-B")
            raise LookupError
        assert client.run(look) is None

        def parts(_: Session) -> Any:
            for _part in range(3):
                ((row,),) = yield Group((Execute(b"SELECT id::text FROM public.tenants"),))
                yield Emit(row[0])

        iterating: Any = client.stream(Stream(Operation("parts", parts)))
        assert next(iterating) == siege.tenant_b
        iterating.close()
        assert client.run(look) is None


def test_a_failed_operation_resets_the_tenant_of_its_connection(siege: Siege, connect: Callable[..., Client]) -> None:
    client = connect(dsn=siege.service_dsn, tenant_id=siege.tenant_b, pool_max=1)

    def fail(_: Session) -> Talk[None]:
        yield Group((Execute(b"SELECT 1 / 0"),))

    with pytest.raises(MDSOperationalError, match="division by zero"):
        client.run(Operation("fail", fail))

    assert client.run(Operation("look", _look, needs_schema=False)) is None


def _look(_: Session) -> Talk[object]:
    """The tenant that a connection of the pool has when nobody has set one in this transaction."""
    ((row,),) = yield Group((Execute(b"SELECT NULLIF(current_setting('app.tenant_id', true), '')"),))
    return row[0]


def _whole() -> tuple[datetime, datetime]:
    return datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
