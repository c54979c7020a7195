"""Check whether rows of a time are kept in files. A client asks only after the server has refused a statement."""

from datetime import datetime

from mds_client import sql
from mds_client.protocol.operations import Execute, Group, Session, Talk
from mds_client.schema import Kind


def fence(session: Session, kind: Kind, *, ask: bool = False) -> Talk[datetime | None]:
    """Return the time before which the tenant's rows of a kind are kept in files, as known to the client, or None.

    If the known time is out of date, the server refuses the statement, and the retry asks. `ask` asks now, for
    operations that are not retried.
    """
    known = session.cold
    if kind.cold and (ask or known.stale):
        (rows,) = yield Group((Execute(sql.COLD_FENCES, (session.wanted,)),))
        known.fences, known.stale = dict(rows), False
    return known.fences.get(kind.name)


def is_cold(session: Session, kind: Kind, since: datetime, *, ask: bool = False) -> Talk[bool]:
    """Check whether rows from a time on are partly kept in files; see `fence`."""
    found = yield from fence(session, kind, ask=ask)
    return found is not None and since < found
