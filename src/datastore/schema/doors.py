"""Doors: the views through which rows are written, and the functions that update the last values of series."""

from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.names import APP, BEFORE, BEHIND, STORE
from datastore.schema.declared import STORE_SCHEMA, DatabaseObject, column_list, for_app
from mds_client import sql
from mds_client.schema import Door, Kind


def own_or_refused(series_id: Composable) -> Composable:
    """Return an expression that is the series id if it is the tenant's, and otherwise raises. It is `mine` as a value.

    In a rule, the id stands for the writer's expression, which could give another value each time it is evaluated, so
    it is evaluated once. An id outside the tenant's range is moved to one of its ends, which are nobody's series, and
    refused there. Without a tenant every id is refused.
    """
    return SQL(
        "coalesce(nullif(nullif(least(greatest({id}, {floor}), {ceiling}), {floor}), {ceiling}), {store}.refuse())"
    ).format(
        id=series_id,
        floor=SQL("coalesce((SELECT {}.tenant_floor()), {})").format(STORE_SCHEMA, Literal(2**63 - 1)),
        ceiling=SQL("coalesce((SELECT {}.tenant_ceiling()), {})").format(STORE_SCHEMA, Literal(2**63 - 1)),
        store=STORE_SCHEMA,
    )


def between_or_refused(time: Composable, low: Composable, high: Composable, refusal: Composable) -> Composable:
    """Return an expression that is the time if it is between two times, and otherwise raises; evaluated once."""
    return SQL("coalesce(nullif(nullif(least(greatest({time}, {low}), {high}), {low}), {high}), {refusal})").format(
        time=time, low=low, high=high, refusal=refusal
    )


def _action(kind: Kind, way: Door) -> Composable:
    """Return what happens at a conflict with a stored row `t`."""
    if way == "keep" or not kind.values:
        if kind.shared is None:
            return SQL(" DO NOTHING")
        kept = Identifier(kind.shared.apart)
        return SQL(" DO UPDATE SET {0} = t.{0} WHERE {1}").format(kept, _same_row(kind, SQL("false")))
    new = SQL("coalesce(excluded.{name}, t.{name})") if way == "fill" else SQL("excluded.{name}")
    ways = dict.fromkeys(kind.maps, _FILLED) if way == "fill" else {}
    values = [(Identifier(name), ways.get(name, new).format(name=Identifier(name))) for name in kind.values]
    # Both parts of an amount must come from one row.
    part = SQL("excluded.{part}")
    if way == "fill":
        part = SQL("CASE WHEN excluded.{name} IS NULL THEN t.{part} ELSE excluded.{part} END")
    values += [
        (Identifier(one.fraction), part.format(name=Identifier(one.name), part=Identifier(one.fraction)))
        for one in kind.amounts
    ]
    # Do not write a row that is stored already: a replay then makes no row version, dead tuple or index entry. Compare
    # column by column, because a dump spells a comparison of whole rows differently, and a restored store would seem
    # changed.
    condition: Composable = SQL(" OR ").join(SQL("t.{} IS DISTINCT FROM {}").format(*value) for value in values)
    if way == "replace" and kind.measured:
        # A row without any value must not erase one that has values.
        some = SQL(" OR ").join(SQL("excluded.{} IS NOT NULL").format(Identifier(name)) for name in kind.measured)
        condition = SQL("({}) AND ({})").format(condition, some)
    return SQL(" DO UPDATE SET {} WHERE {}").format(
        SQL(", ").join(SQL("{} = {}").format(*value) for value in values), _same_row(kind, condition)
    )


_FILLED: Final = SQL(
    "coalesce(excluded.{name} || t.{name} || jsonb_strip_nulls(excluded.{name}), excluded.{name}, t.{name})"
)
"""The value of a map: the names of both rows, and of each name the new number, or the stored one where it is NULL."""


def _same_row(kind: Kind, condition: Composable) -> Composable:
    """Return the condition, or an error if the stored row is another one with the same value."""
    if kind.shared is None:
        return condition
    return SQL("CASE WHEN t.{0} IS DISTINCT FROM excluded.{0} THEN {1}.refuse_shared() ELSE {2} END").format(
        Identifier(kind.shared.apart), STORE_SCHEMA, condition
    )


def _readable_or_refused(kind: Kind, time: Composable) -> Composable:
    """Return an expression that is the time if every client can represent it, and otherwise raises.

    One row of the year 200000 would break everything that looks at all chunks of a hypertable, for every tenant. For
    kinds whose old rows are kept in files, a row from before the fence is refused, too, because it must be written as a
    late row. The fence is read once for each statement.
    """
    low: Composable = SQL("timestamptz {}").format(Literal(BEFORE))
    refusal: Composable = SQL("{}.refuse_time()").format(STORE_SCHEMA)
    if kind.cold:
        low = SQL("(SELECT {}.cold_floor({}))").format(STORE_SCHEMA, Literal(kind.name))
        refusal = SQL("{}.refuse_cold({})").format(STORE_SCHEMA, Literal(kind.name))
    return between_or_refused(time, low, SQL("timestamptz {}").format(Literal(BEHIND)), refusal)


