"""`datastore gaps`, `backfill` and `calendars`: what is printed, for people and for programs."""

import json
from datetime import date
from pathlib import Path

import pytest

from datastore import backfill
from datastore.cli import main
from datastore.commands.gaps import draw
from datastore.gaps import Day
from mds_client import MDS, Bar
from tests.clients.test_cli import Run, runs, use
from tests.conftest import Store
from tests.control.http_source import minutes
from tests.control.job_types import process, until, work, working

FRIDAY = minutes("2024-03-08T14:30", "2024-03-08T21:00")
MONDAY = minutes("2024-03-11T13:30", "2024-03-11T20:00")
WHAT = ("--tenant", "a", "--vendor", "v", "--start", "2024-03-08", "--end", "2024-03-12", "--calendar", "XNYS")


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, DATABASE_URL=store.admin_dsn)
    return runs(main, capsys, monkeypatch)


@pytest.fixture
def half(store: Store) -> Store:
    """All of Friday but two minutes, and nothing of Monday."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        client.upsert_bars(
            [Bar(vendor="v", symbol="S", timeframe="1m", ts=ts, close_price=1) for ts in FRIDAY if ts.minute != 59][2:]
        )
    return store


@pytest.fixture
def source(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """A source that has all of it, as it is given on the command line."""
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    (tmp_path / "S.csv").write_text("ts\n" + "\n".join(ts.isoformat() for ts in (*FRIDAY, *MONDAY)))
    return json.dumps({"type": "files", "path": "{symbol}.csv"})


def test_gaps_prints_a_table_with_a_summary(half: Store, run: Run) -> None:
    done = run("gaps", *WHAT)
    lines = done.out.splitlines()
    assert lines[0].split() == ["symbol", "start", "end", "missing"]
    assert lines[1].split() == ["S", "2024-03-08T14:30:00+00:00", "2024-03-08T14:32:00+00:00", "2"]
    assert lines[-1] == "1 series: 399 of 780 bars are missing (51.15%)"
    assert run("gaps", *WHAT, "--limit", "2").err == "and 6 more gaps\n"
    long = run("gaps", *WHAT, "--at-least", "3").out.splitlines()
    assert long[1].split() == ["S", "2024-03-08T20:59:00+00:00", "2024-03-11T20:00:00+00:00", "391"]


def test_gaps_prints_json_for_programs(half: Store, run: Run) -> None:
    found = run("gaps", *WHAT, "--json").json
    assert (found["series"], found["expected"], found["missing"], len(found["gaps"])) == (1, 780, 399, 8)
    assert found["gaps"][0]["tenant"] == half.tenant_a
    assert found["days"][1] == {"day": "2024-03-11", "expected": 390, "missing": 390}
    assert found["more_gaps"] == 0
    some = run("gaps", *WHAT, "--json", "--limit", "3").json
    assert (some["gaps"], some["missing"], some["more_gaps"]) == (found["gaps"][:3], 399, 5)
    both = run("gaps", *WHAT, "--json", "--picture")
    assert (both.code, both.out) == (2, "")
    assert "--picture and --json cannot be used together" in both.err


def test_days_with_several_bars_are_listed_and_counted(run: Run, store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        client.upsert_bars([
            Bar(vendor="v", symbol="S", timeframe="1d", ts=f"2024-01-{day:02}T{hour:02}:00Z", close_price=1)  # type: ignore[arg-type]
            for day in (2, 3, 4) for hour in (0, 5)
        ])  # fmt: skip
    what = ("--tenant", "a", "--vendor", "v", "--timeframe", "1d", "--calendar", "XNYS",
            "--start", "2024-01-02", "--end", "2024-01-05", "--limit", "2")  # fmt: skip
    assert [line.split() for line in run("gaps", *what).out.splitlines()] == [
        ["1", "series:", "0", "of", "3", "bars", "are", "missing", "(0.00%)"],
        ["symbol", "day", "bars"],
        ["S", "2024-01-02", "2"],
        ["S", "2024-01-03", "2"],
        ["several", "bars", "where", "one", "is", "expected:", "3", "intervals"],
    ]
    assert run("gaps", *what, "--picture").out.splitlines()[-1] == "several bars where one is expected: 3 intervals"
    found = run("gaps", *what, "--json").json
    assert (found["missing"], found["repeated"], len(found["repeats"])) == (0, 3, 2)
    assert found["repeats"][0] == {
        "symbol": "S", "day": "2024-01-02", "start": "2024-01-02T00:00:00+00:00", "end": "2024-01-03T00:00:00+00:00",
        "bars": 2,
    }  # fmt: skip


def test_the_picture_has_a_mark_for_every_day(half: Store, run: Run) -> None:
    lines = run("gaps", *WHAT, "--picture").out.splitlines()
    assert lines[1] == "2024-03 " + "." * 7 + "+" + ".." + "0" + "." * 20
    assert lines[2].split("  ") == ["", "", "", "", "# complete", "+ 90 % or more", "- some", "0 nothing",
                                    ". closed or not due"]  # fmt: skip
    assert "\x1b" not in "".join(lines)


def test_every_share_of_a_day_has_its_mark(capsys: pytest.CaptureFixture[str]) -> None:
    draw(Day(date(2024, 2, number), 100, missing) for number, missing in enumerate((0, 1, 10, 11, 99, 100), start=1))
    assert capsys.readouterr().out.splitlines()[1] == "2024-02 #++--0" + "." * 25


def test_a_backfill_is_planned_started_completed_and_listed(half: Store, run: Run, source: str) -> None:
    planned = run("backfill", "plan", *WHAT, "--source", source)
    assert planned.out.splitlines()[-1] == "399 bars of 1 series in 8 gaps: 2 jobs"
    as_json = run("backfill", "plan", *WHAT, "--source", source, "--json").json
    assert (len(as_json["chunks"]), as_json["jobs"]) == (2, 2)
    started = run("backfill", "start", *WHAT, "--source", source, "--key", "k", "--json").json
    assert (started["state"], started["missing"], started["jobs"]["queued"]) == ("queued", 399, 2)
    assert run("backfill", "start", *WHAT, "--source", source, "--key", "k", "--json").json["id"] == started["id"]
    (listed,) = run("backfill", "list", "--json").json
    assert listed["id"] == started["id"]
    assert run("backfill", "list").out.splitlines()[1].split()[:3] == [str(started["id"]), half.tenant_a, "v"]


@pytest.mark.many_sessions
def test_start_warns_if_no_running_worker_can_read_the_source(
    half: Store, run: Run, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = ("backfill", "start", *WHAT, "--source", source, "--key", "k")
    nobody = (
        "warning: no worker runs: start one (datastore worker) that has DATASTORE_SOURCE_ROOT and the source files\n"
    )
    assert run(*what).err == nobody
    with process(half.admin_dsn, DATASTORE_SOURCE_ROOT=""):
        cannot = (
            "warning: 1 worker running, none of which can read the source: start one that has DATASTORE_SOURCE_ROOT\n"
        )
        until(lambda: run(*what).err != nobody)
        assert run(*what, "--json").err == cannot
    with working(half.admin_dsn):
        until(lambda: run(*what).err == "")


def test_repeating_a_start_without_an_end_returns_the_same_backfill(half: Store, run: Run, source: str) -> None:
    what = (*WHAT[:6], "--calendar", "XNYS", "--source", source, "--chunk-days", "3660", "--key", "k", "--json")
    made = run("backfill", "start", *what).json
    again = run("backfill", "start", *what).json
    assert (again["id"], again["end"]) == (made["id"], made["end"])
    assert "already exists" in run("backfill", "start", *what, "--end", "2024-03-12").err


def test_priority_and_attempts_of_backfill_jobs_can_be_set(half: Store, run: Run, source: str) -> None:
    run("backfill", "start", *WHAT, "--source", source, "--priority", "80", "--attempts", "2")
    assert {(job["priority"], job["max_attempts"]) for job in run("jobs", "list", "--json").json} == {(80, 2)}
    assert run("backfill", "plan", *WHAT, "--source", source, "--priority", "0", "--attempts", "1").code == 0


@pytest.mark.many_sessions
def test_following_ends_with_the_report(half: Store, run: Run, source: str, tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(source)
    with working(half.admin_dsn):
        done = run("backfill", "start", *WHAT, "--source", f"@{tmp_path / 'source.json'}", "--follow", "--json").json
    assert (done["state"], done["done"], done["report"]["missing"]) == ("succeeded", 399, 0)
    shown = run("backfill", "status", str(done["id"])).out
    assert "report           0 bars still missing, in 0 gaps" in shown
    assert "jobs             2 succeeded" in shown


@pytest.mark.many_sessions
def test_a_failed_backfill_exits_with_1_and_can_be_resumed(half: Store, run: Run, source: str, tmp_path: Path) -> None:
    made = run("backfill", "start", *WHAT, "--source", source, "--json").json["id"]
    half.execute("UPDATE store.jobs SET max_attempts = 1")
    (tmp_path / "S.csv").rename(tmp_path / "gone")
    work(half.admin_dsn)
    failed = run("backfill", "status", str(made), "--json")
    assert (failed.code, failed.json["state"], failed.json["jobs"]["failed"]) == (1, "failed", 2)
    assert "no file matches" in failed.json["errors"][0]
    (tmp_path / "gone").rename(tmp_path / "S.csv")
    with working(half.admin_dsn):
        done = run("backfill", "resume", str(made), "--follow", "--json")
    assert (done.code, done.json["state"], done.json["report"]["missing"]) == (0, "succeeded", 0)


def test_a_backfill_is_cancelled_and_resumed(half: Store, run: Run, source: str) -> None:
    made = run("backfill", "start", *WHAT, "--source", source, "--json").json["id"]
    assert run("backfill", "cancel", str(made), "--json").json["state"] == "cancelled"
    assert run("backfill", "resume", str(made), "--json").json["state"] == "queued"
    assert backfill.get_backfill(half.admin_dsn, made).jobs["queued"] == 2


def test_calendars_are_set_listed_and_unset(store: Store, run: Run) -> None:
    assert run("calendars", "list").err == "no calendars are set\n"
    made = run("calendars", "set", "NYSE", "--tenant", "a", "--vendor", "v", "--json").json
    assert made == {"tenant": store.tenant_a, "vendor": "v", "symbol": None, "calendar": "XNYS"}
    assert run("calendars", "list", "--json").json == [made]
    assert run("calendars", "unset", "--tenant", "a").out == "nothing was set there\n"
    assert run("calendars", "unset", "--tenant", "a", "--vendor", "v").out == "unset\n"
    assert {"24/7", "FX", "XNYS", "NYSE"} <= set(run("calendars", "names").out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gaps", *WHAT[:-1], "XNIS"), "there is no calendar 'XNIS'; near it: "),
        (("gaps", *WHAT, "--vendor", "w"), "there are no 1m bars of w"),
        (("gaps", *WHAT, "--tenant", "nobody"), "there is no tenant 'nobody'"),
        (("gaps", *WHAT, "--end", "2024-01-01"), "the range is empty"),
        (("backfill", "plan", *WHAT, "--source", "{"), "--source is not JSON"),
        (("backfill", "plan", *WHAT, "--source", '"hunter2"'), "error: --source must be a JSON object\n"),
        (("backfill", "plan", *WHAT, "--source", "[" * 100_000), "--source is not JSON: "),
        (("backfill", "plan", *WHAT, "--source", '{"type": "files"}'), "source 'files': path: Field required"),
        (("backfill", "status", "999"), "there is no backfill 999"),
        (("calendars", "set", "XNIS", "--tenant", "a"), "there is no calendar 'XNIS'"),
        (("calendars", "set", "24/7", "--tenant", "a", "--vendor", " "), "vendor: String should have at least 1"),
        (("calendars", "unset", "--tenant", "a", "--symbol", "\udcff"), "symbol: Input should be a valid string"),
    ],
)
def test_an_impossible_request_prints_one_error_line_and_exits_with_1(
    half: Store, run: Run, source: str, arguments: tuple[str, ...], message: str
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1
