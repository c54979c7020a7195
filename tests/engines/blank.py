"""How a database is emptied after a test, and whether that makes it again what it was before.

Where emptied databases come from, and what happens to those that a test has changed otherwise, is in `databases`.
"""

from typing import Any, LiteralString

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

# What a test may change beside rows, each as a line: relations, constraints, columns' rights, functions, roles, jobs.
_CATALOG: LiteralString = """
SELECT md5(string_agg(line, '' ORDER BY line)) FROM (
  SELECT concat_ws(' ', oid, relname, relowner, relacl, relrowsecurity, reloptions, relnatts) FROM pg_class
  WHERE relnamespace IN ('store'::regnamespace, 'mds'::regnamespace, 'public'::regnamespace)
  UNION ALL SELECT concat_ws(' ', attrelid, attnum, attname, attacl) FROM pg_attribute WHERE attacl IS NOT NULL
  UNION ALL SELECT concat_ws(' ', a.attrelid, a.attnum, a.atttypid, a.atttypmod, a.attnotnull, d.adbin::text)
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    WHERE a.attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind = 'r')
  UNION ALL SELECT concat_ws(' ', oid, conname) FROM pg_constraint
    WHERE connamespace IN ('store'::regnamespace, 'mds'::regnamespace, 'public'::regnamespace)
  UNION ALL SELECT concat_ws(' ', oid, proname, proacl, md5(prosrc)) FROM pg_proc
    WHERE pronamespace IN ('store'::regnamespace, 'mds'::regnamespace, 'public'::regnamespace)
  UNION ALL SELECT concat_ws(' ', oid, tgname, tgenabled) FROM pg_trigger
    WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'store'::regnamespace)
  UNION ALL SELECT concat_ws(' ', oid, nspname, nspacl) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
  UNION ALL SELECT concat_ws(' ', setrole, setconfig) FROM pg_db_role_setting AS s
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION ALL SELECT count(*)::text FROM pg_depend
  {jobs}
) AS lines(line)
"""
_JOBS: LiteralString = "UNION ALL SELECT concat_ws(' ', id, config) FROM _timescaledb_config.bgw_job"

# The server's own waiting for their ends looks ten times a second.
_ALONE: LiteralString = """
DO $$ BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid();
  FOR attempt IN 1..5000 LOOP
    PERFORM pg_stat_clear_snapshot();
    EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid());
    PERFORM pg_sleep(0.001);
  END LOOP;
END $$
"""

# What may hold rows, where they are, and whether rows are in chunks.
_TABLES: LiteralString = """
SELECT 'store', relname::text, 'store', relname::text, false
FROM pg_class
WHERE relnamespace = 'store'::regnamespace AND relkind = 'r' AND relname NOT IN ('alembic_version', 'objects')
"""
# Rollups before what they are made of.
_HYPERTABLES: LiteralString = f"""
(SELECT view_schema::text, view_name::text, materialization_hypertable_schema::text,
        materialization_hypertable_name::text, true
 FROM timescaledb_information.continuous_aggregates)
UNION ALL
(SELECT t.schema, t.name, t.schema, t.name, EXISTS (
   SELECT FROM _timescaledb_catalog.hypertable AS h WHERE (h.schema_name, h.table_name) = (t.schema, t.name))
 FROM ({_TABLES}) AS t(schema, name))
"""
_SEQUENCES: LiteralString = """
SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
WHERE relnamespace = 'store'::regnamespace
"""
_READ_JOBS: LiteralString = "SELECT jsonb_agg(to_jsonb(j))::text FROM _timescaledb_config.bgw_job AS j"
_WRITE_JOBS: LiteralString = """
DELETE FROM _timescaledb_config.bgw_job;
INSERT INTO _timescaledb_config.bgw_job
SELECT * FROM jsonb_populate_recordset(NULL::_timescaledb_config.bgw_job, {})
"""


class Blank:
    """A migrated database without rows, as a session finds it: what it holds, and how to have it like that again."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        jobs = session.execute("SELECT to_regclass('_timescaledb_config.bgw_job')::text").fetchone()
        timescale = jobs != (None,)
        self._tables = session.execute(SQL(_HYPERTABLES if timescale else _TABLES)).fetchall()
        self._filled = SQL("SELECT * FROM (VALUES {}) AS tables(number, filled, many) WHERE filled ORDER BY 1").format(
            SQL(", ").join(
                SQL("({}, EXISTS (SELECT FROM {}), pg_relation_size({}) > 65536)").format(
                    number, relation, Literal(relation.as_string(session))
                )
                for number, relation in enumerate(Identifier(*table[2:4]) for table in self._tables)
            )
        )
        self._catalog = SQL(_CATALOG).format(jobs=SQL(_JOBS if timescale else ""))
        self._digest = self._read(session)
        found = session.execute(_READ_JOBS).fetchone() if timescale else None
        self._jobs: str | None = found[0] if found else None

    def restored(self, session: psycopg.Connection[Any], *, shared: bool) -> bool:
        """Leave no row, nor anybody else connected where sessions are their own (not `shared`); whether the database
        is as it was."""
        if not shared:
            session.execute(_ALONE)
        filled = session.execute(self._filled).fetchall()
        # Rows go in any order: no foreign key is looked at, and no trigger of the store's own runs.
        statements: list[Composable] = [SQL("SET LOCAL session_replication_role = replica")]
        statements += [self._emptying(self._tables[number], many=many) for number, _, many in filled]
        session.execute(SQL("; ").join([*statements, SQL(_SEQUENCES)]))
        if self._read(session) == self._digest:
            return True
        if self._jobs is None:
            return False
        # Policies are what a test changes most besides rows, and each of them is a job.
        session.execute(SQL(_WRITE_JOBS).format(Literal(self._jobs)))
        return self._read(session) == self._digest

    def _emptying(self, table: tuple[str, str, str, str, bool], *, many: bool) -> Composable:
        schema, name, _, _, chunks = table
        # Truncating makes new files for a table and for each of its indexes, which takes longer than to delete a few
        # rows, but chunks go by it, and many rows.
        way = SQL("TRUNCATE {} CASCADE") if chunks or many else SQL("DELETE FROM {}")
        return way.format(Identifier(schema, name))

    def _read(self, session: psycopg.Connection[Any]) -> str:
        row = session.execute(self._catalog).fetchone()
        assert row is not None
        return str(row[0])
