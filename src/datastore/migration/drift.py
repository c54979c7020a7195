"""Differences between the declarations and a database."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from datastore.connections import head, schema_version
from datastore.engines import detect
from datastore.migration.owner import driver_of, sqlalchemy_connection
from datastore.schema import COMPARISON, metadata, objects


def check(dsn: str) -> list[str]:
    """List the differences between the declarations and the database, a line each.

    Reads only the catalog, and takes no lock that would disturb an application.
    """
    with sqlalchemy_connection(dsn) as connection:
        if (version := schema_version(driver_of(connection))) != head():
            return [f"the schema version is {version or 'none'}, head is {head()}: run datastore migrate"]
        context = MigrationContext.configure(connection, opts=COMPARISON)
        drift = [_describe(difference) for difference in _flat(compare_metadata(context, metadata()))]
        return drift + _object_drift(driver_of(connection))


def declared_objects(driver: psycopg.Connection[Any]) -> dict[str, tuple[str, str | None]]:
    """Return the hashes of declared and installed objects that the last migration recorded, by name."""
    rows = driver.execute("SELECT name, declared, installed FROM store.objects").fetchall()
    return {name: (declared, installed) for name, declared, installed in rows}


def installed_objects(driver: psycopg.Connection[Any]) -> dict[str, str]:
    """Return a hash of each object in the catalog: text, defaults, rules, options, comments, owner and grants.

    Where nothing was ever granted or revoked, the grants are the owner's defaults, which a restore leaves implicit.
    """
    # A view's text shows times in the session's time zone.
    driver.execute("SET LOCAL TimeZone TO 'UTC'")
    rows = driver.execute(
        """
        SELECT 'view ' || n.nspname || '.' || c.relname, md5(concat_ws('|', pg_get_viewdef(c.oid), c.reloptions::text,
                 pg_get_userbyid(c.relowner), c.relacl::text,
                 (SELECT string_agg(a.attname || a.attacl::text, '|' ORDER BY a.attnum) FROM pg_attribute AS a
                  WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL),
                 (SELECT string_agg(d.objsubid || d.description, '|' ORDER BY d.objsubid) FROM pg_description AS d
                  WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass),
                 (SELECT string_agg(d.adnum || pg_get_expr(d.adbin, d.adrelid), '|' ORDER BY d.adnum)
                  FROM pg_attrdef AS d WHERE d.adrelid = c.oid),
                 (SELECT string_agg(pg_get_ruledef(r.oid), '|' ORDER BY r.rulename) FROM pg_rewrite AS r
                  WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind = 'v' AND n.nspname IN ('mds', 'public')
        UNION ALL
        SELECT 'schema ' || nspname, md5(concat_ws('|', pg_get_userbyid(nspowner),
                 coalesce(nspacl, acldefault('n', nspowner))::text))
        FROM pg_namespace WHERE nspname IN ('mds', 'store')
        UNION ALL
        SELECT 'rights in store', md5(string_agg(concat_ws('|', relname, pg_get_userbyid(relowner),
                 coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner))::text,
                 relrowsecurity, relforcerowsecurity), '|' ORDER BY relname))
        FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'trigger store.' || c.relname || '.' || t.tgname,
               md5(concat_ws('|', pg_get_triggerdef(t.oid), t.tgenabled))
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'store'::regnamespace AND NOT t.tgisinternal
        UNION ALL
        SELECT n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')',
               md5(concat_ws('|', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner), p.proacl::text))
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('mds', 'store')
        """
    ).fetchall()
    return dict(rows)


def _object_drift(driver: psycopg.Connection[Any]) -> list[str]:
    known = declared_objects(driver)
    installed = installed_objects(driver)
    drift = []
    for item in objects(detect(driver)):
        if item.name not in known or item.name not in installed:
            drift.append(f"{item.name} is missing")
        elif known[item.name][0] != item.digest:
            drift.append(f"{item.name} is of another release")
        elif known[item.name][1] != installed.get(item.name):
            drift.append(f"{item.name} was changed by hand")
    return drift


def _flat(differences: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for difference in differences:
        if isinstance(difference, list):
            yield from difference
        else:
            yield difference


def _describe(difference: tuple[Any, ...]) -> str:
    """Describe one of Alembic's differences in a sentence, from the database's point of view."""
    action, *what = difference
    verb, _, noun = action.partition("_")
    names = [str(getattr(part, "name", part)) for part in what if isinstance(part, str) or hasattr(part, "name")]
    where = ".".join(name for name in names if name)
    known = {"add": "is missing", "remove": "is not declared", "modify": "differs from its declaration"}
    return f"{noun.replace('_', ' ')} {where} {known.get(verb, action)}"
