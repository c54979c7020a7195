"""The command `mds`, run as its users run it. Not here: NDJSON ingest (`test_ndjson`)."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from datastore.embedded import EmbeddedServer
from mds_client import MDS, Bar, __version__
from mds_client.cli import command_line, main
from tests.conftest import BEHIND_A_POOLER, Store, with_tenants
from tests.engines.databases import Running

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
MDS_PROGRAM = (sys.executable, "-m", "mds_client.cli")
WINDOW = ("--vendor", "v", "--symbol", "AAPL", "--timeframe", "1m", "--start", "2024-01-01")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


def runs(main: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line through its program's own entry, within this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        code: Any = 0
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            # A command that handles signals leaves that to the end of its process, which goes on here.
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Done(code, *capsys.readouterr())

    return run


def use(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Have these variables in the environment, and no others of ours but what the engine needs."""
    for name, value in os.environ.items():
        if (name.startswith("MDS_") or name == "DATABASE_URL") and BEHIND_A_POOLER.get(name) != value:
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@contextlib.contextmanager
def two_tenants(running: Running) -> Iterator[Store]:
    """A store on plain PostgreSQL: a command line does not know engines apart."""
    with running.databases("postgres").migrated() as place:
        yield with_tenants(place, "postgres")


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mds …` for tenant `a`, by the environment."""
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


@pytest.fixture(scope="module")
def migrated(running: Running) -> Iterator[str]:
    """A migrated database for all tests that write nothing: its DSN for an application."""
    with running.databases("postgres").migrated() as place:
        yield place.dsn


@pytest.fixture
def idle(migrated: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mds …` without a tenant, where nothing is written."""
    use(monkeypatch, MDS_DSN=migrated)
    return runs(main, capsys, monkeypatch)


def bars(store: Store, count: int) -> list[Bar]:
    """Write so many bars of AAPL as tenant `a`, and return them as they are read."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        written = [
            Bar(vendor="v", symbol="AAPL", timeframe="1m", ts=NOON + timedelta(minutes=n), close_price=n / 3, volume=n)
            for n in range(count)
        ]
        client.upsert_bars(written)
        read: list[Bar] = client.bars_window("AAPL", "1m", NOON, NOON + timedelta(days=365), "v")
        return read


# Help -------------------------------------------------------------------------------------------------------------


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_and_every_option_has_help_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    use(monkeypatch)
    for path in commands(command_line()):
        command = with_help(command_line(), path, runs(main, capsys, monkeypatch)(*path, flag))
        assert len(command.help or "") > 40, path


def with_help(root: click.Command, path: tuple[str, ...], done: Done) -> click.Command:
    """The command of this path, whose options all have a help text, and whose own one is what it printed."""
    assert (done.code, done.err) == (0, ""), path
    command = root
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help, path
    assert " ".join(command.help.split("\n\n")[0].split()) in " ".join(done.out.split())
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{' '.join(path)}: {option.name} says nothing"
    return command


def test_the_command_list_shows_complete_descriptions(idle: Run) -> None:
    said = idle("--help").out.partition("Commands:")[2]
    assert "..." not in said
    assert "  write-bar            Write one row of bars\n" in said


def test_version_prints_the_version_of_the_distribution(idle: Run) -> None:
    assert idle("--version").out == f"mds, version {__version__}\n"


def test_every_command_has_json_output() -> None:
    assert [
        name for name, command in command_line().commands.items() if "as_json" not in {p.name for p in command.params}
    ] == []


# Commands ---------------------------------------------------------------------------------------------------------


def test_ping_prints_the_role_tenant_and_engine_of_the_connection(mds: Run, store: Store) -> None:
    told = mds("ping", "--json").json
    assert told["ok"] is True
    assert told["role"] == "mds_service"
    assert told["tenant_id"] == store.tenant_a
    assert told["engine"] == "postgres"
    assert 0 < told["milliseconds"] < 10_000
    done = mds("ping")
    assert (done.code, done.err) == (0, "")
    assert re.search(rf"^tenant id +{store.tenant_a}$", done.out, re.MULTILINE)
    assert re.search(rf"^schema version +{told['schema_version']}$", done.out, re.MULTILINE)


