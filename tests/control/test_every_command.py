"""What holds for every command of both programs: of its JSON, its files, and an application's login.

What a command is called with is said once, in `CALLS`. A test fails if a command is missing there.
"""

import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from click.shell_completion import ShellComplete

from datastore import cli as operators
from datastore.cli import command_line
from datastore.embedded import EmbeddedServer
from datastore.service import tokens
from datastore.service.tokens import Scope
from mds_client import MDS, Bar, OptionSnap
from mds_client import cli as applications
from tests.clients.test_cli import Done, Run, commands, runs, two_tenants, use
from tests.conftest import Store
from tests.engines.databases import Running
from tests.service.processes import started

SERIES = ("--tenant", "a", "--vendor", "v", "--start", "2024-01-02T12:00Z", "--end", "2024-01-02T12:04Z",
          "--calendar", "24/7")  # fmt: skip
SOURCE = ("--source", '{"type": "files", "path": "{symbol}.csv"}')
WINDOW = ("--vendor", "v", "--symbol", "S", "--timeframe", "1m", "--start", "2024-01-01")
ROW = ("--vendor", "v", "--symbol", "S")

KRAKEN = ("--option", "exchange=kraken", "--option", "attempts=1")

CALLS: dict[str, dict[str, tuple[str, ...]]] = {
    "datastore": {
        "up": (), "down": (), "status": (), "env": (),
        "migrate": (), "stamp-head": (), "seed": (), "check": (), "revision": ("-m", "none"),
        "tenants create": ("t",), "tenants list": (), "tenants bind-role": ("a", "LOGIN"),
        "tenants unbind-role": ("a", "LOGIN"), "tenants disable": ("b",), "tenants enable": ("b",),
        "tenants export": ("a", "--key", "k"), "tenants delete": ("b", "--dry-run"), "series": (), "freshness": (),
        "load": ("bars", "ROWS", "--tenant", "a"),
        "delete": ("bars", "--tenant", "a", "--vendor", "v", "--dry-run"),
        "rename": ("--tenant", "a", *ROW, "--to-symbol", "T", "--dry-run"),
        "policies show": (), "policies set": ("bars", "retention_after", "90d"),
        "policies unset": ("bars", "retention_after"), "policies apply": (), "policies expire": (),
        "aggregates list": (), "aggregates refresh": (),
        "cold status": (), "cold run": (), "cold fold": (), "cold compact": (), "cold verify": (), "cold sweep": (),
        "cold publish": (), "cold restore": ("a", "bars", "--since", "2024-01-01"),
        "gaps": SERIES, "backfill plan": (*SERIES, *SOURCE), "backfill start": (*SERIES, *SOURCE, "--symbol", "NEW"),
        "backfill status": ("BACKFILL",), "backfill list": (),
        "backfill cancel": ("BACKFILL",), "backfill resume": ("BACKFILL",),
        "vendors set": ("cased", "--case-sensitive"), "vendors unset": ("cased",), "vendors list": (),
        "calendars set": ("24/7", "--tenant", "a"), "calendars unset": ("--tenant", "a"), "calendars list": (),
        "calendars names": (),
        "worker": ("--until-idle", "--no-upkeep"), "jobs list": (), "jobs show": ("JOB",), "jobs follow": ("JOB",),
        "jobs retry": ("JOB",), "jobs cancel": ("JOB",), "jobs types": (),
        "jobs enqueue": ("maintain-outbox", "--idempotency-key", "one"),
        "serve": ("--port", "0"),
        "token create": ("--name", "n", "--scope", "read", "--expires", "9d", "--tenant", "a"),
    },
    "mds": {
        "ping": (), "schema-version": (), "latest-prices": ("--vendor", "v", "--symbols", "S"), "bars": WINDOW,
        "fundamentals": (), "instruments": (), "news": (), "options": (), "series": (), "coverage": (),
        "rollup": (*ROW, "--timeframe", "1h"), "option-chain": ROW, "sql": ("SELECT 1",), "plot": ("S",),
        "delete": ("bars", "--vendor", "v", "--dry-run"), "ingest-ndjson": ("bars", "ROWS"), "import": ("bars", "ROWS"),
        "rename": (*ROW, "--to-symbol", "T", "--dry-run"),
        "fetch": ("ccxt", "S", "--timeframe", "1m", "--start", "2024-01-02", *KRAKEN),
        "stream": ("ccxt", "S", "--timeframe", "1m", *KRAKEN, "--seconds", "0.1"),
        "ingest-ndjson-async": ("bars", "ROWS"), "enqueue-job": ("--idempotency-key", "m", "--job-type", "t"),
        "dump-ndjson": ("bars", "OUT"), "dump-csv": ("bars", "OUT"), "dump-parquet": ("bars", "OUT"),
        "write-bar": (*ROW, "--timeframe", "1m", "--ts", "2024-01-03T14:30Z", "--close-price", "1"),
        "write-fundamental": (*ROW, "--asof", "2024-01-03", "--eps", "1"),
        "write-instrument": (*ROW, "--asof", "2024-01-03", "--exchange", "XNAS"),
        "write-news": ("--vendor", "v", "--published-at", "2024-01-03", "--title", "t"),
        "write-option": (*ROW, "--ts", "2024-01-03", "--expiry", "2024-02-01", "--option-type", "C", "--strike", "1",
                         "--iv", "1"),
    },
}  # fmt: skip
"""Every command with what it cannot do without, and what makes it end."""

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)

