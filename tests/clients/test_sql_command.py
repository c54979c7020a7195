"""`mds sql`: statements and a shell as the tenant, through an application's login and through a bound one."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from mds_client import MDS, Bar, Config
from mds_client.cli import main
from mds_client.commands.statements import Statements, psql_settings
from tests.clients.test_cli import MDS_PROGRAM, Run, runs, two_tenants, use
from tests.clients.test_read_commands import bound_login
from tests.conftest import Store
from tests.engines.databases import Running

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
SYMBOLS = "SELECT DISTINCT symbol FROM bars ORDER BY 1"


@pytest.fixture(scope="module")
def store(running: Running) -> Iterator[Store]:
    """A store where each tenant has bars of its own symbol."""
    with two_tenants(running) as made:
        for tenant, symbol in ((made.tenant_a, "OURS"), (made.tenant_b, "THEIRS")):
            with MDS(dsn=made.dsn, tenant_id=tenant) as client:
                client.upsert_bars(
                    [
                        Bar(vendor="v", symbol=symbol, timeframe="1m", ts=NOON + timedelta(minutes=n), close_price=n)
                        for n in range(3)
                    ]
                )
        yield made


@pytest.fixture(scope="module")
def bound(store: Store) -> Iterator[str]:
    with bound_login(store) as dsn:
        yield dsn


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mds …` for tenant `a`, with an application's login."""
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


