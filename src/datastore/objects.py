"""What is applied again at every migrate: functions, the security-barrier views, and grants.

Tables run once and are in the migrations; everything here is derived from the declarations and safe to run any number
of times. Three schemas: `store` is private, `mds` holds the client's narrow writable views, `public` what people and
tools select from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore import aggregates
from datastore.engine import Engine
from datastore.schema import STORE, TENANT_BITS
from mds_client import KINDS
from mds_client.schema import SERIES_COLUMNS, TENANT_COLUMN, Kind, Rollup

OWNER: Final = "mds_owner"
"""Owns every object. A member may change the schema; nobody reads through it."""

APP: Final = "mds_app"
"""What an application's login is a member of: the views and nothing else."""


@dataclass(frozen=True, slots=True)
class DatabaseObject:
    """One function, view or set of grants, by name, with the statements that make it what it should be."""

    name: str
    statements: tuple[str, ...]
    relation: tuple[str, str] | None = None

    @property
    def digest(self) -> str:
        """Of the declared text; a stored one that differs says that another release made the object."""
        return sha256("\n".join(self.statements).encode()).hexdigest()

    @property
    def checked(self) -> bool:
        """Whether the catalog shows it as one thing: views and functions are, grants on a schema are not."""
        return self.relation is not None or self.name.endswith(")")


def mine(series_id: Composable) -> Composable:
    """The one predicate of isolation: the series id is within the current tenant's range.

    The sub-selects run once per statement, and the range is on the leading column of every key. Without a tenant both
    bounds are NULL: nothing is seen, and no write passes the views' check.
    """
    return SQL("{id} >= (SELECT {store}.tenant_floor()) AND {id} < (SELECT {store}.tenant_ceiling())").format(
        id=series_id, store=_STORE
    )


def own_series(series_id: Composable) -> Composable:
    """The same for the series table, as an equality, so that its index by name serves look-ups."""
    return SQL("({id} >> {bits}) = (SELECT {store}.tenant_no())").format(
        id=series_id, bits=Literal(TENANT_BITS), store=_STORE
    )


_STORE = Identifier(STORE)

# Every function names its search_path, and pg_temp last in it: where it is not named it is searched first, for types
# too, and a caller's domain pg_temp.uuid would run the caller's code with the owner's rights.
_FUNCTIONS: Final = {
    # A login that is bound to a tenant is that tenant whatever the setting says: session_user cannot be changed by SET
    # ROLE nor by a SECURITY DEFINER function. After RESET the setting is an empty string.
    "store.tenant_no()": """
CREATE OR REPLACE FUNCTION store.tenant_no() RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_no integer;
BEGIN
  SELECT r.tenant_no INTO found_no FROM store.tenant_roles AS r WHERE r.role = session_user;
  IF FOUND THEN
    RETURN (SELECT t.no FROM store.tenants AS t WHERE t.no = found_no AND t.disabled_at IS NULL);
  END IF;
  RETURN (
    SELECT t.no FROM store.tenants AS t
    WHERE t.id = NULLIF(current_setting('app.tenant_id', true), '')::uuid AND t.disabled_at IS NULL
  );
END
$$""",
    "store.current_tenant()": """
CREATE OR REPLACE FUNCTION store.current_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no());
END
$$""",
    "store.tenant_floor()": f"""
CREATE OR REPLACE FUNCTION store.tenant_floor() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN store.tenant_no()::bigint << {TENANT_BITS};
END
$$""",
    "store.tenant_ceiling()": f"""
CREATE OR REPLACE FUNCTION store.tenant_ceiling() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (store.tenant_no()::bigint + 1) << {TENANT_BITS};
END
$$""",
    "store.next_series_id()": f"""
CREATE OR REPLACE FUNCTION store.next_series_id() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tenant_floor bigint := store.tenant_no()::bigint << {TENANT_BITS};
BEGIN
  IF tenant_floor IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant_floor + nextval('store.series_n');
END
$$""",
    # The client's first statement in every transaction. It says what is wrong with a tenant, where a read through the
    # views would only find nothing. NULL asks who one is.
    "mds.use_tenant(uuid)": """
CREATE OR REPLACE FUNCTION mds.use_tenant(wanted uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  current uuid;
BEGIN
  {settings}
  IF wanted IS NOT NULL THEN
    PERFORM set_config('app.tenant_id', wanted::text, true);
  END IF;
  current := store.current_tenant();
  IF wanted IS NULL OR wanted = current THEN
    RETURN current;
  END IF;
  IF current IS NOT NULL THEN
    RAISE insufficient_privilege USING
      MESSAGE = format('role %I is bound to another tenant than %s', session_user, wanted);
  END IF;
  RAISE insufficient_privilege USING
    MESSAGE = format('tenant %s is unknown or disabled', wanted);
END
$$""",
    "mds.schema_version()": """
CREATE OR REPLACE FUNCTION mds.schema_version() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT version_num FROM store.alembic_version $$""",
}


