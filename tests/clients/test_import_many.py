"""`mds import` of many files: several at once, and a run that was stopped continues where it was."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from mds_client.cli import main
from mds_client.commands import crew
from mds_client.commands.reports import Watch
from tests import warm
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Store
from tests.engines.databases import Running, superuser

OPTIONS: Final = ("--vendor", "v", "--timeframe", "1d")
EXECUTABLE: Final = sys.executable
WAITING: Final = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
NAMED: Final = (*OPTIONS, "--file-name", r"(?P<symbol>[A-Z]+)\d*\.csv")


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def mds(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "executable", str(warm.folder() / "python"))
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of each of five symbols."""
    made = tmp_path / "files"
    made.mkdir()
    for symbol in "ABCDE":
        written(made / f"{symbol}.csv", 1.0)
    return made


def written(path: Path, close: float, days: range = range(1, 21)) -> None:
    path.write_text("ts,close_price\n" + "".join(f"2024-01-{day:02},{close}\n" for day in days))


def closes(store: Store, tenant: str | None = None) -> dict[str, set[float]]:
    rows = store.rows(
        "SELECT s.symbol, r.close_price FROM store.bars AS r JOIN store.series AS s USING (series_id)"
        " WHERE s.series_id >> 40 = (SELECT no FROM store.tenants WHERE id = %s) ORDER BY 1",
        tenant or store.tenant_a,
    )
    found: dict[str, set[float]] = {}
    for symbol, close in rows:
        found.setdefault(symbol, set()).add(close)
    return found


@contextmanager
def held(store: Store, symbols: str) -> Iterator[Callable[[], None]]:
    """Hold the files of symbols, of which one row is there: another session is writing one of their rows.

    Yields a function that waits until all of these files are being written.
    """
    with superuser(store.superuser_dsn) as blocker, blocker.transaction(force_rollback=True):
        blocker.execute(
            "INSERT INTO store.bars (series_id, ts, close_price)"
            " SELECT series_id, '2024-01-15Z', 9 FROM store.series WHERE symbol = ANY (%s)",
            [list(symbols)],
        )

        def wait() -> None:
            until(lambda: len(store.rows(WAITING)) == len(symbols))

        yield wait