def test_options_override_environment_variables(mds: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mds("ping", "--json", "--tenant-id", store.tenant_b).json["tenant_id"] == store.tenant_b
    use(monkeypatch, MDS_DSN="postgresql://127.0.0.1:1/nowhere", MDS_TENANT_ID=store.tenant_a)
    assert mds("ping", "--json", "--dsn", store.dsn).json["tenant_id"] == store.tenant_a
    use(monkeypatch)
    assert mds("ping", "--json", "--dsn", store.dsn).json["tenant_id"] is None


def test_the_clients_settings_come_from_the_environment(idle: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDS_WRITE_MODE", "faster")
    done = idle("ping")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: write_mode: ")


def test_schema_version_prints_only_the_version(mds: Run, store: Store) -> None:
    ((version,),) = store.rows("SELECT version_num FROM store.alembic_version")
    assert mds("schema-version") == Done(0, f"{version}\n", "")
    assert mds("schema-version", "--json").json == {"schema_version": version}


def test_a_bar_is_written_from_its_options_and_read_back(mds: Run) -> None:
    write = ("write-bar", "--vendor", "ibkr", "--symbol", "aapl", "--timeframe", "1m", "--ts", "2024-01-01T10:00:00")
    done = mds(*write, "--close-price", "150.5", "--volume", "1000")
    assert done == Done(0, "1 bar written\n", "")
    assert mds(*write, "--close-price", "150.5", "--volume", "1000", "--json").json == {"written": 1}
    table = mds("latest-prices", "--vendor", "ibkr", "--symbols", "MSFT, aapl,,").out
    assert [line.split("  ") for line in table.splitlines()] == [
        ["vendor", "symbol", "price", "price timestamp", *[""] * 5],
        ["ibkr", "", "AAPL", "", "150.5", "2024-01-01T10:00:00+00:00"],
    ]
    (price,) = mds("latest-prices", "--vendor", "ibkr", "--symbols", "AAPL", "--json").json
    assert price["price"] == 150.5
    assert price["price_timestamp"] == "2024-01-01T10:00:00+00:00"


@pytest.mark.filterwarnings("default:the tenant has no:mds_client.models.DataQualityWarning")
def test_an_empty_result_is_not_an_error(mds: Run) -> None:
    assert mds("latest-prices", "--vendor", "v", "--symbols", "NOPE") == Done(
        0, "", "warning: the tenant has no bars at all\nno prices\n"
    )
    assert mds("latest-prices", "--vendor", "v", "--symbols", ",", "--json") == Done(0, "[]\n", "")


def test_a_missing_series_is_an_error_but_an_empty_window_is_not(mds: Run, store: Store) -> None:
    assert mds("bars", *WINDOW) == Done(1, "", "error: the tenant has no bars at all\n")
    bars(store, 2)
    later = (*WINDOW, "--start", "2030-01-01", "--end", "2031-01-01")
    why = "no bars in this time; the newest is of 2024-01-02T12:01:00+00:00\n"
    assert mds("bars", *later) == Done(0, "", why)
    assert mds("bars", *later, "--format", "ndjson") == Done(0, "", why)
    assert mds("bars", *later, "--json").json == []


def test_delete_asks_for_confirmation(mds: Run, store: Store) -> None:
    bars(store, 3)
    asked = ("delete", "bars", "--vendor", "v")
    would = mds(*asked, "--dry-run")
    assert would.code == 0
    assert "3 rows would be deleted" in would.out
    refused = mds(*asked)
    assert refused.code != 0
    assert store.rows("SELECT count(*) FROM store.bars") == [(3,)]
    unasked = mds(*asked, "--json")
    assert (unasked.code, unasked.out) == (2, "")
    assert "add --yes, or --dry-run" in unasked.err
    done = mds(*asked, "--yes", "--json").json
    assert (done["rows"], done["dry_run"]) == (3, False)
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]


def test_a_window_is_printed_as_a_table(mds: Run, store: Store) -> None:
    bars(store, 2)
    table = mds("bars", *WINDOW).out.splitlines()
    assert table[0].split() == [
        *("vendor", "symbol", "timeframe", "ts", "open", "price", "high", "price", "low", "price"),
        *("close", "price", "volume"),
    ]
    assert [line.split() for line in table[1:]] == [
        ["v", "AAPL", "1m", "2024-01-02T12:00:00+00:00", "-", "-", "-", "0.0", "0"],
        ["v", "AAPL", "1m", "2024-01-02T12:01:00+00:00", "-", "-", "-", "0.3333333333333333", "1"],
    ]


def test_a_window_as_csv_has_every_field_and_every_digit(mds: Run, store: Store) -> None:
    written = bars(store, 3)
    read = list(csv.DictReader(io.StringIO(mds("bars", *WINDOW, "--format", "csv").out)))
    assert [
        Bar.model_validate({"tenant_id": store.tenant_a, **{name: value for name, value in row.items() if value}})
        for row in read
    ] == written
    assert list(read[0]) == [name for name in Bar.model_fields if name != "tenant_id"]


def test_json_output_parses_back_to_the_rows(mds: Run, store: Store) -> None:
    written = bars(store, 3)
    assert [Bar.model_validate(row) for row in mds("bars", *WINDOW, "--json").json] == written


def test_ndjson_output_can_be_ingested_by_another_tenant(mds: Run, store: Store, tmp_path: Path) -> None:
    written = bars(store, 3)
    file = tmp_path / "out.ndjson"
    file.write_text(mds("bars", *WINDOW, "--format", "ndjson").out)
    assert mds("ingest-ndjson", "bars", file, "--tenant-id", store.tenant_b).code == 0
    with MDS(dsn=store.dsn, tenant_id=store.tenant_b) as client:
        copied = client.bars_window("AAPL", "1m", NOON, NOON + timedelta(days=1), "v")
    assert [bar.model_dump(exclude={"tenant_id"}) for bar in copied] == [
        bar.model_dump(exclude={"tenant_id"}) for bar in written
    ]
    assert len(copied) == 3
    assert {bar.tenant_id for bar in copied} == {store.tenant_b}


def test_a_window_excludes_its_end_and_is_open_ended_by_default(mds: Run, store: Store) -> None:
    bars(store, 3)
    until = mds("bars", *WINDOW, "--end", "2024-01-02T12:01:00", "--json").json
    assert [row["volume"] for row in until] == [0]
    assert len(mds("bars", *WINDOW, "--json").json) == 3
    zoned = mds("bars", *WINDOW, "--end", "2024-01-02T13:01:00+01:00", "--json").json
    assert zoned == until


# Errors -----------------------------------------------------------------------------------------------------------

BAR = ("write-bar", "--vendor", "v", "--symbol", "A", "--timeframe", "1m", "--ts")
SECRET = "s3cret-w0rd"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ping", "--dsn", f"postgresql://me:{SECRET}@127.0.0.1:1/db"), "no connection to the server: .*refused"),
        (("ping", "--dsn", f"postgresql://me:{SECRET}@[::1/db"), "the DSN cannot be read"),
        (("ping", "--dsn", f"nonsense {SECRET}"), "the DSN cannot be read"),
        (("ping", "--tenant-id", "nope"), "tenant_id: 'nope' is not a uuid"),
        (("ping", "--tenant-id", "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"), "tenant 0e0bc1a6-.* is unknown or disabled"),
        ((*BAR, "yesterday"), "ts: .*a time is ISO 8601 text"),
        ((*BAR, "2024-13-01"), "ts: .*month"),
        ((*BAR, "2024-01-01", "--close-price", "NaN"), "close_price: .*finite"),
        ((*BAR, "2024-01-01", "--volume", "-1"), "volume: -1 is no count; .*null_values"),
        (("bars", *WINDOW, "--end", "2023-01-01"), "start .* is after end"),
        (("ingest-ndjson", "bars", "/no/such/file"), "/no/such/file: No such file"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_an_error_is_one_line_without_a_secret(idle: Run, arguments: tuple[str, ...], said: str) -> None:
    done = idle(*arguments)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(rf"error: {said}.*\n", done.err)
    assert SECRET not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bars", *WINDOW[:-1], "yesterday"), "Invalid value for '--start': 'yesterday': a time is ISO 8601"),
        (("rollup", "--vendor", "v"), "Missing option '--symbol'"),
        ((*BAR[:-1],), "Missing option '--ts'"),
        (("bars", *WINDOW, "--format", "xml"), "Invalid value for '--format'"),
        (("ping", "--nonsense"), "No such option"),
        (("nonsense",), "No such command 'nonsense'"),
        (("ingest-ndjson", "bars", "-", "--max-rows", "0"), "Invalid value for '--max-rows'"),
        (("ingest-ndjson", "bars", "-", "--on-conflict", "ask"), "Invalid value for '--on-conflict'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_usage_error_names_the_problem_and_points_to_help(idle: Run, arguments: tuple[str, ...], said: str) -> None:
    done = idle(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "--help' for help." in done.err
    assert re.match(rf"Error: .*{said}", done.err.splitlines()[-1])


def test_a_wrong_password_is_reported_but_not_shown(idle: Run, migrated: str) -> None:
    done = idle("ping", "--dsn", re.sub(r":[^:@]+@", f":{SECRET}@", migrated))
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(r"error: no connection .*password authentication failed for user .*\n", done.err)
    assert SECRET not in done.err


def test_without_a_dsn_every_command_says_how_to_set_one(idle: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    for name, command in command_line().commands.items():
        given = []
        for parameter in command.params:
            if parameter.required:
                words = {"start": "2024-01-01", "kind": "bars", "path": "-", "vendor": "yfinance", "timeframe": "1d"}
                value = words.get(parameter.name or "", "x")
                given += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
        done = idle(name, *given)
        assert (name, done.code, done.out) == (name, 1, "")
        assert "pass --dsn or set MDS_DSN" in done.err
        assert len(done.err.splitlines()) == 1


def test_commands_report_an_unmigrated_database(idle: Run, server: EmbeddedServer, empty_database: str) -> None:
    mds, dsn = idle, server.dsn("mds_service", empty_database)
    for command in (("latest-prices", "--vendor", "v", "--symbols", "A"), ("bars", *WINDOW), (*BAR, "2024-01-01")):
        done = mds(*command, "--dsn", dsn)
        assert (done.code, done.out) == (1, "")
        assert re.fullmatch(r"error: .*not migrated.*run datastore migrate\n", done.err)
    done = mds("schema-version", "--dsn", dsn)
    assert done == Done(1, "", "error: the database is not migrated: run datastore migrate\n")
    done = mds("schema-version", "--json", "--dsn", dsn)
    assert (done.code, done.json) == (1, {"schema_version": None})
    assert mds("ping", "--json", "--dsn", dsn).json["schema_version"] is None


def test_writing_without_a_tenant_is_refused(mds: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, MDS_DSN=store.dsn)
    done = mds(*BAR, "2024-01-01")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "tenant" in done.err
    assert store.rows("SELECT * FROM store.series") == []


def test_a_suspicious_row_is_stored_with_a_one_line_warning(mds: Run) -> None:
    done = subprocess.run(
        [*MDS_PROGRAM, *BAR, "2024-01-01", "--high-price", "1", "--low-price", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "1 bar written\n"
    assert re.fullmatch(r"warning: .*high_price 1.0 is below low_price 2.0\n", done.stderr)


def test_no_error_is_printed_when_the_reader_of_the_pipe_exits_early(mds: Run, store: Store) -> None:
    bars(store, 5000)
    command = [*MDS_PROGRAM, "bars", *WINDOW, "--format", "ndjson"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["volume"] == 0
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


@pytest.mark.parametrize("form", ["table", "csv", "ndjson"])
def test_no_error_is_printed_when_the_output_pipe_has_no_reader(mds: Run, store: Store, form: str) -> None:
    bars(store, 2)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*MDS_PROGRAM, "bars", *WINDOW, "--format", form],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


class _Interrupted(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise KeyboardInterrupt


def test_ctrl_c_before_any_input_exits_with_130(idle: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(_Interrupted())))
    done = idle("ingest-ndjson", "bars", "-")
    assert (done.code, done.out, done.err.strip()) == (130, "", "error: interrupted")
