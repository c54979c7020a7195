"""Another tenant's rows, attacked through everything that writes."""

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import pytest
from psycopg import pq

from mds_client import KINDS, RLSDenied, sql
from mds_client.protocol.operations import Execute, Group, Known, Operation, Session, Talk
from mds_client.schema import Kind
from tests.conftest import Client, nothing_there
from tests.isolation.conftest import ACTORS, TS, VICTIM, Actor, Attack, Seen, Siege, assault

pytestmark = pytest.mark.every_engine

REFUSED = ("42501", "44000", "55000", "0A000", "42809")
"""No right, the view's check, or a command that the relation does not take at all."""

LEAK = (
    "CREATE FUNCTION pg_temp.leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
    " $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$"
)
LEAK_VALUE = (
    "CREATE FUNCTION pg_temp.leaked(anyelement) RETURNS anyelement LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN $1; END $$"
)
# Says that it is the first tenant's series the first times it is asked, and the second's from then on.
TURNCOAT = (
    "CREATE TEMP SEQUENCE asked",
    (
        "CREATE FUNCTION pg_temp.turncoat() RETURNS bigint LANGUAGE plpgsql {volatility} AS"
        " $$ BEGIN RETURN CASE WHEN nextval('asked') <= {after} THEN {own} ELSE {foreign} END; END $$"
    ),
)
UPSERT = "INSERT INTO {relation} AS t (series_id, ts, close_price) VALUES ({foreign}, {ts}, 5)"
CONFLICT = UPSERT + " ON CONFLICT (series_id, ts) DO "

ON_A_ROW = (
    Attack("insert beside the other's rows", ("INSERT INTO {relation} (series_id, ts) VALUES ({foreign}, now())",)),
    Attack("insert on the other's row", (UPSERT,)),
    Attack(
        "insert many, the other's among one's own",
        ("INSERT INTO {relation} (series_id, ts) VALUES ({own}, now()), ({foreign}, now())",),
    ),
    Attack(
        "insert … select", ("INSERT INTO {relation} (series_id, ts) SELECT n, now() FROM unnest(ARRAY[{foreign}]) n",)
    ),
    Attack("insert a series of nobody", ("INSERT INTO {relation} (series_id, ts) VALUES (1, now())",)),
    Attack("insert a series of tenant 0 and below", ("INSERT INTO {relation} (series_id, ts) VALUES (-{own}, now())",)),
    Attack("insert the largest series", (f"INSERT INTO {{relation}} (series_id, ts) VALUES ({2**63 - 1}, now())",)),
    Attack("insert and return", (UPSERT + " RETURNING *",)),
    Attack("insert in a CTE", (f"WITH w AS ({UPSERT} RETURNING *) SELECT * FROM w",)),
    Attack("upsert onto the other's row", (CONFLICT + "UPDATE SET close_price = excluded.close_price",)),
    Attack("upsert that keeps the other's row", (CONFLICT + "NOTHING",)),
    Attack("upsert that keeps any", (UPSERT + " ON CONFLICT DO NOTHING",)),
    Attack("upsert that never updates", (CONFLICT + "UPDATE SET close_price = 1 WHERE false",)),
    Attack("upsert that returns the row", (CONFLICT + "UPDATE SET volume = t.volume RETURNING t.*",)),
    Attack(
        "upsert that moves the row to one's own series",
        (CONFLICT + "UPDATE SET series_id = {own}, ts = now() RETURNING t.*",),
    ),
    Attack(
        "upsert whose condition tells",
        (LEAK, CONFLICT + "UPDATE SET volume = 1 WHERE NOT pg_temp.leak(t.close_price)"),
    ),
    Attack("upsert whose value tells", (LEAK_VALUE, CONFLICT + "UPDATE SET volume = pg_temp.leaked(t.volume)")),
    Attack("upsert whose error tells", (CONFLICT + "UPDATE SET id = t.close_price::text::uuid",)),
    Attack("upsert that divides by the difference", (CONFLICT + "UPDATE SET volume = 1 / (t.volume - 987654321)",)),
    Attack("upsert whose query tells", (LEAK, CONFLICT + "UPDATE SET volume = (SELECT 1 WHERE pg_temp.leak(t.id))")),
    Attack("copy", ("COPY {relation} FROM STDIN",)),
    Attack(
        "merge, matched",
        (
            (
                "MERGE INTO {relation} AS t USING (SELECT {foreign}::bigint AS s) AS n ON t.series_id = n.s"
                " WHEN MATCHED THEN UPDATE SET close_price = 3"
                " WHEN NOT MATCHED THEN INSERT (series_id, ts) VALUES (n.s, {ts})"
            ),
        ),
    ),
    Attack(
        "merge, always",
        (
            (
                "MERGE INTO {relation} AS t USING (SELECT 1) AS n ON false"
                " WHEN NOT MATCHED THEN INSERT (series_id, ts) VALUES ({foreign}, now())"
            ),
        ),
    ),
    Attack("move one's own rows to the other's series", ("UPDATE {relation} SET series_id = {foreign}",)),
    Attack("delete", ("DELETE FROM {relation} WHERE series_id = {foreign}",)),
    *(
        Attack(
            f"{volatility} function that changes its mind after {after}, {sort}",
            (
                *(text.replace("{volatility}", volatility).replace("{after}", str(after)) for text in TURNCOAT),
                f"INSERT INTO {{relation}} (series_id, ts, close_price) {source}",
            ),
            refused=(),
        )
        for volatility in ("VOLATILE", "STABLE", "IMMUTABLE")
        for after in (1, 2, 3)
        for sort, source in (
            ("values", "VALUES (pg_temp.turncoat(), {ts}, 5)"),
            ("select", "SELECT pg_temp.turncoat(), {ts}, 5"),
            ("sorted", "SELECT pg_temp.turncoat(), {ts}::timestamptz, 5 ORDER BY 2"),
        )
    ),
)