def objects(engine: Engine) -> list[DatabaseObject]:
    """Every object, in an order in which each finds what it needs."""
    return [
        *_schemas(),
        *_functions(engine),
        _tenants_view(),
        _series_view(),
        *(_kind_view(kind) for kind in KINDS.values()),
        *(_public_view(kind) for kind in KINDS.values()),
        *(_rollup_view(engine, kind, rollup) for kind, rollup in aggregates.rollups()),
        *(_public_rollup_view(engine, kind, rollup) for kind, rollup in aggregates.rollups()),
        _latest_prices_view(),
        _jobs_view(),
        _public_jobs_view(),
    ]


def _functions(engine: Engine) -> Iterator[DatabaseObject]:
    settings = "\n  ".join(
        SQL("PERFORM set_config({}, {}, true);").format(Literal(name), Literal(value)).as_string(None)
        for name, value in engine.session_settings().items()
    )
    for name, text in _FUNCTIONS.items():
        # An empty line where the engine needs no settings is as good as none.
        yield DatabaseObject(name, (text.strip().replace("{settings}", settings), *_for_app(name)))


def _for_app(function: str) -> tuple[str, ...]:
    # A view's functions run with the rights of whoever selects from it; the private schema itself stays closed, so that
    # nobody can call them by name.
    return (
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {function} TO {APP}",
    )


def _schemas() -> Iterator[DatabaseObject]:
    yield DatabaseObject("schema store", ("REVOKE ALL ON SCHEMA store FROM PUBLIC",))
    yield DatabaseObject("schema mds", (f"GRANT USAGE ON SCHEMA mds TO {APP}",))
    # A second wall, should somebody ever grant a right on a table by mistake: no policy lets anybody but the owner
    # see a row. Not on series and the kinds that have chunks: there it would stop rollups and columnar storage.
    flat = (kind.name for kind in KINDS.values() if kind.storage is None)
    yield DatabaseObject(
        "row security",
        tuple(
            SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(Identifier(STORE, name)).as_string(None)
            for name in ("tenants", "tenant_roles", "policies", "jobs", *flat)
        ),
    )


def _view(
    schema: str, name: str, body: Composable, *, writable: tuple[str, ...] = (), extra: tuple[Composable, ...] = ()
) -> DatabaseObject:
    relation = Identifier(schema, name)
    check = SQL(" WITH CASCADED CHECK OPTION") if writable else SQL("")
    statements = [
        SQL("CREATE OR REPLACE VIEW {} WITH (security_barrier) AS {}{}").format(relation, body, check),
        *extra,
        SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(relation, Identifier(APP)),
        SQL("GRANT SELECT ON {} TO {}").format(relation, Identifier(APP)),
        *(SQL("GRANT {} ON {} TO {}").format(SQL(right), relation, Identifier(APP)) for right in writable),
    ]
    return DatabaseObject(
        f"view {schema}.{name}",
        tuple(statement.as_string(None) for statement in statements),
        (schema, name),
    )


def _columns(names: tuple[str, ...], table: str | None = None) -> Composable:
    return SQL(", ").join(Identifier(table, name) if table else Identifier(name) for name in names)


def _tenants_view() -> DatabaseObject:
    body = SQL("SELECT id, name, created_at FROM {}.tenants WHERE no = (SELECT {}.tenant_no())").format(_STORE, _STORE)
    return _view("public", "tenants", body)


def _series_view() -> DatabaseObject:
    names = ("kind", *SERIES_COLUMNS)
    last = ("last_ts", "last_price", "last_price_ts")
    body = SQL("SELECT {} FROM {}.series WHERE {}").format(
        _columns(("series_id", *names, *last)), _STORE, own_series(Identifier("series_id"))
    )
    numbered = SQL("ALTER VIEW mds.series ALTER COLUMN series_id SET DEFAULT {}.next_series_id()").format(_STORE)
    return _view(
        "mds",
        "series",
        body,
        writable=(f"INSERT ({', '.join(names)})", f"UPDATE ({', '.join(last)})"),
        extra=(numbered,),
    )


def _kind_view(kind: Kind) -> DatabaseObject:
    body = SQL("SELECT {} FROM {} WHERE {}").format(
        _columns(("series_id", *kind.column_names)),
        Identifier(STORE, kind.name),
        mine(Identifier("series_id")),
    )
    # UPDATE by column, and not of the key: no row can be moved, and LOCK TABLE, which goes through to the table of all
    # tenants, is not to be had in a mode that stops anybody.
    update = (f"UPDATE ({_columns(kind.values).as_string(None)})",) if kind.values else ()
    return _view("mds", kind.name, body, writable=("INSERT", *update))


