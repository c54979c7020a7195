"""Set the tenant of a psycopg connection: in the DSN, or for one transaction.

You need this only for your own connections; the client sets the tenant itself.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client import sql
from mds_client.errors import ConfigurationError, mapping

SETTING = "app.tenant_id"

__all__ = ["atenant", "dsn_with_tenant", "tenant", "tenant_of_dsn"]


def dsn_with_tenant(dsn: str, tenant_id: str) -> str:
    """Return the DSN with the tenant in its `options`, which the server applies as a setting of the session.

    Other options are kept, and an earlier tenant is replaced. Use it for direct connections, such as psql: a pooler in
    transaction mode drops `options`. Returns key=value text. Raises ConfigurationError if the tenant is not a UUID.
    """
    parts: dict[str, Any] = dict(conninfo_to_dict(dsn))
    kept = [option for option in _options(parts.get("options")) if not _is_tenant(option)]
    options = " ".join(f"-c {_escaped(option)}" for option in (*kept, f"{SETTING}={_checked(tenant_id)}"))
    return make_conninfo(**{**parts, "options": options})


def dsn_without_tenant(dsn: str) -> str:
    """Return the DSN without a tenant in its `options`. Other options are kept in their order.

    Args:
        dsn: A libpq URL or key=value text.

    Returns:
        The unchanged DSN if it has no tenant, otherwise key=value text.

    Raises:
        ConfigurationError: The DSN's options cannot be read.
    """
    parts: dict[str, Any] = dict(conninfo_to_dict(dsn))
    options = _options(parts.get("options"))
    kept = [option for option in options if not _is_tenant(option)]
    if kept == options:
        return dsn
    return make_conninfo(**{**parts, "options": " ".join(f"-c {_escaped(option)}" for option in kept) or None})


def tenant_of_dsn(dsn: str) -> str | None:
    """Return the tenant in the DSN's `options`, or None. Raises ConfigurationError if it is not a UUID."""
    found = None
    for option in _options(conninfo_to_dict(dsn).get("options")):
        value = option.partition("=")[2]
        if _is_tenant(option) and value:
            found = _checked(value)
    return found


@contextmanager
def tenant(connection: Connection[Any], tenant_id: str) -> Iterator[Connection[Any]]:
    """Run a transaction on your own connection as a tenant. It commits at the end and rolls back on an exception.

    The tenant is set until the transaction ends. Inside a transaction this is a savepoint, and the tenant stays set
    until the outer transaction ends. Raises RLSDenied if the tenant is unknown, disabled, or not that of a bound role.
    """
    with mapping(), connection.transaction():
        connection.execute(sql.USE_TENANT, (_checked(tenant_id),))
        yield connection


@asynccontextmanager
async def atenant(connection: AsyncConnection[Any], tenant_id: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Like `tenant`, for an asynchronous connection."""
    with mapping():
        async with connection.transaction():
            await connection.execute(sql.USE_TENANT, (_checked(tenant_id),))
            yield connection


def _is_tenant(option: str) -> bool:
    # The server ignores the case of a setting's name.
    return option.partition("=")[0].lower() == SETTING


def _checked(tenant_id: str) -> str:
    try:
        return str(UUID(str(tenant_id)))
    except ValueError:
        raise ConfigurationError(f"tenant_id: {tenant_id!r} is not a uuid") from None


def _options(text: object) -> list[str]:
    """Parse libpq's `options`: `-c name=value`, `-cname=value` and `--name=value`, backslash-escaped."""
    words: list[str] = []
    word, escaped, inside = "", False, False
    for character in str(text or ""):
        if escaped:
            word, escaped = word + character, False
        elif character == "\\":
            escaped = inside = True
        elif character.isspace():
            if inside:
                words.append(word)
            word, inside = "", False
        else:
            word, inside = word + character, True
    if inside:
        words.append(word)
    settings: list[str] = []
    following = False
    for word in words:
        if following:
            settings.append(word)
            following = False
        elif word == "-c":
            following = True
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            settings.append(f"{name.replace('-', '_')}{equals}{value}")
        elif word.startswith("-c"):
            settings.append(word[2:])
        else:
            raise ConfigurationError(f"the DSN's options hold {word!r}, which is not -c name=value")
    if following:
        raise ConfigurationError("the DSN's options end with '-c', which is not -c name=value")
    return settings


def _escaped(option: str) -> str:
    return "".join(f"\\{character}" if character.isspace() or character == "\\" else character for character in option)