def doors(siege: Siege) -> list[str]:
    """Every relation with a series id that an application may write to in some way."""
    found = siege.rows(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('mds', 'public') AND c.relkind IN ('r', 'v') AND c.relname LIKE '%bars%'"
        " AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'series_id')"
        " AND (has_any_column_privilege('mds_app', c.oid, 'INSERT, UPDATE')"
        "      OR has_table_privilege('mds_app', c.oid, 'INSERT, UPDATE, DELETE')) ORDER BY 1"
    )
    assert found
    return [name for (name,) in found]


@pytest.mark.parametrize("actor", ACTORS)
def test_rows_of_another_tenant_can_be_neither_written_nor_detected(siege: Siege, actor: Actor) -> None:
    before = siege.victim()
    relations = doors(siege)
    wrong = []
    siege.execute("DELETE FROM store.bars WHERE series_id = %s AND ts = %s", siege.own, TS)
    # Of those who change their mind, one actor is enough.
    attacks = [attack for attack in ON_A_ROW if attack.refused or actor == "bound"]
    with siege.attacker(actor) as attacked:
        for attack, relation in itertools.product(attacks, relations):
            seen = attacked(*(text.replace("{relation}", relation) for text in attack.statements))
            refused = seen.sqlstate in refusals(relation)
            # A function that says "mine" when it matters writes one's own row, and that is all.
            if seen.sqlstate is None and not attack.refused:
                refused = siege.victim() == before
                siege.execute("DELETE FROM store.bars WHERE series_id = %s AND ts = %s", siege.own, TS)
            if seen.marks() or not refused:
                wrong.append((attack.name, relation, seen))
    assert wrong == []
    assert siege.victim() == before


def refusals(relation: str) -> tuple[str, ...]:
    """How a write to a relation is refused. A late row of one's own is refused, too, where there is no fence."""
    return (*REFUSED, sql.COLD) if relation.endswith("_late") else REFUSED


def test_a_row_of_a_tenant_with_a_smaller_number_cannot_be_written(siege: Siege) -> None:
    siege = siege.from_the_other_side()
    before = siege.victim()
    wrong = []
    with siege.attacker("bound") as attacked:
        for attack, relation in itertools.product(ON_A_ROW, doors(siege)):
            if attack.refused:
                seen = attacked(*(text.replace("{relation}", relation) for text in attack.statements))
                if seen.sqlstate not in refusals(relation):
                    wrong.append((attack.name, relation, seen))
    assert wrong == []
    assert siege.victim() == before


def test_a_row_of_a_tenant_with_a_smaller_number_cannot_be_deleted(siege: Siege) -> None:
    siege = siege.from_the_other_side()
    before = siege.victim()
    for kind in KINDS.values():
        call = f"SELECT * FROM mds.delete_{kind.name}(NULL, {{foreign}}, '-infinity', 'infinity', 1000000)"
        assert siege.attack("bound", call).sqlstate == "44000", kind.name
    assert siege.victim() == before