def test_a_statement_sees_only_the_rows_of_its_tenant(
    mds: Run, store: Store, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [row["symbol"] for row in mds("sql", SYMBOLS, "--json").json] == ["OURS"]
    assert [row["symbol"] for row in mds("sql", SYMBOLS, "--tenant-id", store.tenant_b, "--json").json] == ["THEIRS"]
    use(monkeypatch, MDS_DSN=bound)
    assert [row["symbol"] for row in mds("sql", SYMBOLS, "--json").json] == ["OURS"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT mds.use_tenant('{b}')",
        "SELECT count(*) FROM store.bars",
        "SET ROLE mds_owner",
        "SELECT 1; SELECT mds.use_tenant('{b}')",
    ],
)
def test_a_bound_login_cannot_become_another_tenant(
    mds: Run, store: Store, bound: str, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    use(monkeypatch, MDS_DSN=bound)
    done = mds("sql", statement.format(b=store.tenant_b))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    denied = mds("sql", SYMBOLS, "--tenant-id", store.tenant_b)
    assert (denied.code, denied.out) == (1, "")
    assert "is bound to another tenant" in denied.err
    set_by_hand = mds("sql", f"SELECT set_config('app.tenant_id', '{store.tenant_b}', true), symbol FROM bars LIMIT 1")
    assert "THEIRS" not in set_by_hand.out


def test_a_tenant_set_by_one_statement_does_not_affect_the_next(mds: Run, store: Store) -> None:
    config = Config.load({"dsn": store.dsn, "tenant_id": store.tenant_a})
    with Statements(config) as statements:
        with statements.run(f"SELECT set_config('app.tenant_id', '{store.tenant_b}', true)") as answer:
            assert sum(map(len, answer.rows)) == 1
        with statements.run(SYMBOLS) as answer:
            assert [row for part in answer.rows for row in part] == [{"symbol": "OURS"}]


def test_every_type_is_printed_in_every_format(mds: Run, tmp_path: Path) -> None:
    statement = (
        "SELECT 1 AS one, 2.5::numeric AS n, 9007199254740993::numeric AS big, true AS yes, '2024-01-02'::date AS day,"
        " '2024-01-02 12:00Z'::timestamptz AS at, gen_random_uuid() IS NULL AS no, '{\"a\": [1]}'::jsonb AS doc,"
        " NULL::float8 AS nothing, 'x' AS one"
    )
    (row,) = map(json.loads, mds("sql", statement, "--format", "ndjson").out.splitlines())
    assert row == {
        "one": 1, "n": 2.5, "big": 9007199254740993, "yes": True, "day": "2024-01-02", "at": "2024-01-02T12:00:00Z",
        "no": False, "doc": {"a": [1]}, "nothing": None, "one_2": "x",
    }  # fmt: skip
    assert mds("sql", statement, "--format", "csv").out.splitlines() == [
        "one,n,big,yes,day,at,no,doc,nothing,one_2",
        '1,2.5,9007199254740993,True,2024-01-02,2024-01-02T12:00:00Z,False,"{""a"": [1]}",,x',
    ]
    file = tmp_path / "rows.parquet"
    assert mds("sql", statement, "--output", file).code == 0
    table = pyarrow.parquet.read_table(file)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    assert table.schema.field("n").type == pa.float64()
    assert table["doc"].to_pylist() == ['{"a": [1]}']


def test_large_results_are_streamed_and_empty_ones_keep_their_header(mds: Run, tmp_path: Path) -> None:
    assert len(mds("sql", "SELECT generate_series(1, 2500) AS n", "--format", "csv").out.splitlines()) == 2_501
    nowhere = mds("sql", "SELECT generate_series(1, 2500) AS n", "--output", tmp_path / "none" / "x.csv")
    assert (nowhere.code, nowhere.out) == (1, "")
    none = mds("sql", "SELECT ts, symbol FROM bars WHERE false", "--format", "csv")
    assert (none.code, none.out, none.err) == (0, "ts,symbol\n", "no rows\n")


def test_a_server_error_is_printed_in_one_line(mds: Run) -> None:
    assert mds("sql", "SELECT nothing FROM bars").err == 'error: column "nothing" does not exist\n'
    assert mds("sql", "SELECT 1/0").err == "error: division by zero\n"
    assert "cannot insert multiple commands" in mds("sql", "SELECT 1; SELECT 2").err


def test_rows_written_by_a_statement_are_committed_for_the_tenant(mds: Run, store: Store) -> None:
    insert = "INSERT INTO mds.series (kind, vendor, symbol, timeframe) VALUES ('bars', 'w', 'NEW', '1m')"
    done = mds("sql", insert)
    assert (done.code, done.out, done.err) == (0, "", "INSERT 0 1\n")
    assert store.rows("SELECT count(*) FROM store.series WHERE vendor = 'w'") == [(1,)]
    assert mds("series", "--vendor", "w", "--tenant-id", store.tenant_b).code == 1


# The shell --------------------------------------------------------------------------------------------------------


def shell(text: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MDS_")}
    return subprocess.run(
        [*MDS_PROGRAM, "sql", *arguments],
        input=text, env={**kept, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_statements_are_read_from_a_pipe_until_the_first_error(store: Store, bound: str) -> None:
    for variables in ({"MDS_DSN": store.dsn, "MDS_TENANT_ID": store.tenant_a}, {"MDS_DSN": bound}):
        done = shell(f"{SYMBOLS};\nSELECT\n  1 AS one", "-", "--format", "csv", **variables)
        assert (done.returncode, done.stdout, done.stderr) == (0, "symbol\nOURS\none\n1\n", "")
    failed = shell("SELECT 1/0;\nSELECT 2;\n", "-", "--format", "csv", MDS_DSN=bound)
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", "error: division by zero\n")


def test_the_built_in_shell_continues_after_an_error(store: Store) -> None:
    master, slave = pty.openpty()
    variables = {"MDS_DSN": store.dsn, "MDS_TENANT_ID": store.tenant_a, "TERM": "dumb"}
    with subprocess.Popen(
        [*MDS_PROGRAM, "sql", "--no-psql", "--format", "csv"],
        stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **variables}, text=True,
    ) as process:  # fmt: skip
        os.close(slave)
        os.write(master, f"SELECT 1/0;\n{SYMBOLS};\n\\q\n".encode())
        out, err = process.communicate(timeout=60)
        os.close(master)
    assert process.returncode == 0
    assert "symbol\nOURS\n" in out
    assert "error: division by zero\n" in err


def stand_in(folder: Path) -> Path:
    """A program called psql that says what it is started with, and then runs the statement with libpq's own means."""
    program = folder / "psql"
    program.write_text(
        f"#!{sys.executable}\nimport sys, psycopg\nprint(sys.argv[1:])\n"
        f"print(psycopg.connect('').execute({SYMBOLS!r}).fetchall())\n"
    )
    program.chmod(0o755)
    return program


def test_psql_runs_as_the_tenant_and_gets_its_password_from_the_environment(
    store: Store, bound: str, tmp_path: Path
) -> None:
    stand_in(tmp_path)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for variables in ({"MDS_DSN": store.dsn, "MDS_TENANT_ID": store.tenant_a}, {"MDS_DSN": bound}):
        done = shell("", PATH=path, **variables)
        assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n[('OURS',)]\n", "")


def test_an_installed_psql_reads_as_the_tenant(store: Store) -> None:
    if shutil.which("psql") is None:
        assert shell("SELECT 1;", MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a).returncode == 0
        return
    done = shell(f"{SYMBOLS};\n", MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    assert "OURS" in done.stdout
    assert "THEIRS" not in done.stdout


def test_psql_settings_without_a_variable_are_arguments_and_secret_ones_prevent_psql(store: Store) -> None:
    config = Config.load({"dsn": f"{store.dsn}?keepalives_idle=9", "tenant_id": store.tenant_a})
    settings = psql_settings(config)
    assert settings is not None
    environment, conninfo = settings
    assert conninfo == "keepalives_idle=9"
    assert store.tenant_a in environment["PGOPTIONS"]
    secret = Config.load({"dsn": f"{store.dsn}?sslpassword=x", "tenant_id": store.tenant_a})
    assert psql_settings(secret) is None
