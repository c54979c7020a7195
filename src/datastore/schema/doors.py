"""Doors: the views that rows are written through, and the functions that keep the last values of series."""

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.names import APP, BEFORE, BEHIND, STORE
from datastore.schema.declared import STORE_SCHEMA, DatabaseObject, column_list, for_app
from mds_client import sql
from mds_client.schema import Door, Kind


def own_or_refused(series_id: Composable) -> Composable:
    """A series id that is the tenant's, or an error. `mine`, as a value.

    In a rule the id stands for the writer's expression, which could answer differently each time that it is asked:
    here it is asked once. What is outside the tenant's range is pushed to one of its ends, which are nobody's series,
    and refused there; without a tenant everything is.
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
    """A time that is after one moment and before another, or an error; asked once, like a series id."""
    return SQL("coalesce(nullif(nullif(least(greatest({time}, {low}), {high}), {low}), {high}), {refusal})").format(
        time=time, low=low, high=high, refusal=refusal
    )


def _action(kind: Kind, way: Door) -> Composable:
    """How a conflict with a stored row `t` ends."""
    if way == "keep" or not kind.values:
        if kind.shared is None:
            return SQL(" DO NOTHING")
        kept = Identifier(kind.shared.apart)
        return SQL(" DO UPDATE SET {0} = t.{0} WHERE {1}").format(kept, _same_row(kind, SQL("false")))
    new = SQL("coalesce(excluded.{name}, t.{name})") if way == "fill" else SQL("excluded.{name}")
    values = [(Identifier(name), new.format(name=Identifier(name))) for name in kind.values]
    # Both parts of an amount come from one row.
    part = SQL("excluded.{part}")
    if way == "fill":
        part = SQL("CASE WHEN excluded.{name} IS NULL THEN t.{part} ELSE excluded.{part} END")
    values += [
        (Identifier(one.fraction), part.format(name=Identifier(one.name), part=Identifier(one.fraction)))
        for one in kind.amounts
    ]
    # A row that is there already is not written again: a replay makes no row version, dead tuple or index entry.
    # (Column by column: rows compared as wholes are spelled otherwise in a dump, and a restored store would look as
    # if someone had changed it.)
    condition: Composable = SQL(" OR ").join(SQL("t.{} IS DISTINCT FROM {}").format(*value) for value in values)
    if way == "replace" and kind.measured:
        # A row without any value says nothing: it must not erase one that does.
        some = SQL(" OR ").join(SQL("excluded.{} IS NOT NULL").format(Identifier(name)) for name in kind.measured)
        condition = SQL("({}) AND ({})").format(condition, some)
    return SQL(" DO UPDATE SET {} WHERE {}").format(
        SQL(", ").join(SQL("{} = {}").format(*value) for value in values), _same_row(kind, condition)
    )


def _same_row(kind: Kind, condition: Composable) -> Composable:
    """The condition, or an error where the stored row is another one that has the same value."""
    if kind.shared is None:
        return condition
    return SQL("CASE WHEN t.{0} IS DISTINCT FROM excluded.{0} THEN {1}.refuse_shared() ELSE {2} END").format(
        Identifier(kind.shared.apart), STORE_SCHEMA, condition
    )


def _readable_or_refused(kind: Kind, time: Composable) -> Composable:
    """A time that every client can hold, or an error.

    One row of the year 200000 would stop what looks at all of a hypertable's chunks, for every tenant. Of a kind whose
    old rows are kept in files, a row from before the fence is refused, too: it is written as a late one. The fence is
    asked for once a statement.
    """
    low: Composable = SQL("timestamptz {}").format(Literal(BEFORE))
    refusal: Composable = SQL("{}.refuse_time()").format(STORE_SCHEMA)
    if kind.cold:
        low = SQL("(SELECT {}.cold_floor({}))").format(STORE_SCHEMA, Literal(kind.name))
        refusal = SQL("{}.refuse_cold({})").format(STORE_SCHEMA, Literal(kind.name))
    return between_or_refused(time, low, SQL("timestamptz {}").format(Literal(BEHIND)), refusal)


def door(kind: Kind, way: Door) -> DatabaseObject:
    """The view that rows are inserted into, and never read from: one for each way to end a conflict.

    An auto-updatable view would not do. Its check comes after the row is in, so that a key of another tenant answers
    differently where that tenant has the row; and ON CONFLICT on it runs the writer's expressions on the row that is
    there, whosever that is. Here the rule says what happens, and only with a series id that is the tenant's.
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
     WHERE s.series_id = n.series_id AND (s.last_price_ts, s.last_price) IS DISTINCT FROM (n.price_ts, n.price){fenced};
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


def last_values(kind: Kind) -> DatabaseObject:
    """The function that a writer calls after its rows. It updates the last values of their series.

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
        batch=SQL("unnest({}) AS n({})").format(arrays, column_list(("series_id", *names[1:]))),
        moves=SQL(_MOVES),
        time=Identifier(kind.time),
        price=Identifier(kind.price or ""),
        rows=Identifier(kind.name),
        # What is not found may be in a file: then it stays as it is known.
        fenced=SQL(" AND (n.price_ts IS NOT NULL OR NOT EXISTS (SELECT FROM mds.cold_fences))" if kind.cold else ""),
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
    return DatabaseObject(function, (text.strip(), *for_app(function)))