PROBES = (
    "INSERT INTO {relation} (series_id, ts) VALUES ({series}, {ts})",
    "INSERT INTO {relation} (series_id, ts) VALUES ({series}, {ts}) ON CONFLICT DO NOTHING",
    (
        "INSERT INTO {relation} AS t (series_id, ts) VALUES ({series}, {ts}) ON CONFLICT (series_id, ts)"
        " DO UPDATE SET close_price = 1"
    ),
    "UPDATE {relation} SET series_id = {series} WHERE ts = {ts}",
    (
        "MERGE INTO {relation} AS t USING (SELECT {series}::bigint AS s) AS n ON t.series_id = n.s AND t.ts = {ts}"
        " WHEN NOT MATCHED THEN INSERT (series_id, ts) VALUES (n.s, {ts})"
    ),
)


@pytest.mark.parametrize("actor", ACTORS)
def test_the_existence_of_a_row_of_another_tenant_cannot_be_probed(siege: Siege, actor: Actor) -> None:
    told = []
    with siege.attacker(actor) as attacked:
        for probe, relation in itertools.product(PROBES, doors(siege)):
            answers = {
                attacked(probe.replace("{relation}", relation).replace("{series}", series)).sqlstate
                for series in ("{foreign}", "({foreign} + 1)")
            }
            if len(answers) != 1:
                told.append((probe, relation, answers))
    assert told == []


EXAMPLES = {
    "bigint": "987654321",
    "date": "'2024-01-01'",
    "double precision": "666.125",
    "jsonb": "'{\"SECRETB\": 666.125}'",
    "text": "'SECRETB'",
    "timestamptz": f"'{TS}'",
    "uuid": "'b0b0b0b0-1111-4222-8333-444455556666'",
}


def differing(siege: Siege, actor: Actor, calls: Iterable[str], sqlstate: str) -> list[tuple[str, Seen]]:
    """The calls that are answered in another way than the rest, with what they told. None of them changes anything.

    A series of somebody else, and one of nobody, have to be answered alike.
    """
    before = siege.victim()
    with siege.attacker(actor) as attacked:
        told = [(call, attacked(call)) for call in calls]
    assert siege.victim() == before
    return [(call, seen) for call, seen in told if (seen.sqlstate, seen.marks()) != (sqlstate, [])]


@pytest.mark.parametrize("actor", ACTORS)
def test_last_values_of_another_tenant_can_be_neither_written_nor_detected(siege: Siege, actor: Actor) -> None:
    calls = []
    one = {**EXAMPLES, "boolean": "true"}
    for kind, series in itertools.product(KINDS.values(), ("{foreign}", "{foreign} + 1", "{own}, {foreign}")):
        _, *types = sql.last_values_types(kind)
        arrays = (f"ARRAY[{', '.join([one[type_]] * (series.count(',') + 1))}]::{type_}[]" for type_ in types)
        calls.append(f"SELECT mds.{kind.name}_last_values(ARRAY[{series}], {', '.join(arrays)}, 'replace')")
    assert differing(siege, actor, calls, sql.STALE_SERIES) == []


@pytest.mark.parametrize("actor", ACTORS)
def test_rows_of_another_tenant_can_be_neither_deleted_nor_detected(siege: Siege, actor: Actor) -> None:
    calls = [
        f"SELECT * FROM mds.delete_{kind.name}({tenant}, {series}, '-infinity', 'infinity', 1000000)"
        for kind in KINDS.values()
        for tenant in ("{b}::uuid", "NULL")
        for series in ("{foreign}", "{foreign} + 1", "NULL", "0", "-1", "9223372036854775807")
    ]
    assert differing(siege, actor, calls, "44000") == []


RENAMED = ("{foreign}", "{foreign} + 1", "{own}, {foreign}", "{foreign}, {own}", "NULL", "{own}, NULL", "0", "-1")