def until(met: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not met():
        assert time.monotonic() < limit
        time.sleep(0.01)


def started(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own, which a signal reaches."""
    python = str(warm.folder() / "python")
    program = f"import sys; sys.executable = {python!r}; from mds_client.cli import main; main()"
    return subprocess.Popen(
        [python, "-c", program, "import", "bars", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def noted() -> int:
    """The number of files that the journal has."""
    path = Path(os.environ["XDG_STATE_HOME"]) / "mds" / "imports.sqlite"
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError):
        (count,) = database.execute("SELECT count(*) FROM imported_files").fetchone()
        return int(count)
    return 0


def begun(mds: Run, folder: Path, symbols: str) -> None:
    """Write one row of each of these symbols, so that the series are there."""
    for symbol in symbols:
        written(folder / "first.csv", 1.0, range(1, 2))
        assert mds("import", "bars", folder / "first.csv", *OPTIONS, "--symbol", symbol).code == 0
    (folder / "first.csv").unlink()


def stopped(mds: Run, store: Store, folder: Path, how: signal.Signals, symbols: str = "C", *more: object) -> str:
    """Import the folder, and stop the command while it writes the files of these symbols. Returns its output."""
    begun(mds, folder, symbols)
    with held(store, symbols) as wait, started(folder, *NAMED, *more) as process:
        wait()
        # The two files before are complete. The command notes that behind the beginning of the next ones.
        until(lambda: noted() == 2)
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how), err
    assert "Traceback" not in err
    return out + err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_rerun_of_a_stopped_import_skips_the_files_that_were_imported(
    mds: Run, store: Store, folder: Path, how: signal.Signals
) -> None:
    stopped(mds, store, folder, how)
    assert closes(store).keys() == {"A", "B", "C"}
    done = mds("import", "bars", folder, *NAMED)
    assert done.code == 0, done.err
    assert "2 files of 5 skipped: a run that was stopped has imported them" in done.err.splitlines()[-1]
    assert [line.split()[0] for line in done.out.splitlines()] == [f"{folder}/{name}.csv:" for name in "CDE"]
    assert closes(store) == {name: {1.0} for name in "ABCDE"}
    # The run is complete, so the same command is a new one.
    assert "skipped" not in mds("import", "bars", folder, *NAMED).err


def test_a_file_is_skipped_only_if_path_content_options_and_tenant_are_unchanged(
    mds: Run, store: Store, folder: Path
) -> None:
    (folder / "broken.csv").write_bytes(b"\x1f\x8bnot gzip")
    assert mds("import", "bars", folder, *NAMED).code == 3
    before = (folder / "A.csv").stat()
    written(folder / "A.csv", 2.0)
    os.utime(folder / "A.csv", ns=(before.st_atime_ns, before.st_mtime_ns))

    def skipped(*more: object, path: Path = folder) -> int:
        return sum(
            file.get("skipped") is not None
            for file in mds("import", "bars", path, *NAMED, *more, "--json").json["files"]
        )

    assert skipped("--again") == 0
    written(folder / "B.csv", 2.0)
    assert skipped() == 4
    assert closes(store)["A"] == closes(store)["B"] == {2.0}
    assert skipped("--null-value", "x") == 0
    assert skipped("--on-conflict", "fill") == 0
    assert skipped("--tenant-id", store.tenant_b) == 0
    assert closes(store, store.tenant_b) == {"A": {2.0}, "B": {2.0}, "C": {1.0}, "D": {1.0}, "E": {1.0}}
    assert skipped("--tenant-id", store.tenant_b) == 5
    copied = folder.rename(folder.with_name("copied"))
    assert skipped(path=copied) == 0


def test_an_import_into_another_database_with_the_same_tenant_skips_nothing(
    mds: Run, store: Store, folder: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken.csv").write_bytes(b"\x1f\x8bnot gzip")
    assert mds("import", "bars", folder, *NAMED).code == 3
    with two_tenants(running) as other:
        with superuser(other.superuser_dsn) as connection:
            connection.execute("UPDATE store.tenants SET id = %s WHERE id = %s", [store.tenant_a, other.tenant_a])
        monkeypatch.setenv("MDS_DSN", other.dsn)
        assert "skipped" not in mds("import", "bars", folder, *NAMED).err
        assert closes(other, store.tenant_a).keys() == set("ABCDE")


def test_a_file_is_skipped_only_if_no_reimported_earlier_file_shares_its_rows(
    mds: Run, store: Store, folder: Path
) -> None:
    for path in folder.iterdir():
        path.unlink()
    written(folder / "A1.csv", 1.0)
    with (folder / "A1.csv").open("a") as file:
        file.write("close_price,ts\n1.0,2024-01-21\n")
    written(folder / "A2.csv", 2.0, range(18, 25))
    written(folder / "A3.csv", 3.0, range(24, 27))
    written(folder / "A4.csv", 4.0, range(28, 29))
    written(folder / "B.csv", 5.0)
    for skipped in ([], ["A4", "B"]):
        done = mds("import", "bars", folder, *NAMED, "--json")
        assert done.code == 3
        files = [Path(file["source"]).stem for file in done.json["files"] if file.get("skipped")]
        assert files == skipped
        rows = store.rows(
            "SELECT extract(day FROM ts)::int, close_price FROM store.bars JOIN store.series USING (series_id)"
            " WHERE symbol = 'A'"
        )
        assert dict(rows) == {day: 1.0 if day < 18 else 2.0 if day < 24 else 3.0 for day in range(1, 27)} | {28: 4.0}


def test_a_file_that_was_changed_and_changed_back_is_imported_again(mds: Run, store: Store, folder: Path) -> None:
    (folder / "broken.csv").write_bytes(b"\x1f\x8bnot gzip")
    for close, more in ((1.0, ""), (2.0, "close_price,ts\n1.0,2024-01-21\n"), (1.0, "")):
        written(folder / "A.csv", close)
        with (folder / "A.csv").open("a") as file:
            file.write(more)
        assert mds("import", "bars", folder, *NAMED).code == 3
        assert closes(store)["A"] == {close}


def test_rejects_of_a_skipped_file_still_set_the_exit_code(mds: Run, folder: Path) -> None:
    with (folder / "A.csv").open("a") as file:
        file.write("tomorrow,1\n")
    (folder / "broken.csv").write_bytes(b"\x1f\x8bnot gzip")
    assert mds("import", "bars", folder, *NAMED).code == 3
    (folder / "broken.csv").unlink()
    done = mds("import", "bars", folder, *NAMED, "--json")
    assert (done.code, [file["rejected"] for file in done.json["files"]]) == (3, [1, 0, 0, 0, 0])
    assert all(file["skipped"] for file in done.json["files"])


def test_an_unusable_import_journal_does_not_stop_the_import(
    mds: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file")
    done = mds("import", "bars", folder, *NAMED)
    assert (done.code, "the journal of imports cannot be used" in done.err) == (0, True), done.err
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    (tmp_path / "other" / "mds").mkdir(parents=True)
    (tmp_path / "other" / "mds" / "imports.sqlite").write_text("no database of any sort")
    done = mds("import", "bars", folder, *NAMED)
    assert (done.code, "the journal of imports cannot be used" in done.err) == (0, True), done.err
    # The system refuses even to look for it.
    monkeypatch.setenv("XDG_STATE_HOME", f"/{'x' * 300}")
    done = mds("import", "bars", folder, *NAMED)
    assert (done.code, "the journal of imports cannot be used" in done.err) == (0, True), done.err


def test_files_are_imported_in_parallel_and_reported_in_order(mds: Run, store: Store, folder: Path) -> None:
    (folder / "B.csv").write_text("when,what\n1,2\n")
    with (folder / "D.csv").open("a") as file:
        file.write("tomorrow,1\n")
    done = mds("import", "bars", folder, *NAMED, "--jobs", 3)
    assert done.code == 3
    assert closes(store) == {name: {1.0} for name in "ACDE"}
    assert [line.split()[0] for line in done.out.splitlines()] == [f"{folder}/{name}.csv:" for name in "ACDE"]
    assert "B.csv: 0 rows of bars written" in done.err
    assert "not complete: " in done.err
    assert "1 file of 5 not or not completely imported" in done.err.splitlines()[-1]
    (reject,) = map(json.loads, (folder / "D.csv.rejects.ndjson").read_text().splitlines())
    assert reject["line"] == 22


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopping_the_import_stops_its_processes_and_a_rerun_completes_it(
    mds: Run, store: Store, folder: Path, how: signal.Signals
) -> None:
    said = stopped(mds, store, folder, how, "CD", "--jobs", 2, "--part-rows", 5)
    if how == signal.SIGINT:
        assert [f"{name}.csv: 10 rows of bars written" in said for name in "CD"] == [True, True]
        assert "interrupted; the same command again completes it" in said
    until(lambda: not store.rows("SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = %s",
                                 "mds_service"))  # fmt: skip
    done = mds("import", "bars", folder, *NAMED, "--jobs", 2)
    assert (done.code, "2 files of 5 skipped" in done.err) == (0, True), done.err
    assert closes(store) == {name: {1.0} for name in "ABCDE"}


def test_ctrl_c_between_files_is_not_reported_as_success(
    mds: Run, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "end", lambda *_: signal.raise_signal(signal.SIGINT))
        done = mds("import", "bars", folder, *NAMED, "--jobs", 2)
    assert (done.code, closes(store).keys() < set("ABCDE")) == (130, True), done.err
    assert mds("import", "bars", folder, *NAMED).code == 0
    assert closes(store) == {name: {1.0} for name in "ABCDE"}


def test_import_processes_ignore_modules_in_the_current_folder_and_start_up_output(
    mds: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No copy of a warm process, because this is about the start. Python imports both files when it starts, the second
    # one if it is in its path.
    monkeypatch.setattr(sys, "executable", EXECUTABLE)
    (folder / "queue.py").write_text("raise SystemExit('a file of the user was imported')")
    (tmp_path / "sitecustomize.py").write_text("print('hello', end='', flush=True)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(folder)
    done = mds("import", "bars", "A.csv", "B.csv", *NAMED, "--jobs", 2)
    assert (done.code, "hello" in done.out + done.err) == (0, False), done.err


def test_rows_of_the_later_file_win_even_if_it_was_written_first(
    mds: Run, store: Store, folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        path.unlink()
    written(folder / "A1.csv", 1.0)
    written(folder / "A2.csv", 2.0, range(18, 25))
    written(folder / "A3.csv", 3.0, range(24, 27))
    written(tmp_path / "first.csv", 1.0, range(1, 2))
    assert mds("import", "bars", tmp_path / "first.csv", *OPTIONS, "--symbol", "A").code == 0
    with ExitStack() as stack:
        with held(store, "A") as wait:
            process = stack.enter_context(started(folder, *NAMED, "--jobs", 3))
            wait()
            until(lambda: closes(store)["A"] >= {2.0, 3.0})
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "A2.csv: may have rows with the same keys as" in err) == (0, True), err
    assert [line.split()[0] for line in out.splitlines()] == [f"{folder}/A{number}.csv:" for number in (1, 2, 3)]
    rows = store.rows("SELECT extract(day FROM ts)::int, close_price FROM store.bars ORDER BY 1")
    assert dict(rows) == {day: 1.0 if day < 18 else 2.0 if day < 24 else 3.0 for day in range(1, 27)}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by their environment in /proc")
def test_killing_an_import_process_fails_only_its_file(mds: Run, store: Store, folder: Path) -> None:
    begun(mds, folder, "C")
    with ExitStack() as stack:
        with held(store, "C") as wait:
            process = stack.enter_context(started(folder, *NAMED, "--jobs", 2))
            wait()
            until(lambda: closes(store).keys() == set("ABCDE"))
            for pid in workers(store):
                os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert f"{folder}/C.csv: the process that imported it was ended by signal 9" in out + err
    assert closes(store) == {name: {1.0} for name in "ABCDE"}
    assert mds("import", "bars", folder, *NAMED).code == 0
    assert store.rows("SELECT count(*) FROM store.bars") == [(100,)]


def test_an_import_process_that_is_the_victim_of_a_deadlock_tries_again(mds: Run, store: Store, folder: Path) -> None:
    begun(mds, folder, "CD")
    for path in folder.iterdir():
        path.unlink()
    (folder / "A.csv").write_text("symbol,ts,close_price\nA,2024-01-15,1\n")
    (folder / "CD.csv").write_text("symbol,ts,close_price\nC,2024-01-15,1\nD,2024-01-15,1\n")
    row = (
        "INSERT INTO store.bars (series_id, ts, close_price)"
        " SELECT series_id, '2024-01-15Z', 9 FROM store.series WHERE symbol = %s"
    )
    with superuser(store.superuser_dsn) as other:
        # The import waits first, and must look for a deadlock when the other session waits, too.
        other.execute(f"ALTER DATABASE {other.info.dbname} SET deadlock_timeout = '2s'")
        other.execute("SET deadlock_timeout = '1min'")
        with ExitStack() as stack:
            with other.transaction(force_rollback=True):
                other.execute(row, ["D"])
                process = stack.enter_context(started(folder, *OPTIONS, "--jobs", 2))
                until(lambda: len(store.rows(WAITING)) == 1)
                other.execute(row, ["C"])
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [line.split()[0] for line in out.splitlines()] == [f"{folder}/{name}.csv:" for name in ("A", "CD")]
    assert store.rows("SELECT count(*) FROM store.bars WHERE close_price = 1 AND ts = '2024-01-15Z'") == [(3,)]
    until(lambda: store.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(1,)])


def workers(store: Store) -> list[int]:
    """The processes that import into this database."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            is_worker = place.name.isdecimal() and b"import_worker" in (place / "cmdline").read_bytes()
            if is_worker and store.dsn.encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def test_parallel_jobs_are_rejected_with_on_conflict_keep_and_standard_input(
    mds: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = mds("import", "bars", folder, *NAMED, "--jobs", 2, "--on-conflict", "keep")
    assert (done.code, "the order of the files counts: --jobs is 1" in done.err) == (2, True)
    done = mds("import", "bars", folder / "A.csv", "-", *NAMED, "--jobs", 2)
    assert (done.code, "standard input cannot be imported beside other files" in done.err) == (2, True)
    monkeypatch.setattr(crew, "FILE_BYTES", 1)
    with (folder / "B.csv").open() as given:
        monkeypatch.setattr(sys, "stdin", given)
        done = mds("import", "bars", folder / "A.csv", folder / "C.csv", "-", *OPTIONS, "--symbol", "S")
    assert done.code == 0, done.err
