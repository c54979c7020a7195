"""Declared database objects, and helpers that their statements share."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.names import APP, STORE, TENANT_BITS


@dataclass(frozen=True, slots=True)
class DatabaseObject:
    """A function, view or set of grants, by name, with the statements that create or replace it."""

    name: str
    statements: tuple[str, ...]
    relation: tuple[str, str] | None = None

    @property
    def digest(self) -> str:
        """The hash of the declared text. A stored one that differs shows that another release made the object."""
        return sha256("\n".join(self.statements).encode()).hexdigest()


def mine(series_id: Composable) -> Composable:
    """Return the predicate of tenant isolation: the series id is within the current tenant's range.

    The sub-selects run once for each statement, and the range is on the leading column of every key. Without a tenant
    both bounds are NULL: no row is visible, and no write passes the views' check.
    """
    return SQL("{id} >= (SELECT {store}.tenant_floor()) AND {id} < (SELECT {store}.tenant_ceiling())").format(
        id=series_id, store=STORE_SCHEMA
    )


def own_series(series_id: Composable) -> Composable:
    """Return the same predicate for the series table as an equality, so that its index by name serves look-ups."""
    return SQL("({id} >> {bits}) = (SELECT {store}.tenant_no())").format(
        id=series_id, bits=Literal(TENANT_BITS), store=STORE_SCHEMA
    )


STORE_SCHEMA = Identifier(STORE)


def for_app(function: str) -> tuple[str, ...]:
    """Return the statements that allow applications, and no other role, to call a function."""
    # A view's functions run with the rights of the role that selects from it. Nobody can call them by name, because the
    # private schema stays closed.
    return (
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {function} TO {APP}",
    )


@dataclass(frozen=True, slots=True)
class Comments:
    """Comments on a view and its columns, by name. The catalog shows them (psql's `\\d+`)."""

    view: str
    columns: Mapping[str, str | None]

    def statements(self, relation: Identifier) -> list[Composable]:
        """Return the statements that set the comments."""
        return [
            SQL("COMMENT ON VIEW {} IS {}").format(relation, Literal(self.view)),
            *(
                SQL("COMMENT ON COLUMN {}.{} IS {}").format(relation, Identifier(name), Literal(text))
                for name, text in self.columns.items()
            ),
        ]


def view_object(
    schema: str,
    name: str,
    body: Composable,
    *,
    writable: tuple[str, ...] = (),
    extra: tuple[Composable, ...] = (),
    comments: Comments | None = None,
) -> DatabaseObject:
    """Return a security-barrier view that applications can read, and write with the rights in `writable`."""
    relation = Identifier(schema, name)
    check = SQL(" WITH CASCADED CHECK OPTION") if writable else SQL("")
    statements = [
        SQL("CREATE OR REPLACE VIEW {} WITH (security_barrier) AS {}{}").format(relation, body, check),
        *extra,
        SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(relation, Identifier(APP)),
        SQL("GRANT SELECT ON {} TO {}").format(relation, Identifier(APP)),
        *(SQL("GRANT {} ON {} TO {}").format(SQL(right), relation, Identifier(APP)) for right in writable),
        *(comments.statements(relation) if comments else ()),
    ]
    return DatabaseObject(
        f"view {schema}.{name}",
        tuple(statement.as_string(None) for statement in statements),
        (schema, name),
    )


def column_list(names: tuple[str, ...], table: str | None = None) -> Composable:
    """Return the names of columns, separated by commas."""
    return SQL(", ").join(Identifier(table, name) if table else Identifier(name) for name in names)
