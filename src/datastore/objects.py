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
from datastore.schema import BEFORE, BEHIND, STORE, TENANT_BITS
from mds_client import KINDS, sql
from mds_client.schema import DOORS, SERIES_COLUMNS, TENANT_COLUMN, Door, Kind, Rollup

OWNER: Final = "mds_owner"
"""Owns every object. A member may change the schema; nobody reads through it."""

APP: Final = "mds_app"
"""What an application's login is a member of: the views and nothing else."""

_PRIVATE: Final = ("tenants", "tenant_roles", "policies", "jobs", "backfills", "calendars", "gap_counts")
"""The control plane's own tables, which row security shuts, too."""

JOBS_CHANNEL: Final = "mds_jobs"
"""Where workers listen. Anybody may listen with them, so what is sent is that there is something, and no more."""


LONGEST_KEY: Final = 500
LARGEST_PAYLOAD: Final = 1 << 20
"""Bytes of a job's idempotency key and type, and of its payload as text."""


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
    # Whose a new job is. A check of the view would come too late: with a key that is there nothing is inserted, nothing
    # is checked, and who has no tenant would learn which keys the store's own jobs have.
    "store.job_tenant()": """
CREATE OR REPLACE FUNCTION store.job_tenant() RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tenant integer := store.tenant_no();
BEGIN
  IF tenant IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant;
END
$$""",
    # With the rights of whoever inserts: it reads nothing but what was inserted just now.
    "store.announce_jobs()": f"""
CREATE OR REPLACE FUNCTION store.announce_jobs() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM made) THEN
    PERFORM pg_notify('{JOBS_CHANNEL}', '');
  END IF;
  RETURN NULL;
END
$$""",
    # A job is an order, and no data: every worker and whoever lists jobs reads all of it.
    "store.limit_jobs()": f"""
CREATE OR REPLACE FUNCTION store.limit_jobs() RETURNS trigger
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF octet_length(NEW.idempotency_key) > {LONGEST_KEY} OR octet_length(NEW.job_type) > {LONGEST_KEY} THEN
    RAISE check_violation USING
      MESSAGE = 'a job''s idempotency key and its type may have {LONGEST_KEY} bytes each';
  END IF;
  IF octet_length(NEW.payload::text) > {LARGEST_PAYLOAD} THEN
    RAISE check_violation USING MESSAGE = 'a job''s payload may have {LARGEST_PAYLOAD} bytes';
  END IF;
  RETURN NEW;
END
$$""",
    # What a door's rule comes to with a row that is not the tenant's: the view's check, but before the row is in.
    "store.refuse()": """
CREATE OR REPLACE FUNCTION store.refuse() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE with_check_option_violation USING MESSAGE = 'a row has a series that is not the tenant''s';
END
$$""",
    "store.refuse_time()": """
CREATE OR REPLACE FUNCTION store.refuse_time() RETURNS timestamp with time zone
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE datetime_field_overflow USING MESSAGE = 'a row has no time, or one that is not in the years 1 to 9999';
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
    # What the client's statements carry: the tenant that they are meant for. A statement that the server would run for
    # another tenant fails, also where the transaction that set the tenant is not there. NULL is whichever tenant it is.
    "mds.is_tenant(uuid)": """