def door(kind: Kind, way: Door) -> DatabaseObject:
    """Return the view into which rows are inserted, and which is never read: one for each way to resolve a conflict.

    An auto-updatable view would not do. It checks a row after inserting it, so that a key of another tenant gives
    another error if that tenant has the row; and ON CONFLICT evaluates the writer's expressions on the stored row,
    whichever tenant's it is. Here the rule decides what happens, and only for a series id of the tenant.
    """
    names = sql.table_columns(kind)
    relation = Identifier("mds", sql.door(kind, way))
    statements = (
        SQL("CREATE OR REPLACE VIEW {} WITH (security_barrier) AS SELECT {} FROM {} WHERE false").format(
            relation, column_list(names), Identifier(STORE, kind.name)
        ),
        SQL(
            "CREATE OR REPLACE RULE write AS ON INSERT TO {door} DO INSTEAD"
            " INSERT INTO {table} AS t ({names}) SELECT {own}, {values}{conflict}"
        ).format(
            door=relation,
            table=Identifier(STORE, kind.name),
            names=column_list(names),
            own=own_or_refused(Identifier("new", "series_id")),
            values=SQL(", ").join(
                _readable_or_refused(kind, Identifier("new", name)) if name == kind.time else Identifier("new", name)
                for name in names[1:]
            ),
            conflict=SQL("")
            if way == "append"
            else SQL(" ON CONFLICT ({}){}").format(column_list(("series_id", *kind.key)), _action(kind, way)),
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
  SELECT count(*), sum(s.renames), array_agg(s.series_id) FILTER (WHERE CASE
           WHEN n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
           THEN on_conflict = 'keep' AND n.price_ts <= s.last_ts
           ELSE on_conflict = 'replace' AND n.unpriced AND s.last_price_ts BETWEEN n.first_ts AND n.last_ts
         END)
    INTO held, named, unsure
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
     WHERE s.series_id = n.series_id AND (s.last_price_ts, s.last_price) IS DISTINCT FROM (n.price_ts, n.price){fenced};
  END IF;
"""
_UNPRICED = """
  SELECT count(*), sum(s.renames) INTO held, named FROM ({held}) AS s;
  {check}
  UPDATE mds.series AS s SET last_ts = n.last_ts FROM {batch}
   WHERE s.series_id = n.series_id AND n.last_ts > coalesce(s.last_ts, '-infinity');
"""
_HELD = """SELECT series_id, last_ts, last_price_ts, renames FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE"""
_MOVES = """coalesce(n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
                        AND NOT (on_conflict = 'keep' AND coalesce(n.price_ts <= s.last_ts, false)), false)"""


def last_values(kind: Kind) -> DatabaseObject:
    """Return the function that a writer calls after its rows. It updates the last values of their series.

    It locks the series until the transaction ends, in order, so that writers with common series cannot deadlock. It
    reads and writes with its caller's rights. Every series must be given once.

    `renames` is how often the writer knows the series to have been renamed, in total. Each number only grows, so the
    totals are equal only if the writer has looked up every series since it got its name. Clients of a release before
    this one do not give it: they write to series that were never renamed, and to no other.
    """
    more = ("first_ts", "last_ts", "price_ts", "price", "unpriced")
    names = ("ids", "last_ts") if kind.price is None else ("ids", *more)
    # Spelled as the server does, because functions are found again by this name.
    spelled = {"timestamptz": "timestamp with time zone"}
    types = [f"{spelled.get(type_, type_)}[]" for type_ in sql.last_values_types(kind)]
    arrays = SQL(", ").join(SQL(f"${at}") for at in range(1, len(names) + 1))
    body = SQL(_UNPRICED if kind.price is None else _PRICED).format(
        held=SQL(_HELD),
        check=SQL(
            "IF held < cardinality(ids) OR named <> renames THEN"
            " RAISE SQLSTATE {} USING MESSAGE = 'a series is not there any more, or has another name'; END IF;"
        ).format(Literal(sql.STALE_SERIES)),
        batch=SQL("unnest({}) AS n({})").format(arrays, column_list(("series_id", *names[1:]))),
        moves=SQL(_MOVES),
        time=Identifier(kind.time),
        price=Identifier(kind.price or ""),
        rows=Identifier(kind.name),
        # A row that is not found may be in a file; the known value stays then.
        fenced=SQL(" AND (n.price_ts IS NOT NULL OR NOT EXISTS (SELECT FROM mds.cold_fences))" if kind.cold else ""),
    )
    before = f"mds.{kind.name}_last_values({', '.join((*types, 'text'))})"
    function = f"mds.{kind.name}_last_values({', '.join((*types, 'text', 'bigint'))})"
    arguments = ", ".join(f"{name} {type_}" for name, type_ in zip(names, types, strict=True))
    text = f"""
CREATE OR REPLACE FUNCTION mds.{kind.name}_last_values({arguments}, on_conflict text,
  renames bigint DEFAULT 0) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  held integer;
  named bigint;
  unsure bigint[];
BEGIN{body.as_string(None)}END
$$"""
    return DatabaseObject(function, (f"DROP FUNCTION IF EXISTS {before}", text.strip(), *for_app(function)))