@pytest.mark.parametrize("actor", ACTORS)
def test_series_of_another_tenant_can_be_neither_renamed_nor_detected(siege: Siege, actor: Actor) -> None:
    calls = [
        f"SELECT mds.rename_series({tenant}, ARRAY[{series}]::bigint[], {renames}, 'x', 'x', 'x', {dry_run})"
        for tenant in ("{b}::uuid", "NULL")
        for series in RENAMED
        for renames in ("0", "1", "NULL")
        for dry_run in ("true", "false")
    ]
    assert differing(siege, actor, calls, "44000") == []


def test_renaming_does_not_reveal_the_series_names_of_another_tenant(own_siege: Siege) -> None:
    # A tenant with a fence cannot rename its bars at all.
    own_siege.execute("DELETE FROM store.cold_fences")
    for actor in ACTORS:
        for to in ("'VAULT-OF-B', 'SECRETB'", "'VAULT-OF-B', 'NOBODYS'"):
            seen = own_siege.attack(actor, f"SELECT mds.rename_series(NULL, ARRAY[{{own}}], 0, {to}, NULL, true)")
            assert (seen.sqlstate, seen.marks()) == (None, []), (to, seen.text)


def test_a_shadowing_function_does_not_change_whose_rows_are_deleted(siege: Siege) -> None:
    before = siege.victim()
    seen = siege.attack(
        "service",
        "CREATE FUNCTION pg_temp.tenant_floor() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "SET search_path = pg_temp, store, mds, public",
        "SELECT * FROM mds.delete_bars(NULL, {foreign}, '-infinity', 'infinity', 1000000)",
    )
    assert (seen.sqlstate, seen.marks()) == ("44000", [])
    assert siege.victim() == before


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_conflicts_do_not_reveal_rows_of_another_tenant_for_any_kind(own_siege: Siege, kind: Kind) -> None:
    names = ("series_id", *kind.column_names)
    columns = ", ".join(names)
    values = ", ".join(("{foreign}", *(EXAMPLES.get(column.type, "NULL") for column in kind.columns)))
    own_siege.execute("DELETE FROM store.bars")
    own_siege.execute(own_siege.filled(f"INSERT INTO store.{kind.name} ({columns}) VALUES ({values})"))
    before = own_siege.rows(f"SELECT ctid::text, xmin::text, t::text FROM store.{kind.name} AS t")
    relations = own_siege.rows(
        "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('mds', 'public') AND has_any_column_privilege('mds_app', c.oid, 'INSERT')"
        " AND NOT EXISTS (SELECT FROM unnest(%s::text[]) AS name WHERE NOT EXISTS"
        "  (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = name)) ORDER BY 1",
        list(names),
    )
    assert relations
    with own_siege.attacker("bound") as attacked:
        for (relation,) in relations:
            insert = f"INSERT INTO {relation} AS t ({columns}) VALUES ({values})"
            target = f"(series_id, {', '.join(kind.key)})"
            update = f"{insert} ON CONFLICT {target} DO UPDATE SET"
            plain = (insert, insert.replace("{foreign}", "({foreign} + 1)"))
            more = (f"{update} {value} = pg_temp.leaked(t.{value})" for value in kind.values)
            told = {
                statement: attacked(LEAK_VALUE, statement)
                for statement in (*plain, f"{insert} ON CONFLICT DO NOTHING", *more)
            }
            for statement, seen in told.items():
                assert seen.sqlstate in REFUSED, statement
                assert "leaked" not in seen.text, statement
            assert len({told[statement].sqlstate for statement in plain}) == 1, relation
    assert own_siege.rows(f"SELECT ctid::text, xmin::text, t::text FROM store.{kind.name} AS t") == before


ON_SERIES = (
    Attack("insert with an id", ("INSERT INTO mds.series (series_id, kind, vendor) VALUES ({foreign}, 'bars', 'x')",)),
    Attack("take over an id", ("UPDATE mds.series SET series_id = {foreign}",)),
    Attack("rename", ("UPDATE mds.series SET symbol = 'SECRETB', vendor = 'VAULT-OF-B'",)),
    Attack("delete", ("DELETE FROM mds.series WHERE series_id = {foreign}",)),
    Attack("move the default", ("ALTER VIEW mds.series ALTER COLUMN series_id SET DEFAULT 1",)),
    Attack("copy with an id", ("COPY mds.series (series_id, kind, vendor) FROM STDIN",)),
    Attack("copy by name", ("COPY mds.series (kind, vendor) FROM STDIN",)),
)