CREATE OR REPLACE FUNCTION mds.is_tenant(wanted uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF wanted IS NULL OR wanted = (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no()) THEN
    RETURN true;
  END IF;
  RAISE with_check_option_violation USING
    MESSAGE = format('the statement is meant for tenant %s, which is not the tenant of this transaction', wanted);
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
        _jobs_limit(),
        _jobs_trigger(),
        _tenants_view(),
        _series_view(),
        *(_kind_view(kind) for kind in KINDS.values()),
        *(_door(kind, way) for kind in KINDS.values() for way in DOORS),
        *(_last_values(kind) for kind in KINDS.values()),
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
    yield DatabaseObject("schema store", (f"REVOKE ALL ON SCHEMA store FROM PUBLIC, {APP}",))
    yield DatabaseObject(
        "schema mds", (f"REVOKE ALL ON SCHEMA mds FROM PUBLIC, {APP}", f"GRANT USAGE ON SCHEMA mds TO {APP}")
    )
    # A second wall, should somebody ever grant a right on a table by mistake: no policy lets anybody but the owner
    # see a row. Not on series and the kinds that have chunks: there it would stop rollups and columnar storage.
    flat = (kind.name for kind in KINDS.values() if kind.storage is None)
    yield DatabaseObject(
        "rights in store",
        (
            f"REVOKE ALL ON ALL TABLES IN SCHEMA store FROM PUBLIC, {APP}",
            f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA store FROM PUBLIC, {APP}",
            *(
                SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(Identifier(STORE, name)).as_string(None)
                for name in (*_PRIVATE, *flat)
            ),
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
    return _view("mds", kind.name, body)


def _own_or_refused(series_id: Composable) -> Composable:
    """A series id that is the tenant's, or an error. `mine`, as a value.

    In a rule the id stands for the writer's expression, which could answer differently each time that it is asked:
    here it is asked once. What is outside the tenant's range is pushed to one of its ends, which are nobody's series,
    and refused there; without a tenant everything is.
    """
    return SQL(
        "coalesce(nullif(nullif(least(greatest({id}, {floor}), {ceiling}), {floor}), {ceiling}), {store}.refuse())"
    ).format(
        id=series_id,
        floor=SQL("coalesce((SELECT {}.tenant_floor()), {})").format(_STORE, Literal(2**63 - 1)),
        ceiling=SQL("coalesce((SELECT {}.tenant_ceiling()), {})").format(_STORE, Literal(2**63 - 1)),
        store=_STORE,
    )


def _readable_or_refused(time: Composable) -> Composable:
    """A time that every client can hold, or an error; asked once, like a series id.

    One row of the year 200000 would stop what looks at all of a hypertable's chunks, for every tenant.
    """
    return SQL("coalesce(nullif(nullif(least(greatest({time}, {low}), {high}), {low}), {high}), {refuse}())").format(
        time=time,
        low=SQL("timestamptz {}").format(Literal(BEFORE)),
        high=SQL("timestamptz {}").format(Literal(BEHIND)),
        refuse=SQL("{}.refuse_time").format(_STORE),
    )


def _door(kind: Kind, way: Door) -> DatabaseObject:
    """The view that rows are inserted into, and never read from: one for each way to end a conflict.

    An auto-updatable view would not do. Its check comes after the row is in, so that a key of another tenant answers
    differently where that tenant has the row; and ON CONFLICT on it runs the writer's expressions on the row that is
    there, whosever that is. Here the rule says what happens, and only with a series id that is the tenant's.
    """
    names = ("series_id", *kind.column_names)
    relation = Identifier("mds", sql.door(kind, way))
    action: Composable = SQL(" DO NOTHING")
    if way in ("replace", "fill") and kind.values:
        new = SQL("coalesce(excluded.{name}, t.{name})") if way == "fill" else SQL("excluded.{name}")
        values = [(Identifier(name), new.format(name=Identifier(name))) for name in kind.values]
        # A row that is there already is not written again: a replay makes no row version, dead tuple or index entry.
        # (Column by column: rows compared as wholes are spelled otherwise in a dump, and a restored store would look as
        # if somebody had changed it.)
        action = SQL(" DO UPDATE SET {} WHERE {}").format(
            SQL(", ").join(SQL("{} = {}").format(*value) for value in values),
            SQL(" OR ").join(SQL("t.{} IS DISTINCT FROM {}").format(*value) for value in values),
        )
    statements = (
        SQL("CREATE OR REPLACE VIEW {} WITH (security_barrier) AS SELECT {} FROM {} WHERE false").format(
            relation, _columns(names), Identifier(STORE, kind.name)
        ),
        SQL(
            "CREATE OR REPLACE RULE write AS ON INSERT TO {door} DO INSTEAD"
            " INSERT INTO {table} AS t ({names}) SELECT {own}, {values}{conflict}"
        ).format(
            door=relation,
            table=Identifier(STORE, kind.name),
            names=_columns(names),
            own=_own_or_refused(Identifier("new", "series_id")),
            values=SQL(", ").join(
                _readable_or_refused(Identifier("new", name)) if name == kind.time else Identifier("new", name)
                for name in kind.column_names
            ),
            conflict=SQL("")
            if way == "append"
            else SQL(" ON CONFLICT ({}){}").format(_columns(("series_id", *kind.key)), action),
        ),
        SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(relation, Identifier(APP)),
        SQL("GRANT INSERT ON {} TO {}").format(relation, Identifier(APP)),
    )
    name = sql.door(kind, way)
    return DatabaseObject(
        f"view mds.{name}", tuple(statement.as_string(None) for statement in statements), ("mds", name)
    )


_PRICED = """
  -- Whose newest price the rows have to say: one that was there first may have stayed, or the one with the newest price
  -- may have lost it.
  SELECT count(*), array_agg(s.series_id) FILTER (WHERE CASE
           WHEN n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
           THEN on_conflict = 'keep' AND n.price_ts <= s.last_ts
           ELSE on_conflict = 'replace' AND n.unpriced AND s.last_price_ts BETWEEN n.first_ts AND n.last_ts
         END)
    INTO held, unsure
    FROM ({held}) AS s JOIN {batch} USING (series_id);
  {check}
  UPDATE mds.series AS s
     SET last_ts = greatest(s.last_ts, n.last_ts),
         last_price_ts = CASE WHEN {moves} THEN n.price_ts ELSE s.last_price_ts END,
         last_price = CASE WHEN {moves} THEN n.price ELSE s.last_price END
    FROM {batch}
   WHERE s.series_id = n.series_id
     AND (n.last_ts > coalesce(s.last_ts, '-infinity')
          OR ({moves} AND (n.price_ts, n.price) IS DISTINCT FROM (s.last_price_ts, s.last_price)));
  IF unsure IS NOT NULL THEN
    UPDATE mds.series AS s SET last_price_ts = n.price_ts, last_price = n.price
      FROM (SELECT w.series_id, r.price_ts, r.price
              FROM unnest(unsure) AS w(series_id)
              LEFT JOIN LATERAL (
                SELECT b.{time} AS price_ts, b.{price} AS price FROM mds.{rows} AS b
                 WHERE b.series_id = w.series_id AND b.{price} IS NOT NULL ORDER BY b.{time} DESC LIMIT 1
              ) AS r ON true) AS n
     WHERE s.series_id = n.series_id AND (s.last_price_ts, s.last_price) IS DISTINCT FROM (n.price_ts, n.price);
  END IF;
"""
_UNPRICED = """
  SELECT count(*) INTO held FROM ({held}) AS s;
  {check}
  UPDATE mds.series AS s SET last_ts = n.last_ts FROM {batch}
   WHERE s.series_id = n.series_id AND n.last_ts > coalesce(s.last_ts, '-infinity');
"""
_HELD = """SELECT series_id, last_ts, last_price_ts FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE"""
_MOVES = """coalesce(n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
                        AND NOT (on_conflict = 'keep' AND coalesce(n.price_ts <= s.last_ts, false)), false)"""


def _last_values(kind: Kind) -> DatabaseObject:
    """What a writer calls behind its rows: brings the series' last values up to them.

    It holds the series until the transaction ends, in order, so that writers that share some cannot deadlock, and reads
    and writes with its caller's rights. Every series is named once.
    """
    more = ("first_ts", "last_ts", "price_ts", "price", "unpriced")
    names = ("ids", "last_ts") if kind.price is None else ("ids", *more)
    # As the server spells them: it is by its name that a function is found again.
    spelled = {"timestamptz": "timestamp with time zone"}
    types = [f"{spelled.get(type_, type_)}[]" for type_ in sql.last_values_types(kind)]
    arrays = SQL(", ").join(SQL(f"${at}") for at in range(1, len(names) + 1))
    body = SQL(_UNPRICED if kind.price is None else _PRICED).format(
        held=SQL(_HELD),
        check=SQL(
            "IF held < cardinality(ids) THEN"
            " RAISE SQLSTATE {} USING MESSAGE = 'a series is not there any more'; END IF;"
        ).format(Literal(sql.STALE_SERIES)),
        batch=SQL("unnest({}) AS n({})").format(arrays, _columns(("series_id", *names[1:]))),
        moves=SQL(_MOVES),
        time=Identifier(kind.time),
        price=Identifier(kind.price or ""),
        rows=Identifier(kind.name),
    )
    function = f"mds.{kind.name}_last_values({', '.join((*types, 'text'))})"
    arguments = ", ".join(f"{name} {type_}" for name, type_ in zip(names, types, strict=True))
    text = f"""
CREATE OR REPLACE FUNCTION mds.{kind.name}_last_values({arguments}, on_conflict text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  held integer;
  unsure bigint[];
BEGIN{body.as_string(None)}END
$$"""
    return DatabaseObject(function, (text.strip(), *_for_app(function)))


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
_JOB_PROGRESS: Final = ("max_attempts", "started_at", "done", "total", "result", "cancel_requested")
"""What else a tenant sees of its jobs: how far they are, and what came of them. Which worker has one is not its own."""


def _jobs_limit() -> DatabaseObject:
    return DatabaseObject(
        "trigger store.jobs.limits",
        (
            (
                "CREATE OR REPLACE TRIGGER limits BEFORE INSERT ON store.jobs"
                " FOR EACH ROW EXECUTE FUNCTION store.limit_jobs()"
            ),
        ),
    )


def _jobs_trigger() -> DatabaseObject:
    # Workers that wait start at once. They announce themselves what they put back into the queue.
    return DatabaseObject(
        "trigger store.jobs.announce",
        (
            (
                "CREATE OR REPLACE TRIGGER announce AFTER INSERT ON store.jobs REFERENCING NEW TABLE AS made"
                " FOR EACH STATEMENT EXECUTE FUNCTION store.announce_jobs()"
            ),
        ),
    )


def _jobs_view() -> DatabaseObject:
    body = SQL("SELECT {} FROM {}.jobs WHERE tenant_no = (SELECT {}.tenant_no())").format(
        _columns((*_JOB_COLUMNS, "tenant_no", *_JOB_PROGRESS)), _STORE, _STORE
    )
    numbered = SQL("ALTER VIEW mds.jobs ALTER COLUMN tenant_no SET DEFAULT {}.job_tenant()").format(_STORE)
    return _view(
        "mds", "jobs", body, writable=("INSERT (idempotency_key, job_type, payload, priority)",), extra=(numbered,)
    )


def _public_jobs_view() -> DatabaseObject:
    body = SQL("SELECT (SELECT {}.current_tenant()) AS {}, {} FROM mds.jobs").format(
        _STORE, Identifier(TENANT_COLUMN), _columns((*_JOB_COLUMNS, *_JOB_PROGRESS))
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
