"""Whether rows of a time are kept in files. A client asks for that once the server has refused a statement for it."""

from datetime import datetime

from mds_client import sql
from mds_client.protocol.operations import Execute, Group, Session, Talk
from mds_client.schema import Kind


def fence(session: Session, kind: Kind, *, ask: bool = False) -> Talk[datetime | None]:
    """The time before which the tenant's rows of a kind are kept in files, as far as the client knows; None if none is.

    What it knows may be out of date. Then the server refuses the statement, and another attempt asks. With `ask` it is
    asked now: for what is not tried again.
    """
    known = session.cold
    if kind.cold and (ask or known.stale):
        (rows,) = yield Group((Execute(sql.COLD_FENCES, (session.wanted,)),))
        known.fences, known.stale = dict(rows), False
    return known.fences.get(kind.name)


def is_cold(session: Session, kind: Kind, since: datetime, *, ask: bool = False) -> Talk[bool]:
    """Whether rows from a time on are partly kept in files; see `fence`."""
    found = yield from fence(session, kind, ask=ask)
    return found is not None and since < found
