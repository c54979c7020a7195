"""Tables, functions and catalogs, attacked by name: every one there is, so that one made later is attacked too."""

import itertools

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.engines.databases import Databases
from tests.isolation.conftest import ACTORS, FIRST_NAME, VICTIM_NAME, Actor, Siege, undone

pytestmark = pytest.mark.every_engine

ON_A_TABLE = (
    "SELECT * FROM {table}",
    "SELECT count(*) FROM {table}",
    "SELECT 1 FROM {table} FOR UPDATE",
    "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE {table} SET {column} = {column}",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "MERGE INTO {table} AS t USING (SELECT 1) AS s ON true WHEN MATCHED THEN DO NOTHING",
    "COPY {table} TO STDOUT",
    "COPY {table} FROM STDIN",
    "LOCK TABLE {table} IN ACCESS SHARE MODE",
    "ANALYZE {table}",
    "CREATE INDEX ON {table} ({column})",
    "CREATE TABLE pg_temp.child () INHERITS ({table})",
    "CREATE TEMP TABLE alike (x int REFERENCES {table})",
    "CREATE RULE r AS ON INSERT TO {table} DO NOTHING",
    "CREATE POLICY p ON {table} USING (true)",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "GRANT ALL ON {table} TO PUBLIC",
    "DROP TABLE {table}",
    "SELECT table_to_xml('{table}', true, false, '')",
    "SELECT query_to_xml('TABLE {table}', true, false, '')",
    "SELECT ts_stat('SELECT {column}::text::tsvector FROM {table}')",
    "SELECT pg_relation_size('{table}')",
)


@pytest.mark.parametrize("actor", ACTORS)
def test_no_table_of_the_private_schema_can_be_touched(siege: Siege, actor: Actor) -> None:
    tables = siege.rows(
        "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname) FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum = 1"
        " WHERE n.nspname = 'store' AND c.relkind IN ('r', 'p', 'm', 'v', 'f') ORDER BY 1"
    )
    assert len(tables) >= 6
    let_through = []
    before = siege.victim()
    with siege.open(actor) as connection:
        connection.autocommit = True
        for statement, (table, column) in itertools.product(ON_A_TABLE, tables):
            seen = undone(connection, statement.replace("{table}", table).replace("{column}", column))
            if seen.sqlstate != "42501":
                let_through.append((statement, table, seen))
    assert let_through == []
    assert siege.victim() == before


@pytest.mark.parametrize("actor", ACTORS)
def test_no_function_of_the_private_schema_can_be_called_by_name(siege: Siege, actor: Actor) -> None:
    functions = siege.rows(
        "SELECT format('%I.%I', n.nspname, p.proname), coalesce((SELECT string_agg('NULL::' || t::regtype, ', ')"
        " FROM unnest(p.proargtypes) AS t), '') FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'store'"
    )
    assert len(functions) >= 5
    attempts = [
        attempt
        for name, arguments in functions
        for attempt in (
            f"SELECT {name}({arguments})",
            f"SELECT * FROM {name}({arguments})",
            f"CALL {name}({arguments})",
            f"SELECT '{name}'::regproc",
            f"CREATE OPERATOR pg_temp.=== (PROCEDURE = {name}, LEFTARG = bigint, RIGHTARG = bigint)",
            f"ALTER FUNCTION {name} SECURITY INVOKER",
            f"DROP FUNCTION {name}",
            f"GRANT EXECUTE ON FUNCTION {name} TO PUBLIC",
        )
    ]
    with siege.open(actor) as connection:
        connection.autocommit = True
        for attempt in attempts:
            assert undone(connection, attempt).sqlstate == "42501", attempt


ON_A_SEQUENCE = ("SELECT nextval('{}')", "SELECT setval('{}', 1)", "SELECT * FROM {}")


@pytest.mark.parametrize("actor", ACTORS)
def test_no_sequence_of_the_private_schema_can_be_touched(siege: Siege, actor: Actor) -> None:
    sequences = siege.rows(
        "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE schemaname !~ '^_timescaledb_'"
    )
    assert ("store.series_n",) in sequences
    with siege.attacker(actor) as attacked:
        for statement, (sequence,) in itertools.product(ON_A_SEQUENCE, sequences):
            assert attacked(statement.format(sequence)).sqlstate == "42501", (statement, sequence)