@pytest.mark.parametrize("actor", ACTORS)
def test_a_series_of_another_tenant_cannot_be_written(siege: Siege, actor: Actor) -> None:
    before = siege.victim()
    with siege.attacker(actor) as attacked:
        told = [(attack.name, attacked(*attack.statements)) for attack in ON_SERIES]
    assert [(name, seen) for name, seen in told if seen.sqlstate not in REFUSED] == []
    assert siege.victim() == before


BLIND = (
    "UPDATE mds.bars SET close_price = 0 WHERE series_id = {foreign} RETURNING *",
    "UPDATE mds.series SET last_price = 0 WHERE series_id = {foreign} RETURNING *",
    "UPDATE mds.series SET last_price = 0 WHERE vendor = 'VAULT' || '-OF-B' RETURNING *",
    (
        "UPDATE mds.series AS s SET last_price = b.close_price FROM public.bars AS b WHERE b.symbol = 'SECRET' || 'B'"
        " RETURNING b.*"
    ),
    "SELECT * FROM mds.series WHERE series_id = {foreign} FOR UPDATE",
)


@pytest.mark.parametrize("actor", ACTORS)
def test_statements_that_target_a_row_of_another_tenant_find_none(siege: Siege, actor: Actor) -> None:
    before = siege.victim()
    found = []
    with siege.attacker(actor) as attacked:
        for statement in BLIND:
            seen = attacked(statement)
            # These are let through, so what they have changed is looked for after each.
            changed = siege.victim() != before
            if seen.sqlstate not in (None, "42501") or seen.marks() or any(map(any, seen.rows)) or changed:
                found.append((statement, seen))
    assert found == []


def test_a_series_with_the_name_of_another_tenants_is_created_separately(own_siege: Siege) -> None:
    before = own_siege.victim()
    insert = "INSERT INTO mds.series (kind, vendor, symbol, timeframe) VALUES ('bars', 'VAULT-OF-B', 'SECRETB', '1m')"
    assert own_siege.attack("bound", insert).sqlstate is None
    assert own_siege.rows(
        "SELECT series_id >> 40 = %s >> 40, last_price FROM store.series WHERE vendor = 'VAULT-OF-B' ORDER BY 1",
        own_siege.own,
    ) == [(False, 666.125), (True, None)]
    assert own_siege.victim() == before


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
@pytest.mark.parametrize("on_conflict", ["replace", "keep", "fill"])
def test_a_client_that_is_given_another_tenants_series_id_writes_to_its_own(
    connect: Callable[..., Client], own_siege: Siege, mode: str, on_conflict: str
) -> None:
    client = connect(dsn=own_siege.service_dsn, tenant_id=own_siege.tenant_a, write_mode=mode)
    before = own_siege.victim()
    row = {**VICTIM, "close_price": 5.0}
    client.upsert_bars([row])
    name = (VICTIM["vendor"], VICTIM["symbol"], VICTIM["timeframe"])
    client._caches[own_siege.tenant_a]["bars", name] = Known(own_siege.foreign)
    assert client.upsert_bars([row], on_conflict=on_conflict) == 1
    assert own_siege.victim() == before
    assert own_siege.rows("SELECT close_price FROM store.bars WHERE ts = %s ORDER BY 1", TS) == [(5.0,), (666.125,)]


SQL_IN_NAMES = ("'; DROP TABLE store.bars; --", "$$x$$", "%s %(x)s {0}", 'A"B\\', "\\.", "A\tB\nC", "🦆")


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
@pytest.mark.parametrize("on_conflict", ["replace", "keep", "fill"])
def test_sql_in_names_is_stored_literally(
    siege: Siege, connect: Callable[..., Client], mode: str, on_conflict: str
) -> None:
    client = connect(dsn=siege.bound_dsn, write_mode=mode)
    before = siege.victim()
    for symbol in SQL_IN_NAMES:
        row = {"vendor": f"V{symbol}", "symbol": symbol, "timeframe": "1m", "ts": TS, "close_price": 2.5}
        assert client.upsert_bars([row], on_conflict=on_conflict) == 1, symbol
        (read,) = client.bars_window(symbol, "1m", *_whole(), f"V{symbol}")
        assert (read.symbol, read.vendor, read.close_price) == (symbol.upper(), f"V{symbol}", 2.5)
        (latest,) = client.latest_prices([symbol], f"V{symbol}")
        assert latest.symbol == symbol.upper()
        assert siege.victim() == before, symbol
        # Others share this database, and count what there is.
        named = siege.rows("SELECT series_id FROM store.series WHERE vendor = %s", f"V{symbol}")
        siege.execute("DELETE FROM store.bars WHERE series_id = ANY(%s)", [series_id for (series_id,) in named])
        siege.execute("DELETE FROM store.series WHERE vendor = %s", f"V{symbol}")
        assert len(named) == 1, symbol