def _public_view(kind: Kind) -> DatabaseObject:
    body = SQL(
        "SELECT {time}, (SELECT {store}.current_tenant()) AS {tenant}, {names}, {values}"
        " FROM {store}.series AS s JOIN {rows} AS r USING (series_id)"
        " WHERE s.kind = {kind} AND {own} AND {mine}"
    ).format(
        time=Identifier("r", kind.time),
        store=_STORE,
        tenant=Identifier(TENANT_COLUMN),
        names=_columns(kind.series, "s"),
        values=_columns(tuple(name for name in kind.column_names if name != kind.time), "r"),
        rows=Identifier(STORE, kind.name),
        kind=Literal(kind.name),
        own=own_series(Identifier("s", "series_id")),
        mine=mine(Identifier("r", "series_id")),
    )
    return _view("public", kind.relation, body)


def _rollup_view(engine: Engine, kind: Kind, rollup: Rollup) -> DatabaseObject:
    name = aggregates.relation(kind, rollup)
    if engine.materialized():
        body = SQL("SELECT {} FROM {} WHERE {}").format(
            _rollup_columns(kind), Identifier(STORE, name), mine(Identifier("series_id"))
        )
    else:
        where = SQL(" WHERE {}").format(mine(Identifier("series_id")))
        body = SQL("SELECT {} FROM ({}) AS r").format(
            _rollup_columns(kind), aggregates.select(engine, kind, rollup, kind.name, where)
        )
    return _view("mds", name, body)


def _rollup_columns(kind: Kind) -> Composable:
    """A rollup's columns with the types of the rows that it is made of: a sum of whole numbers is one again."""
    return SQL(", ").join(
        [
            SQL("series_id"),
            Identifier(kind.time),
            *(
                SQL("{0}::{1} AS {0}").format(Identifier(name), SQL(kind.column(name).type))
                for name, _ in kind.aggregates
            ),
        ]
    )


def _public_rollup_view(engine: Engine, kind: Kind, rollup: Rollup) -> DatabaseObject:
    name = aggregates.relation(kind, rollup)
    # Where it is computed: one series at a time, by its key, so that asking for one does not compute all.
    rows = SQL("LATERAL (SELECT * FROM mds.{} AS m WHERE m.series_id = s.series_id)").format(Identifier(name))
    if not engine.materialized():
        one = SQL(" WHERE series_id = s.series_id AND {}").format(mine(Identifier("series_id")))
        rows = SQL("LATERAL (SELECT {} FROM ({}) AS c)").format(
            _rollup_columns(kind), aggregates.select(engine, kind, rollup, kind.name, one)
        )
    body = SQL(
        "SELECT {time}, (SELECT {store}.current_tenant()) AS {tenant}, {names}, {timeframe} AS timeframe, {values}"
        " FROM {store}.series AS s CROSS JOIN {rows} AS r"
        " WHERE s.kind = {kind} AND s.timeframe = {base} AND {own}"
    ).format(
        time=Identifier("r", kind.time),
        store=_STORE,
        tenant=Identifier(TENANT_COLUMN),
        names=_columns(tuple(part for part in kind.series if part != "timeframe"), "s"),
        timeframe=SQL("{}::text").format(Literal(rollup.timeframe)),
        values=_columns(tuple(column for column, _ in kind.aggregates), "r"),
        rows=rows,
        kind=Literal(kind.name),
        base=Literal(kind.base),
        own=own_series(Identifier("s", "series_id")),
    )
    return _view("public", name, body)


_JOB_COLUMNS: Final = (
    *("id", "idempotency_key", "job_type", "payload", "priority", "state", "attempts"),
    *("created_at", "due_at", "finished_at", "error"),
)


def _jobs_view() -> DatabaseObject:
    body = SQL("SELECT {} FROM {}.jobs WHERE tenant_no = (SELECT {}.tenant_no())").format(
        _columns((*_JOB_COLUMNS, "tenant_no")), _STORE, _STORE
    )
    numbered = SQL("ALTER VIEW mds.jobs ALTER COLUMN tenant_no SET DEFAULT {}.tenant_no()").format(_STORE)
    return _view(
        "mds", "jobs", body, writable=("INSERT (idempotency_key, job_type, payload, priority)",), extra=(numbered,)
    )


def _public_jobs_view() -> DatabaseObject:
    body = SQL("SELECT (SELECT {}.current_tenant()) AS {}, {} FROM mds.jobs").format(
        _STORE, Identifier(TENANT_COLUMN), _columns(_JOB_COLUMNS)
    )
    return _view("public", "jobs_outbox", body)


def _latest_prices_view() -> DatabaseObject:
    body = SQL(
        "SELECT DISTINCT ON (s.vendor, s.symbol) (SELECT {store}.current_tenant()) AS {tenant}, s.vendor, s.symbol,"
        " s.last_price AS price, s.last_price_ts AS price_timestamp"
        " FROM {store}.series AS s WHERE {own} AND s.last_price IS NOT NULL"
        " ORDER BY s.vendor, s.symbol, s.last_price_ts DESC, s.timeframe"
    ).format(store=_STORE, tenant=Identifier(TENANT_COLUMN), own=own_series(Identifier("s", "series_id")))
    return _view("public", "latest_prices", body)