def swept(siege: Siege, connection: psycopg.Connection[object]) -> list[str]:
    """The relations, of all there are, that show something of the second tenant or fail in an unexpected way."""
    relations = siege.rows(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 't') AND n.nspname !~ '^pg_(toast_)?temp_' ORDER BY 1, 2"
    )
    assert len(relations) > 250
    told = []
    connection.autocommit = True
    for schema, relation in relations:
        name = Identifier(schema, relation)
        seen = undone(connection, SQL("SELECT t.*, t::text FROM {} AS t").format(name).as_string(connection))
        if seen.sqlstate in ("42703", "42809"):  # a sequence or a table of pg_toast has no row type to cast
            seen = undone(connection, SQL("SELECT * FROM {}").format(name).as_string(connection))
        if seen.marks(siege.tenant_b, str(siege.foreign)) or seen.sqlstate not in (None, "42501"):
            told.append(f"{schema}.{relation}: {seen.sqlstate} {seen.marks(siege.tenant_b, str(siege.foreign))}")
    return told


@pytest.mark.parametrize("actor", ACTORS)
def test_no_relation_in_the_database_reveals_data_of_another_tenant(siege: Siege, actor: Actor) -> None:
    # Somebody is at work for the other tenant meanwhile, with a secret in the text of the query.
    with psycopg.connect(siege.bound_to_b_dsn, autocommit=True) as other, siege.open(actor) as connection:
        other.execute("SELECT * FROM public.bars WHERE vendor = 'VAULT-OF-B' AND close_price = 666.125")
        assert swept(siege, connection) == []


def test_the_sweep_finds_what_a_superuser_sees(siege: Siege) -> None:
    with psycopg.connect(siege.superuser_dsn) as connection:
        found = {line.partition(":")[0] for line in swept(siege, connection)}
    assert {"store.late_bars", "store.late_options", "store.cold_periods", "store.iceberg_tables"} <= found
    assert {"store.bars", "store.series", "store.tenants", "pg_catalog.pg_statistic", "pg_catalog.pg_stats"} <= found


@pytest.mark.parametrize("name", [FIRST_NAME, VICTIM_NAME])
@pytest.mark.parametrize("actor", ACTORS)
def test_the_views_show_exactly_the_rows_of_the_tenant(siege: Siege, actor: Actor, name: str) -> None:
    # The tenants' numbers bound their rows on both sides, so each of the two tenants looks for the other's rows.
    siege = siege if name == FIRST_NAME else siege.from_the_other_side()
    seen = siege.attack(
        actor,
        "SELECT 'bars', tenant_id::text FROM public.bars UNION ALL SELECT 'latest', tenant_id::text"
        " FROM public.latest_prices UNION ALL SELECT 'tenants', id::text FROM public.tenants"
        " UNION ALL SELECT 'series', tenant_id::text FROM public.series"
        " UNION ALL SELECT 'symbols', tenant_id::text FROM public.symbols"
        " UNION ALL SELECT 'mds bars', (series_id >> 40)::text FROM mds.bars"
        " UNION ALL SELECT 'mds series', (series_id >> 40)::text FROM mds.series"
        " UNION ALL SELECT 'late bars', (series_id >> 40)::text FROM mds.late_bars"
        " UNION ALL SELECT 'late options', (series_id >> 40)::text FROM mds.late_options"
        " UNION ALL SELECT 'files', path FROM mds.cold_files"
        " UNION ALL SELECT 'fences', count(*)::text FROM mds.cold_fences"
        " UNION ALL SELECT 'iceberg', metadata_location FROM mds.iceberg_tables"
        " UNION ALL SELECT 'namespaces', namespace FROM mds.iceberg_namespace_properties",
    )
    ((number,),) = siege.rows("SELECT no FROM store.tenants WHERE id = %s", siege.tenant_a)
    assert set(seen.rows) == {
        *itertools.product(("bars", "latest", "series", "symbols", "tenants"), (siege.tenant_a,)),
        *itertools.product(("mds bars", "mds series", "late bars", "late options"), (str(number),)),
        ("files", f"{name}/1999-01.parquet"),
        ("fences", "1"),
        ("iceberg", f"{name}/iceberg/bars/1.metadata.json"),
        ("namespaces", siege.tenant_a),
    }