@pytest.mark.parametrize(
    "symbol", ["OWN' OR '1'='1", "OWN' UNION SELECT * FROM store.bars --", "%", "SECRETB", "SECRET_", "{SECRETB}"]
)
@nothing_there
def test_sql_in_read_arguments_finds_nothing(siege: Siege, connect: Callable[..., Client], symbol: str) -> None:
    client = connect(dsn=siege.bound_dsn)
    for vendor in ("VENDOR-OF-A", "VAULT-OF-B", "' OR true --"):
        assert client.bars_window(symbol, "1m", *_whole(), vendor) == []
        assert client.latest_prices([symbol], vendor) == []


def test_a_bound_role_without_a_set_tenant_cannot_write_rows_of_another(
    siege: Siege, connect: Callable[..., Client]
) -> None:
    before = siege.victim()
    with pytest.raises(RLSDenied, match="row 0 is of tenant"):
        connect(dsn=siege.bound_dsn).upsert_bars([{**VICTIM, "tenant_id": siege.tenant_b}])
    assert siege.victim() == before


def test_the_staging_table_is_empty_after_a_batch(own_siege: Siege, connect: Callable[..., Client]) -> None:
    client = connect(dsn=own_siege.service_dsn, tenant_id=own_siege.tenant_a, pool_max=1, write_mode="copy")
    other = client.for_tenant(own_siege.tenant_b)
    other.upsert_bars([{**VICTIM, "symbol": "MORE"}])

    def talk(_: Session) -> Talk[list[tuple[object, ...]]]:
        names = b"SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'"
        ((*tables,),) = yield Group((Execute(names),))
        counts = yield Group(tuple(Execute(f"SELECT count(*) FROM pg_temp.{name}".encode()) for (name,) in tables))
        return [row for rows in counts for row in rows]

    assert client.run(Operation("look", talk)) == [(0,)]


def test_a_pooled_connection_keeps_no_state_of_the_previous_tenant(
    own_siege: Siege, connect: Callable[..., Client]
) -> None:
    client = connect(dsn=own_siege.service_dsn, tenant_id=own_siege.tenant_a, pool_max=1)
    other = client.for_tenant(own_siege.tenant_b)

    def talk(_: Session) -> Talk[tuple[object, ...]]:
        ((row,),) = yield Group(
            (
                Execute(
                    b"SELECT coalesce(current_setting('app.tenant_id', true), ''), current_user::text,"
                    b" session_user::text,"
                    b" (SELECT count(*) FROM mds.bars), (SELECT count(*) FROM mds.series),"
                    b" (SELECT count(*) FROM public.tenants)"
                    b" FROM (SELECT reset_val AS setting FROM pg_settings WHERE name = 'statement_timeout')"
                    b" AS current_setting_default"
                ),
            )
        )
        return row

    # Without an opening statement that would set a tenant anew: this is what a connection is like on its own.
    look = Operation("look", talk, needs_schema=False)
    assert other.upsert_bars([{**VICTIM, "symbol": "MORE"}]) == 1
    tenant, current, session, bars, series, tenants = client.run(look)
    assert (tenant, current, session, bars, series, tenants) == ("", "mds_service", "mds_service", 0, 0, 0)
    with pytest.raises(RLSDenied):
        other.upsert_bars([{**VICTIM, "tenant_id": own_siege.tenant_a}])
    assert client.run(look)[0] == ""


def test_a_rejected_write_leaves_the_connection_usable(siege: Siege) -> None:
    with siege.open("bound") as connection:
        assert assault(connection, [siege.filled("UPDATE mds.series SET series_id = {foreign}")]).sqlstate == "42501"
        connection.rollback()
        assert connection.info.transaction_status == pq.TransactionStatus.IDLE
        assert assault(connection, ["SELECT symbol FROM public.bars"]).rows[0] == ("OWN",)


def _whole() -> tuple[datetime, datetime]:
    return datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
