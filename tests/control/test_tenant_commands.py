"""`datastore tenants`, `datastore series` and `datastore freshness`: what is printed, for people and for programs."""

import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import click
import pytest

from datastore import idempotency, jobs, reads, tenants
from datastore.cli import command_line, main
from datastore.errors import ControlError, UnknownTenant
from mds_client import MDS, Bar, News
from mds_client.cli import main as mds_main
from mds_client.errors import RLSDenied
from tests.clients.test_cli import Run, commands, runs, use
from tests.conftest import Store

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, DATABASE_URL=store.admin_dsn)
    return runs(main, capsys, monkeypatch)


@pytest.fixture
def filled(store: Store) -> Store:
    """Bars of two symbols and two vendors, and news."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        for vendor, age in (("v", 1), ("w", 5)):
            client.upsert_bars([
                Bar(vendor=vendor, symbol=symbol, timeframe="1m", ts=NOW - timedelta(hours=age * n), close_price=n)
                for n, symbol in ((1, "X"), (2, "Y"))
            ])  # fmt: skip
        client.upsert_news([News(vendor="v", published_at=NOW - timedelta(hours=3), title="t")])
    return store


# The functions --------------------------------------------------------------------------------------------------


def test_series_are_listed_in_pages_in_creation_order(filled: Store) -> None:
    def page(**options: object) -> list[reads.SeriesRecord]:
        return reads.list_series(filled.admin_dsn, **options)  # type: ignore[arg-type]

    everything = page()
    assert [(one.kind, one.vendor, one.symbol) for one in everything] == [
        ("bars", "v", "X"), ("bars", "v", "Y"), ("bars", "w", "X"), ("bars", "w", "Y"), ("news", "v", None)
    ]  # fmt: skip
    assert everything[0].tenant == UUID(filled.tenant_a)
    assert (everything[0].last_ts, everything[0].last_price) == (NOW - timedelta(hours=1), 1.0)
    assert page(limit=2) + page(limit=9, after=everything[1].id) == everything
    assert page(kind="bars", vendor="w") == everything[2:4]
    assert page(tenant=UUID(filled.tenant_b)) == []
    with pytest.raises(UnknownTenant):
        page(tenant=uuid4())
    with pytest.raises(ControlError, match="there is no kind 'nothings'"):
        page(kind="nothings")
    with pytest.raises(ControlError, match="limit must be at least 1"):
        page(limit=0)


def test_freshness_is_per_kind_vendor_and_timeframe(filled: Store) -> None:
    found = {(one.kind, one.vendor, one.timeframe): one for one in reads.freshness(filled.admin_dsn)}
    assert list(found) == [("bars", "v", "1m"), ("bars", "w", "1m"), ("news", "v", None)]
    newest = found["bars", "w", "1m"]
    assert (newest.series, newest.newest) == (2, NOW - timedelta(hours=5))
    assert newest.furthest_behind == NOW - timedelta(hours=10)
    assert newest.age is not None
    assert timedelta(hours=5) <= newest.age < timedelta(hours=6)
    assert len(reads.freshness(filled.admin_dsn, vendor="v")) == 2
    assert reads.freshness(filled.admin_dsn, tenant=UUID(filled.tenant_b)) == []


def test_freshness_keeps_vendors_apart_whatever_their_names_contain(store: Store) -> None:
    names = ["v", "v\x01", "v\x01v", "\x01v"]
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_news([News(vendor=name, published_at=NOW, title="t") for name in names])
        client.upsert_bars([{"vendor": "v\x01v", "symbol": "X", "timeframe": "1d", "ts": NOW, "close_price": 1}])
    found = [(each.kind, each.vendor, each.timeframe, each.series) for each in reads.freshness(store.admin_dsn)]
    assert found == [("bars", "v\x01v", "1d", 1), *(("news", name, None, 1) for name in sorted(names))]


@pytest.mark.parametrize("limit", [None, 1, 2, 3])
def test_a_window_has_only_rows_of_its_tenant_up_to_the_limit(filled: Store, limit: int | None) -> None:
    with MDS(dsn=filled.dsn, tenant_id=filled.tenant_a, pool_max=1) as client:
        rows = list(reads.window(client, "bars", vendor="v", limit=limit))
        assert [getattr(row, "symbol") for row in rows] == ["X", "Y"][:limit]  # noqa: B009 - of any kind
        # The one connection is free again.
        assert client.symbols("bars") == ["X", "Y"]
        with client.for_tenant(filled.tenant_b) as other:
            assert list(reads.window(other, "bars", limit=limit)) == []


def test_a_window_of_a_disabled_tenant_is_refused(filled: Store) -> None:
    filled.execute("UPDATE store.tenants SET disabled_at = now()")
    with (
        MDS(dsn=filled.dsn, tenant_id=filled.tenant_a) as client,
        pytest.raises(RLSDenied, match="unknown or disabled"),
    ):
        list(reads.window(client, "bars"))


# The commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["a", "uuid"])
def test_disable_and_enable_by_name_or_uuid(run: Run, store: Store, named: str) -> None:
    name = "a" if named == "a" else store.tenant_a
    assert json.loads(run("tenants", "disable", name, "--json").out)["disabled_at"]
    assert tenants.list_tenants(store.admin_dsn)[0].disabled_at is not None
    assert json.loads(run("tenants", "enable", name, "--json").out)["disabled_at"] is None
    done = run("tenants", "disable", "nobody")
    assert (done.code, done.err) == (1, "error: there is no tenant 'nobody'\n")


def test_every_command_about_a_tenant_accepts_its_name_or_uuid() -> None:
    found = set()
    for path in commands(command_line()):
        command: click.Command = command_line()
        for word in path:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        for parameter in command.params:
            if parameter.name == "tenant":
                found.add(path)
                said = parameter.help if isinstance(parameter, click.Option) else command.help
                assert "by name or UUID" in (said or ""), path
                assert parameter.type.name == "text", path
    assert len(found) > 20


@pytest.mark.parametrize("command", ["series", "freshness", "jobs list", "backfill list", "calendars list"])
def test_listing_for_an_unknown_tenant_is_an_error(run: Run, filled: Store, command: str) -> None:
    for unknown in ("nobody", str(uuid4())):
        done = run(*command.split(), "--tenant", unknown)
        assert (done.code, done.err) == (1, f"error: there is no tenant {unknown!r}\n")
    by_name, by_id = (run(*command.split(), "--tenant", tenant) for tenant in ("a", filled.tenant_a))
    assert by_name.code == by_id.code == 0
    # Ages grow from one call to the next.
    assert by_name.out == by_id.out or command == "freshness"


def test_a_token_can_name_its_tenant_and_needs_no_database_for_a_uuid(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = ("token", "create", "--name", "n", "--scope", "read", "--json", "--tenant")
    assert json.loads(run(*create, "a").out)["line"].endswith(f"tenant={store.tenant_a}")
    done = run(*create, "nobody")
    assert (done.code, done.out, done.err) == (1, "", "error: there is no tenant 'nobody'\n")
    monkeypatch.delenv("DATABASE_URL")
    assert json.loads(run(*create, store.tenant_b).out)["line"].endswith(f"tenant={store.tenant_b}")
    assert json.loads(run(*create, "b", "--dsn", store.admin_dsn).out)["line"].endswith(f"tenant={store.tenant_b}")


def test_a_dry_run_of_a_tenant_deletion_prints_what_would_be_deleted(run: Run, filled: Store) -> None:
    done = run("tenants", "delete", filled.tenant_a, "--dry-run", "--json")
    plan = json.loads(done.out)
    assert (plan["name"], plan["rows"]["bars"], plan["rows"]["news"], plan["series"]) == ("a", 4, 1, 5)
    assert "rows" in run("tenants", "delete", filled.tenant_a, "--dry-run").out
    assert jobs.list_jobs(filled.admin_dsn).items == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "confirm with the tenant's name"),
        (("--yes-delete", "b"), 1, "is not named 'b': nothing was deleted"),
    ],
)
def test_deleting_a_tenant_needs_confirmation_with_its_name(
    run: Run, store: Store, options: tuple[str, ...], code: int, message: str
) -> None:
    done = run("tenants", "delete", store.tenant_a, *options)
    assert done.code == code
    assert message in done.err
    assert jobs.list_jobs(store.admin_dsn).items == []
    assert tenants.list_tenants(store.admin_dsn)[0].disabled_at is None


def test_a_confirmed_tenant_deletion_is_enqueued_as_a_job(run: Run, store: Store) -> None:
    job = json.loads(run("tenants", "delete", store.tenant_a, "--yes-delete", "a", "--json").out)
    assert (job["job_type"], job["state"], job["tenant"]) == ("delete-tenant", "queued", None)
    by_name = json.loads(run("tenants", "delete", "a", "--yes-delete", "a", "--json").out)
    assert by_name["id"] == job["id"]


@pytest.mark.parametrize("program", ["datastore", "mds"])
@pytest.mark.parametrize(
    ("command", "question"),
    [
        (("rename", "--symbol", "X", "--to-symbol", "Z"), "Rename 1 series?"),
        (("delete", "bars", "--symbol", "X"), "Delete 1 row for good?"),
    ],
    ids=["rename", "delete"],
)
def test_rename_and_delete_commands_ask_for_confirmation(
    program: str, command: tuple[str, ...], question: str, filled: Store,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    use(monkeypatch, DATABASE_URL=filled.admin_dsn, MDS_DSN=filled.dsn, MDS_TENANT_ID=filled.tenant_a)
    run = runs({"datastore": main, "mds": mds_main}[program], capsys, monkeypatch)
    given = (*command, "--vendor", "v", *(("--tenant", "a") if program == "datastore" else ()))

    def stored() -> list[tuple[Any, ...]]:
        bars = "store.bars JOIN store.series USING (series_id)"
        return filled.rows(f"SELECT symbol, ts FROM {bars} WHERE vendor = 'v' ORDER BY 1, 2")

    before = stored()
    asked = run(*given, "--json")
    assert (asked.code, stored()) == (2, before)
    assert "nobody is asked: add --yes, or --dry-run" in asked.err
    for answer, code in (("n\n", 1), ("", 130), ("y\n", 0)):
        assert stored() == before
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        done = run(*given)
        assert done.code == code, done.err
        assert question in done.err
        assert done.out.startswith("kind") or done.out.startswith("vendor"), "what it is about is shown first"
    assert [symbol for symbol, _ in stored()] == (["Y", "Z"] if command[0] == "rename" else ["Y"])


def test_an_export_is_a_job_of_the_tenant(run: Run, store: Store) -> None:
    arguments = ("tenants", "export", "a", "--key", "k", "--format", "parquet", "--kind", "bars", "--json")
    job = json.loads(run(*arguments).out)
    assert (job["job_type"], job["tenant"]) == ("export-tenant", store.tenant_a)
    assert job["payload"] == {"format": "parquet", "kinds": ["bars"]}
    assert json.loads(run(*arguments).out)["id"] == job["id"]
    # As over HTTP, and apart from keys that the tenant's applications choose.
    assert job["idempotency_key"] == idempotency.job_key("k", "export-tenant")
    nameless = run("tenants", "export", "a", "--key", " ")
    assert (nameless.code, "Invalid value for --key: it is empty" in nameless.err) == (2, True)


def test_numbers_that_json_cannot_represent_are_null(run: Run, filled: Store) -> None:
    filled.execute("UPDATE store.series SET last_price = 'NaN', last_price_ts = now()")
    found = run("series", "--json")
    assert {series["last_price"] for series in json.loads(found.out)} == {None}
    run("jobs", "enqueue", "x", "--idempotency-key", "k")
    filled.execute("UPDATE store.jobs SET result = jsonb_build_object('most', ARRAY[1e400 + 0.5, 2])")
    # What JSON has, and Python has no number for, is shown as it is.
    assert json.loads(run("jobs", "list", "--json").out)[0]["result"].startswith('{"most": [10000')


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("series",), lambda out: out.count("bars") == 4 and "news" in out),
        (("series", "--kind", "news"), lambda out: "bars" not in out and "news" in out),
        (("freshness",), lambda out: out.count("1m") == 2),
        (("freshness", "--vendor", "w"), lambda out: out.count("bars") == 1),
    ],
)
def test_series_and_freshness_print_a_table_and_json(
    run: Run, filled: Store, arguments: tuple[str, ...], shown: Callable[[str], bool]
) -> None:
    done = run(*arguments)
    assert (done.code, done.err) == (0, "")
    assert shown(done.out)
    rows = json.loads(run(*arguments, "--json").out)
    assert len(rows) == len(done.out.splitlines()) - 1
