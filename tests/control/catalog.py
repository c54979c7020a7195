"""What the catalog says about a store, as data that two databases can be compared by."""

from typing import Any, Final, cast

import psycopg

# Everything about a schema's tables that two ways to make them could do differently.
SHAPE: Final = (
    (
        "SELECT c.relname, c.relkind::text, c.reloptions, c.relpersistence::text FROM pg_class AS c"
        " WHERE c.relnamespace = 'store'::regnamespace AND c.relname !~ '^alembic' ORDER BY 1"
    ),
    (
        "SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
        " a.attidentity::text,"
        " a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), a.attcollation FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = a.attrelid LEFT JOIN pg_attrdef AS d ON (d.adrelid,"
        " d.adnum) = (c.oid, a.attnum)"
        " WHERE c.relnamespace = 'store'::regnamespace AND c.relname !~ '^alembic' AND a.attnum > 0 ORDER BY 1, 2"
    ),
    (
        "SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'store'::regnamespace AND conname !~ '^alembic' ORDER BY 1, 2"
    ),
    (
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'store' AND tablename !~ '^alembic'"
        " ORDER BY 1, 2"
    ),
    (
        "SELECT sequencename, data_type::text, start_value, min_value, max_value, increment_by, cycle, cache_size"
        " FROM pg_sequences WHERE schemaname = 'store' ORDER BY 1"
    ),
)
VIEWS: Final = (
    (
        "SELECT c.oid::regclass::text, pg_get_viewdef(c.oid), c.reloptions,"
        " pg_get_userbyid(c.relowner), c.relacl::text,"
        " (SELECT array_agg(a.attname || a.attacl::text ORDER BY a.attnum) FROM pg_attribute AS a"
        "  WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) FROM pg_class AS c"
        " WHERE c.relkind = 'v' AND c.relnamespace IN ('mds'::regnamespace, 'public'::regnamespace) ORDER BY 1"
    ),
    (
        "SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text FROM pg_proc AS p"
        " WHERE p.pronamespace IN ('mds'::regnamespace, 'store'::regnamespace) ORDER BY 1"
    ),
    (
        "SELECT nspname, pg_get_userbyid(nspowner), coalesce(nspacl, acldefault('n', nspowner))::text FROM pg_namespace"
        " WHERE nspname IN ('mds', 'store') ORDER BY 1"
    ),
    (
        "SELECT relname, relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner),"
        " coalesce(relacl, acldefault('r', relowner))::text FROM pg_class"
        " WHERE relnamespace = 'store'::regnamespace AND relkind = 'r' AND relname !~ '^alembic' ORDER BY 1"
    ),
)


def rows(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(cast("Any", statement), parameters or None)
        return cursor.fetchall() if cursor.description else []


def shape(dsn: str, *, views: bool = True) -> list[list[tuple[Any, ...]]]:
    return [rows(dsn, statement) for statement in (*SHAPE, *(VIEWS if views else ()))]