GROUPS = {
    (),
    ("tenants",),
    ("vendors",),
    ("aggregates",),
    ("backfill",),
    ("cold",),
    ("calendars",),
    ("jobs",),
    ("token",),
}
PROGRAMS = {"datastore": operators.command_line, "mds": applications.command_line}
PATHS = [(program, name.split()) for program, its in CALLS.items() for name in its]
EVERY = [pytest.param(program, path, id=" ".join([program, *path])) for program, path in PATHS]


def of(program: str, path: list[str]) -> click.Command:
    """A command."""
    found: click.Command = PROGRAMS[program]()
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


WITH_A_DATABASE = [
    pytest.param(name.split(), id=name)
    for name in CALLS["datastore"]
    if "dsn" in {parameter.name for parameter in of("datastore", name.split()).params}
]


@pytest.fixture(scope="module")
def store(running: Running) -> Iterator[Store]:
    """A store that all commands here have together: with rows, one of them without a number, a job and a backfill."""
    with two_tenants(running) as made:
        with MDS(dsn=made.dsn, tenant_id=made.tenant_a) as client:
            client.upsert_bars(
                [
                    Bar(vendor="v", symbol="S", timeframe="1m", ts=NOON + timedelta(minutes=n), close_price=1)
                    for n in range(3)
                ]
            )
            client.upsert_options(
                [OptionSnap(vendor="v", symbol="S", expiry=date(2200, 1, 1), option_type="C", strike=1, ts=NOON, iv=1)]
            )
        # No client writes these, but another program may have.
        made.execute("UPDATE store.bars SET close_price = 'NaN' WHERE ts = %s", NOON + timedelta(minutes=1))
        made.execute("UPDATE store.bars SET close_price = 'Infinity' WHERE ts = %s", NOON + timedelta(minutes=2))
        made.execute("UPDATE store.series SET last_price = 'NaN'")
        yield made


