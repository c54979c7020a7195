"""Operations that ask about the server itself: its state, the version of its schema, and which database it is."""

from dataclasses import astuple, dataclass

from mds_client import sql
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a client's connection. It is equal to True: `health()` raises if the server cannot be reached.

    `engine` is `postgres`, `timescale-apache` or `timescale`; `schema_version` is None on a database that is not
    migrated; `tenant_id` is None if no tenant is set or the database is not migrated.
    """

    server_version: str
    engine: str
    engine_version: str | None
    database: str
    role: str
    schema_version: str | None
    tenant_id: str | None

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if other is True:
            return True
        return astuple(self) == astuple(other) if isinstance(other, Health) else NotImplemented

    def __hash__(self) -> int:
        return hash(astuple(self))


def engine_name(extension: str | None, license_: str | None) -> str:
    """Return the name of the engine, from TimescaleDB's version (None without it) and its license."""
    if extension is None:
        return "postgres"
    return "timescale" if license_ == "timescale" else "timescale-apache"


def health() -> Operation[Health]:
    """Read the server's versions, the role and the tenant. Works on a database that is not migrated."""

    def talk(session: Session) -> Talk[Health]:
        (server,), (migrated,) = yield Group((Execute(sql.SERVER), Execute(sql.HAS_SCHEMA)))
        version, role, database, extension, license_ = server
        schema = tenant = None
        if migrated[0]:
            timeout = str(session.config.statement_timeout_ms)
            (opened,), (row,) = yield Group(
                (Execute(sql.OPEN_AS, (session.wanted, timeout, None)), Execute(sql.SCHEMA_VERSION)), commit=True
            )
            schema, tenant = row[0], opened[0]
        return Health(
            server_version=version,
            engine=engine_name(extension, license_),
            engine_version=extension,
            database=database,
            role=role,
            schema_version=schema,
            tenant_id=None if tenant is None else str(tenant),
        )

    return Operation("health", talk, needs_schema=False)


def schema_version() -> Operation[str | None]:
    """Read the version of the newest applied migration, or None on a database that is not migrated."""

    def talk(_: Session) -> Talk[str | None]:
        ((there,),) = yield Group((Execute(sql.HAS_SCHEMA),))
        if not there[0]:
            return None
        ((version,),) = yield Group((Execute(sql.SCHEMA_VERSION),))
        return None if version[0] is None else str(version[0])

    return Operation("schema_version", talk, needs_schema=False)


def identity() -> Operation[tuple[str, ...]]:
    """Read what identifies the database and the tenant. A server can refuse to say it."""

    def talk(session: Session) -> Talk[tuple[str, ...]]:
        ((found,),) = yield Group((Execute(sql.IDENTITY),))
        return (*map(str, found), str(session.tenant_id))

    return Operation("identity", talk)