POWERS = (
    "SET ROLE mds_owner",
    "SET ROLE mds_admin",
    "SET ROLE postgres",
    "GRANT mds_owner TO CURRENT_USER",
    "GRANT mds_app TO CURRENT_USER WITH ADMIN OPTION",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE login_of_a RENAME TO somebody_else",
    "CREATE ROLE another LOGIN IN ROLE mds_app",
    "CREATE SCHEMA mine",
    "CREATE TABLE public.bars_too (x int)",
    "CREATE VIEW public.everything AS SELECT 1",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW mds.everything AS SELECT 1",
    "CREATE TABLE store.mine (x int)",
    "CREATE EXTENSION pg_trgm",
    "CREATE DATABASE mine",
    "ALTER VIEW public.bars SET (security_barrier = false)",
    "ALTER VIEW public.bars RENAME TO other",
    "ALTER VIEW mds.bars OWNER TO CURRENT_USER",
    "CREATE OR REPLACE VIEW public.bars AS SELECT 1",
    "CREATE TRIGGER t INSTEAD OF INSERT ON mds.bars FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON UPDATE TO mds.bars DO INSTEAD NOTHING",
    "COMMENT ON VIEW mds.bars IS 'mine'",
    "DROP VIEW public.bars",
    "DROP SCHEMA mds CASCADE",
    "ALTER SCHEMA mds OWNER TO CURRENT_USER",
    "GRANT USAGE ON SCHEMA store TO PUBLIC",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET app.tenant_id = %L', current_database(), {b}); END $$",
    "ALTER ROLE mds_owner SET app.tenant_id = {b}",
    "ALTER FUNCTION mds.use_tenant(uuid) SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION mds.use_tenant(wanted uuid) RETURNS uuid LANGUAGE sql AS 'SELECT wanted'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/never'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/hostname')",
    "SELECT pg_reload_conf()",
    "SELECT pg_create_physical_replication_slot('s')",
    "VACUUM (ONLY_DATABASE_STATS)",
    "DELETE FROM mds.bars",
    "DELETE FROM mds.series",
    "TRUNCATE mds.bars",
    "UPDATE public.tenants SET name = 'x'",
    "INSERT INTO public.tenants (name) VALUES ('x')",
    "DELETE FROM public.bars",
    "UPDATE public.bars SET close_price = 1",
    "INSERT INTO public.bars (ts) VALUES (now())",
    "UPDATE public.latest_prices SET price = 1",
    "UPDATE public.series SET last_price = 1",
    "DELETE FROM public.series",
    "INSERT INTO public.series (kind, vendor) VALUES ('bars', 'x')",
    "DELETE FROM public.symbols",
    "COMMENT ON COLUMN public.series.symbol IS 'mine'",
    # A lock on a view goes through to the table of all tenants.
    "LOCK TABLE mds.bars IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE mds.bars IN SHARE MODE",
    "LOCK TABLE mds.series IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE public.bars IN EXCLUSIVE MODE",
    "LOCK TABLE public.tenants IN SHARE ROW EXCLUSIVE MODE",
)

OVER_SESSIONS = (
    "SET SESSION AUTHORIZATION postgres",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE coalesce(usename, 'postgres') = 'postgres'",
)
"""Where clients share one session, a superuser's, they may; nor is there anybody else to end."""

NO_RIGHT = ("42501", "25001", "55000", "0A000", "58P01", "42809")
"""Refused for want of a right; or, before rights are looked at, as impossible in a transaction, on such a view, for
such an object, or for want of a file."""


@pytest.mark.parametrize("actor", ACTORS)
def test_privileges_cannot_be_escalated(siege: Siege, databases: Databases, actor: Actor) -> None:
    before = siege.victim()
    with siege.attacker(actor) as attacked:
        told = [
            (statement, attacked(statement))
            for statement in (POWERS if databases.single_session else (*POWERS, *OVER_SESSIONS))
        ]
    assert [(statement, seen) for statement, seen in told if seen.sqlstate not in NO_RIGHT] == []
    assert siege.victim() == before