@pytest.fixture
def call(
    store: Store,
    server: EmbeddedServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    """Runs a command of CALLS with more arguments."""
    use(monkeypatch, DATABASE_URL=store.admin_dsn, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    monkeypatch.setenv("DATASTORE_EXPORTS", str(tmp_path))
    monkeypatch.setenv("MDS_CCXT_URL", "http://127.0.0.1:1")  # nothing listens there
    monkeypatch.setenv("DATASTORE_COLD_URL", str(tmp_path / "cold"))
    monkeypatch.setenv("DATASTORE_TOKENS", tokens.create("n", Scope.admin).line)
    (tmp_path / "rows.ndjson").write_text(
        '{"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": "2024-01-04T00:00Z", "close_price": 1}\n'
    )
    login = f"login_{os.getpid()}"
    made = {"ROWS": str(tmp_path / "rows.ndjson"), "OUT": str(tmp_path / "out"), "LOGIN": login}

    def run(program: str, path: list[str], *more: str) -> Done:
        command = " ".join(path)
        entry = operators.main if program == "datastore" else applications.main
        called = runs(entry, capsys, monkeypatch)
        if {"JOB", "BACKFILL"} & set(CALLS[program][command]):
            # Cancelled, so that each of them ends, and can be tried again.
            started = called("backfill", "start", *CALLS[program]["backfill start"], "--key", "k", "--json").json["id"]
            called("backfill", "cancel", started)
            ((job,),) = store.rows(f"SELECT min(id) FROM store.jobs WHERE backfill_id = {started}")
            made.update(BACKFILL=str(started), JOB=str(job))
        if command == "tenants unbind-role":
            called("tenants", "bind-role", "a", login)
        # `down` is of a server that is not there, and not of the tests' own.
        monkeypatch.setenv("MDS_HOME", str(tmp_path / "home" if command == "down" else server.home))
        return called(*path, *(made.get(argument, argument) for argument in CALLS[program][command]), *more)

    with psycopg.connect(store.superuser_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN".encode())
        try:
            yield run
        finally:
            connection.execute(f"DROP OWNED BY {login}; DROP ROLE {login}".encode())


def test_every_command_has_a_test_call() -> None:
    for program, line in PROGRAMS.items():
        assert set(CALLS[program]) == {" ".join(path) for path in commands(line())} - {
            " ".join(path) for path in GROUPS
        } - {"policies"}


def strictly(text: str) -> Any:
    """JSON as every reader takes it: no NaN, no Infinity, one document."""

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refused)


@pytest.mark.parametrize(("program", "path"), EVERY)
def test_json_output_of_every_command_is_valid_json(call: Run, store: Store, program: str, path: list[str]) -> None:
    if path == ["serve"]:
        token = tokens.create("n", Scope.admin).line
        with started(*path, "--port", "0", "--json", DATABASE_URL=store.admin_dsn, DATASTORE_TOKENS=token) as process:
            assert strictly(process.line())["url"].startswith("http://127.0.0.1:")
        return
    done = call(program, path, "--json")
    if path == ["revision"]:
        assert (done.code, done.out) == (1, ""), "nothing differs, so nothing is made"
        return
    # Beside the rows of a dump, which may go to standard output, too.
    assert strictly(done.out) is not None


@pytest.mark.parametrize(
    "path", ["tenants list", "series", "freshness", "backfill list", "calendars list", "jobs list"]
)
def test_json_output_of_an_empty_store_is_an_empty_list(
    running: Running, path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_tenants(running) as empty:
        empty.execute("DELETE FROM store.tenants")
        use(monkeypatch, DATABASE_URL=empty.admin_dsn)
        done = runs(operators.main, capsys, monkeypatch)(*path.split(), "--json")
    assert (done.code, done.err, strictly(done.out)) == (0, "", [])


def test_nan_and_infinity_are_null_in_json(call: Run) -> None:
    rows = strictly(call("mds", ["bars"], "--end", "2024-01-03", "--json").out)
    assert [row["close_price"] for row in rows] == [1.0, None, None]
    assert rows[0]["ts"] == "2024-01-02T12:00:00+00:00"


# The login ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WITH_A_DATABASE)
def test_an_application_login_gets_an_error_that_names_the_right_dsn(call: Run, store: Store, path: list[str]) -> None:
    done = call("datastore", path, "--dsn", store.dsn)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(
        r"error: the login 'mds_service' is an application's, and cannot do what this command does\. Name the control"
        r" plane's in DATABASE_URL or --dsn: a member of mds_owner, .*\. MDS_DSN is for applications\n",
        done.err,
    )


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_shell_completes_file_names() -> None:
    checked = 0
    for program, path in PATHS:
        command = of(program, path)
        context = click.Context(command)
        for parameter in command.params:
            if "FILE" in (parameter.metavar or "") or isinstance(parameter.type, click.Path):
                found = parameter.shell_complete(context, "")
                sort = "dir" if isinstance(parameter.type, click.Path) and not parameter.type.file_okay else "file"
                at = "@" in (parameter.metavar or "")
                assert at or [item.type for item in found] == [sort], (path, parameter.name)
                checked += 1
    assert checked > 10


def test_a_file_name_after_an_at_sign_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source.json").touch()
    (tmp_path / "sources").mkdir()
    complete = ShellComplete(command_line(), {}, "datastore", "_DATASTORE_COMPLETE")

    def completed(typed: str) -> list[str]:
        return [item.value for item in complete.get_completions(["backfill", "start", "--source"], typed)]

    assert completed("@so") == ["@source.json", "@sources/"]
    assert completed(f"@{tmp_path}/source.") == [f"@{tmp_path}/source.json"]
    assert completed('{"') == []


# Ports ----------------------------------------------------------------------------------------------------------------


def test_every_port_that_is_in_use_is_reported_with_its_option(call: Run, store: Store, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = f"{port} on 127.0.0.1 cannot be listened on: Address already in use\n"
        served = call("datastore", ["serve"], "--port", port)
        worked = call("datastore", ["worker"], "--metrics-port", port)
        up = call("datastore", ["up"], "--port", port, "--home", str(tmp_path / "new"))
    assert (served.code, served.err) == (1, f"error: --port {said}")
    assert (worked.code, worked.err) == (1, f"error: --metrics-port {said}")
    assert (up.code, up.out) == (1, "")
    in_use = f"port {port} of 127.0.0.1 is in use by another program: choose another port"
    assert up.err == f"error: --port {port}: {in_use}\n"
    nowhere = call("datastore", ["serve"], "--host", "no.such.host.invalid")
    assert nowhere.err.startswith("error: the address 'no.such.host.invalid' cannot be listened on: ")
