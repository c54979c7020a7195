"""The command `datastore`, on an embedded server whose folder has an awkward name."""

import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import click
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from datastore import migration
from datastore.cli import command_line, main
from datastore.connections import head
from datastore.embedded import EmbeddedServer
from mds_client import __version__
from tests.clients.test_cli import Run, commands, runs, use, with_help
from tests.conftest import SETTINGS

PROGRAM = (sys.executable, "-m", "datastore.cli")
SECRET = "s3cret-w0rd"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server, brought up once for all tests here."""
    server = EmbeddedServer(tmp_path_factory.mktemp("own") / 'it\'s a "home" of $HOME', port=0, settings=SETTINGS)
    server.up(migration.migrate)
    yield server
    server.discard()


@pytest.fixture
def run(own: EmbeddedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`datastore …`, with the server's folder and database in the environment."""
    use(monkeypatch, MDS_HOME=str(own.home), DATABASE_URL=own.env()["DATABASE_URL"])
    return runs(main, capsys, monkeypatch)


@pytest.fixture
def database(own: EmbeddedServer) -> Iterator[str]:
    """The DSN of an empty database."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(own.superuser_dsn(), autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} OWNER mds_admin").format(Identifier(name)))
        yield own.dsn("mds_admin", name)
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def test_every_command_and_every_option_has_help_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    for path in commands(command_line()):
        command = with_help(command_line(), path, runs(main, capsys, monkeypatch)(*path, "--help"))
        if not isinstance(command, click.Group):
            assert "as_json" in {option.name for option in command.params}, path


GROUPS = [(), *((name,) for name, command in command_line().commands.items() if isinstance(command, click.Group))]


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_the_command_list_shows_complete_descriptions(run: Run, path: tuple[str, ...]) -> None:
    assert "..." not in run(*path, "--help").out.partition("Commands:")[2]


def test_version_prints_the_version_of_the_distribution(run: Run) -> None:
    assert run("--version").out == f"datastore, version {__version__}\n"


# The server -------------------------------------------------------------------------------------------------------


def test_up_reports_a_running_server_and_status_agrees(run: Run, own: EmbeddedServer) -> None:
    done = run("up", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json == own.status().as_dict()
    assert done.json["running"] is True
    told = run("status", "--json")
    assert told.code == 0
    assert done.json.items() <= told.json.items()
    assert (told.json["engine"], told.json["schema_version"]) == ("postgres", head())
    shown = run("status")
    assert re.search(r"^running +yes$", shown.out, re.MULTILINE)
    assert re.search(rf"^port +{done.json['port']}$", shown.out, re.MULTILINE)


def test_down_stops_the_server_and_up_restarts_it_with_its_data(run: Run, own: EmbeddedServer) -> None:
    run("seed", "--tenant", "stays")
    first = own.status().pid
    assert run("down").out == "stopped; the data stays\n"
    assert run("down").out == "it was not running\n"
    assert run("down", "--json").json == {"stopped": False}
    stopped = run("status", "--json")
    assert (stopped.code, stopped.json["running"]) == (1, False)
    env = run("env")
    assert (env.code, env.out) == (1, "")
    assert re.fullmatch(r"error: the server of .* is not running: start it with `datastore up`\n", env.err)
    assert run("up").code == 0
    assert own.status().pid not in (None, first)
    listed = run("tenants", "list", "--json", "--dsn", own.env()["DATABASE_URL"]).json
    assert "stays" in [tenant["name"] for tenant in listed]


def test_up_creates_a_tenant_once_and_env_prints_it(run: Run, own: EmbeddedServer) -> None:
    made = run("up", "--tenant", "first", "--json").json["tenant_id"]
    assert run("up", "--tenant", "first", "--json").json["tenant_id"] == made
    assert f"export MDS_TENANT_ID={made}\n" in run("env", "--tenant", "first").out
    unknown = run("env", "--tenant", "nobody")
    assert (unknown.code, unknown.out) == (1, "")
    assert "nobody" in unknown.err


def test_a_shell_can_evaluate_env(run: Run, own: EmbeddedServer) -> None:
    script = 'eval "$("$@" env)" && exec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, *PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert own.env().items() <= json.loads(done.stdout).items()
    assert run("env", "--json").json == own.env()
    with psycopg.connect(own.env()["MDS_DSN"]) as connection:
        row = connection.execute(
            "SELECT session_user::text, rolsuper, pg_has_role('mds_app', 'USAGE') FROM pg_roles"
            " WHERE rolname = session_user"
        ).fetchone()
    assert row == ("mds_service", False, True)


def test_the_home_option_overrides_the_environment_variable(run: Run, own: EmbeddedServer, tmp_path: Path) -> None:
    other = run("status", "--home", tmp_path / "other", "--json")
    assert (other.code, other.json["home"]) == (1, str(tmp_path / "other"))
    assert not (tmp_path / "other").exists(), "asking made something"


def test_an_impossible_home_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        done = run("up", "--home", home)
        assert done.code in (1, 2)
        assert done.err.count("rror: ") == 1
        assert str(home) in done.err.replace("\n", "")


# The database -----------------------------------------------------------------------------------------------------


def test_migrate_reports_its_changes_and_then_that_nothing_is_left(run: Run, database: str) -> None:
    done = run("migrate", "--dsn", database, "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["before"], done.json["after"]) == (None, head())
    assert "view public.bars" in done.json["objects"]
    assert run("migrate", "--dsn", database).out == f"at head already ({head()})\n"
    assert run("check", "--dsn", database).out == "the database is as declared\n"
    assert run("check", "--dsn", database, "--json").json == {"drift": []}


def test_migrate_prints_the_old_and_new_revision(run: Run, database: str) -> None:
    assert re.fullmatch(
        rf"migrated from nothing to {head()}, [0-9]+ objects made\n", run("migrate", "--dsn", database).out
    )


def test_migrate_sql_needs_no_database_and_creates_the_declared_schema(
    run: Run, database: str, own: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    done = run("migrate", "--sql")
    assert (done.code, done.err) == (0, "")
    assert run("migrate", "--sql", "--json").json == {"sql": done.out[:-1]}
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(done.out.encode())
    assert run("stamp-head", "--dsn", database, "--json").json == {"schema_version": head()}
    assert run("stamp-head", "--dsn", database).out == f"stamped {head()}\n"
    assert run("check", "--dsn", database).out == "the database is as declared\n"
    assert run("migrate", "--dsn", database).out == f"at head already ({head()})\n"


def test_check_prints_drift_and_fails(run: Run, database: str) -> None:
    run("migrate", "--dsn", database)
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE mds_owner")
        connection.execute("ALTER TABLE store.bars ADD COLUMN hand_made integer")
    done = run("check", "--dsn", database)
    assert (done.code, done.err) == (1, "")
    assert "hand_made is not declared" in done.out
    told = run("check", "--dsn", database, "--json")
    assert (told.code, len(told.json["drift"])) == (1, 1)


def test_check_on_an_empty_database_advises_to_migrate(run: Run, database: str) -> None:
    done = run("check", "--dsn", database)
    assert done.code == 1
    assert done.out == f"the schema version is none, head is {head()}: run datastore migrate\n"


@pytest.mark.parametrize("name", ["plain", "with space", "50% of it", "a:b"])
def test_a_revision_is_written_to_the_chosen_folder(run: Run, database: str, tmp_path: Path, name: str) -> None:
    run("migrate", "--dsn", database)
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE mds_owner")
        connection.execute("ALTER TABLE store.bars DROP COLUMN volume CASCADE")
    (tmp_path / name).mkdir()
    done = run("revision", "-m", "volume", "--folder", tmp_path / name, "--dsn", database, "--json")
    assert (done.code, done.err) == (0, "")
    path = Path(done.json["path"])
    assert path.parent == tmp_path / name
    assert "'volume'" in path.read_text()


def test_without_a_difference_no_revision_is_written(run: Run, tmp_path: Path) -> None:
    done = run("revision", "-m", "nothing", "--folder", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: the database equals the declarations: there is nothing to migrate\n"
    assert list(tmp_path.iterdir()) == []


def test_tenants_are_created_listed_and_seeded(run: Run, database: str) -> None:
    run("migrate", "--dsn", database)
    at = ("--dsn", database)
    assert run("tenants", "list", *at).err == "no tenants\n"
    number = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"
    made = run("tenants", "create", "alpha", "--id", number, "--json", *at)
    assert (made.code, made.json["id"], made.json["name"], made.json["roles"]) == (0, number, "alpha", [])
    assert run("tenants", "create", "alpha", "--if-absent", "--json", *at).json == made.json
    again = run("tenants", "create", "alpha", *at)
    assert (again.code, again.out, again.err) == (1, "", f"error: tenant 'alpha' ({number}) already exists\n")
    assert run("tenants", "create", " ", *at).err == "error: a tenant needs a name\n"
    assert run("tenants", "create", "x", "--id", "nope", *at).code == 2
    assert [t["name"] for t in run("seed", "--json", *at).json] == ["default"]
    assert [t["name"] for t in run("seed", "--tenant", "beta", "--tenant", "alpha", "--json", *at).json] == [
        "beta",
        "alpha",
    ]
    listed = run("tenants", "list", "--json", *at).json
    assert [t["name"] for t in listed] == ["alpha", "default", "beta"]
    table = run("tenants", "list", *at).out.splitlines()
    assert len(table) == 4
    assert table[1].split()[:3] == [number, "1", "alpha"]
    assert re.search(r"^name +gamma$", run("tenants", "create", "gamma", *at).out, re.MULTILINE)


def test_a_role_is_bound_to_a_tenant(run: Run, database: str, own: EmbeddedServer) -> None:
    run("migrate", "--dsn", database)
    run("seed", "--tenant", "alpha", "--tenant", "beta", "--dsn", database)
    role = f"login_{uuid4().hex}"
    bind = ("tenants", "bind-role", "alpha", role, "--dsn", database)
    done = run(*bind)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: role {role!r} does not exist: CREATE ROLE … LOGIN first\n"
    with psycopg.connect(own.superuser_dsn(), autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(role)))
    assert run(*bind, "--json").json["roles"] == [role]
    assert re.search(rf"^roles +{role}$", run(*bind).out, re.MULTILINE)
    assert "is bound to another tenant" in run("tenants", "bind-role", "beta", role, "--dsn", database).err
    assert run("tenants", "bind-role", "gamma", role, "--dsn", database).err == "error: there is no tenant 'gamma'\n"
    unbind = ("tenants", "unbind-role", "alpha", role, "--dsn", database)
    assert run(*unbind, "--json").json["roles"] == []
    assert run(*unbind).err == f"error: role {role!r} is not bound to tenant 'alpha'\n"


# Errors -----------------------------------------------------------------------------------------------------------


def needing_a_database() -> Iterator[tuple[str, ...]]:
    """Every command that takes a database, with what it cannot do without."""
    for path in commands(command_line()):
        command: click.Command = command_line()
        for name in path:
            command = command.commands[name] if isinstance(command, click.Group) else command
        if path == ("policies",) or ("dsn" in {option.name for option in command.params} and path != ("status",)):
            arguments = itertools.chain(*(needed(option) for option in command.params if option.required))
            yield (*path, *arguments, *ALSO.get(path, ()))


def needed(parameter: click.Parameter) -> tuple[str, ...]:
    """What an argument or option takes that a command cannot do without: text of its type, and its name."""
    made = {"time": "2024-01-01", "age": "90d", "uuid": str(UUID(int=7)), "integer": "1", "integer range": "1"}
    text = {"calendar": "24/7"}.get(parameter.name or "", made.get(parameter.type.name, "x"))
    if isinstance(parameter.type, click.Choice):
        text = str(parameter.type.choices[-1])
    elif isinstance(parameter.type, click.Path) and parameter.type.exists:
        text = __file__
    if isinstance(parameter, click.Option):
        return (parameter.opts[0],) if parameter.is_flag else (parameter.opts[0], text)
    return (text,)


ALSO: dict[tuple[str, ...], tuple[str, ...]] = {
    ("tenants", "delete"): ("--dry-run",),
    # A token for the whole store needs no database.
    ("token", "create"): ("--tenant", "x"),
}
"""What a command wants beside what it always needs."""


def test_a_payload_that_is_not_a_json_object_is_a_usage_error(run: Run, database: str) -> None:
    enqueue = ("jobs", "enqueue", "x", "--idempotency-key", "k", "--dsn", database, "--payload")
    for payload, message in (("[1]", "no JSON object"), ("1", "no JSON object"), ("{", "not JSON: "),
                             ("[" * 100_000, "not JSON: ")):  # fmt: skip
        done = run(*enqueue, payload)
        assert (done.code, done.out) == (2, "")
        assert f"Error: Invalid value for --payload: {message}" in done.err


def test_an_expiry_after_the_year_9999_is_a_usage_error(run: Run) -> None:
    done = run("token", "create", "--name", "n", "--scope", "read", "--expires", "99999999w")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("Error: Invalid value for --expires: the time is after the year 9999\n")


def test_a_metrics_port_that_is_in_use_is_reported_with_its_option(run: Run, database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("worker", "--until-idle", "--metrics-port", port, "--dsn", database)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: --metrics-port {port} on 127.0.0.1 cannot be listened on: Address already in use\n"


@pytest.mark.parametrize(
    "command",
    [
        ("jobs", "enqueue", "x", "--idempotency-key", "\udcff"),
        ("jobs", "enqueue", "\udcff", "--idempotency-key", "k"),
        ("tenants", "export", "a", "--key", "\udcff"),
        ("tenants", "create", "\udcff"),
        ("backfill", "start", "--tenant", "a", "--vendor", "v", "--start", "2024-01-01", "--source", "{}", "--key",
         "\udcff"),
        ("gaps", "--tenant", "a", "--vendor", "\udcff", "--start", "2024-01-01"),
        ("series", "--vendor", "\udcff"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_argument_that_is_not_utf_8_is_reported(run: Run, database: str, command: tuple[str, ...]) -> None:
    run("migrate", "--dsn", database)
    run("seed", "--tenant", "a", "--dsn", database)
    done = run(*command, "--dsn", database)
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: '\\udcff' is not UTF-8\n"


LOOK_BEFORE = {"backfill", "load", "serve"}
"""These look at files, sources and tokens before they connect."""

NEED_A_DATABASE = list(needing_a_database())
assert len(NEED_A_DATABASE) > 20


def test_without_a_database_the_error_says_how_to_set_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    for command in NEED_A_DATABASE:
        done = runs(main, capsys, monkeypatch)(*command)
        assert (done.code, done.out) == (1, ""), command
        assert re.fullmatch(r"error: no database is set: set DATABASE_URL or pass --dsn .*\n", done.err), command


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/db", ".*connection to server .*refused.*"),
        (f"postgresql://me:{SECRET}@[::1/db", "the DSN cannot be read: .*"),
        (f"nonsense {SECRET}", "the DSN cannot be read: .*"),
    ],
    ids=["refused", "no url", "nonsense"],
)
def test_an_unusable_dsn_prints_one_error_line_without_a_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, said: str
) -> None:
    use(monkeypatch, DATABASE_URL=dsn)
    for command in NEED_A_DATABASE:
        done = runs(main, capsys, monkeypatch)(*command)
        assert (done.code, done.out) == (1, ""), command
        assert re.fullmatch(rf"error: {'.*' if command[0] in LOOK_BEFORE else said}\n", done.err), command
        assert SECRET not in done.err
        assert "sqlalche" not in done.err


@pytest.mark.parametrize(
    "command",
    [("seed",), ("tenants", "list"), ("tenants", "create", "x"), ("tenants", "bind-role", "x", "y")],
    ids=" ".join,
)
def test_commands_report_an_unmigrated_database(run: Run, database: str, command: tuple[str, ...]) -> None:
    done = run(*command, "--dsn", database)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(r"error: .*not migrated.*run datastore migrate\n", done.err)


@pytest.mark.parametrize("age", ["soon", "d", "", "-1d", "\u00b2d", "1.5d", "999999999999d"])
def test_an_invalid_age_is_a_usage_error(run: Run, age: str) -> None:
    done = run("policies", "set", "bars", "retention_after", "--", age)
    assert (done.code, done.out) == (2, "")
    assert "is not an age: use a number and m, h, d or w" in " ".join(done.err.split())


def test_wrong_usage_ends_with_2(run: Run) -> None:
    for arguments in (("up", "--port", "0"), ("revision",), ("nonsense",), ("tenants", "nonsense"), ("check", "--sql")):
        done = run(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "Error: " in done.err


def test_the_program_is_installed() -> None:
    program = shutil.which("datastore", path=str(Path(sys.executable).parent))
    assert program
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"datastore, version {__version__}\n"


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command line has imported when it ends."""
    code = (
        "import sys\nfrom datastore.entry import main\nsys.argv[0] = 'datastore'\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('modules', *sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.rpartition("modules ")[2].split())


def test_help_is_printed_without_importing_the_driver_or_the_models() -> None:
    assert {"psycopg", "pydantic", "rich", "asyncio"} & imported_by("--help") == set()


def test_a_command_imports_no_other_commands_packages(own: EmbeddedServer) -> None:
    found = imported_by("tenants", "list", "--dsn", own.env()["DATABASE_URL"])
    assert "datastore.tenants.registry" in found
    assert {"alembic", "sqlalchemy", "numpy", "pyarrow", "mds_client.aclient", "datastore.worker"} & found == set()
