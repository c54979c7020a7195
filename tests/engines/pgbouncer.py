"""PgBouncer in transaction mode in front of a test server: Debian's package, set up as the guide says.

`docs/guides/pgbouncer.md` has the statements, the configuration and the password file; only addresses and the password
are put in. So what the guide says is what the client suite passes through.
"""

import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from tests.engines import debian
from tests.engines.base import EngineUnavailable, free_port, last_line, server_account
from tests.engines.kept import Kept, own

RECIPE = debian.Recipe(
    name="pgbouncer",
    packages=("pgbouncer",),
    programs="usr/sbin/pgbouncer",
    trial="usr/sbin/pgbouncer",
    unused=re.compile("perl"),
)
GUIDE: Final = Path(__file__).parent.parent.parent / "docs/guides/pgbouncer.md"
ROLE: Final = "pgbouncer"


def available() -> str:
    """Its version, downloaded if it is not in the cache. Raises `EngineUnavailable`."""
    return f"PgBouncer {debian.versions(debian.prepare(RECIPE))['pgbouncer']}, transaction mode, on plain PostgreSQL"


class PgBouncer:
    """A pooler in front of the server of a superuser's DSN, on a TCP port of 127.0.0.1."""

    def __init__(self, superuser_dsn: str) -> None:
        program = debian.prepare(RECIPE) / RECIPE.trial
        password = secrets.token_urlsafe(12)
        account = server_account()
        folder = Path(tempfile.mkdtemp(prefix="mds-pgbouncer-"))
        self._kept = Kept(folder, end="QUIT", account=account)
        own(folder, account)
        for _ in range(5):
            self._port = free_port()
            for name, text in _files(superuser_dsn, folder, password, self._port).items():
                (folder / name).touch(mode=0o600)
                (folder / name).write_text(text)
                own(folder / name, account)
            if self._kept.start([program, folder / "pgbouncer.ini"], ready="process up", failed="FATAL"):
                break
        else:
            shutil.rmtree(folder)
            raise EngineUnavailable(f"PgBouncer did not start: {last_line(self._kept.log)}")
        with psycopg.connect(superuser_dsn, autocommit=True) as connection:
            connection.execute(cast("Any", _block("sql").replace("a-password-of-its-own", password)))
        console = make_conninfo(superuser_dsn, dbname="pgbouncer", user=ROLE, password=password)
        # Its console speaks the simple protocol only.
        self._console = psycopg.connect(self.dsn(console), autocommit=True, cursor_factory=psycopg.ClientCursor)

    def dsn(self, direct: str) -> str:
        """The DSN of the same database and login through the pooler."""
        return make_conninfo(direct, host="127.0.0.1", port=self._port)

    def forget(self, dsn: str) -> None:
        """Hand out none of its connections to a database any more: somebody has ended them, which it would notice some
        time later."""
        self._console.execute(SQL("RECONNECT {}").format(Identifier(str(conninfo_to_dict(dsn)["dbname"]))))

    def stop(self) -> None:
        """Stop it; the server stays."""
        self._console.close()
        self._kept.stop()


def _files(superuser_dsn: str, folder: Path, password: str, port: int) -> dict[str, str]:
    replaced = {
        "port=5432": f"port={_tcp_port(superuser_dsn)}",
        "listen_port = 6432": f"listen_port = {port}",
        "/etc/pgbouncer": str(folder),
        "a-password-of-its-own": password,
    }
    texts = {"pgbouncer.ini": _block("ini"), "userlist.txt": _block("text")}
    for name, text in texts.items():
        for old, new in replaced.items():
            text = text.replace(old, new)
        texts[name] = text
    # What the guide leaves to the system's service.
    texts["pgbouncer.ini"] += "unix_socket_dir =\n"
    return texts


def _tcp_port(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SHOW port").fetchone()
    assert row is not None
    return str(row[0])


def _block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"{GUIDE} has no block of {language}"
    return found[1]
