"""What happens to a tenant after it is made: disabled, enabled, exported, deleted with all that is its own."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pyarrow import parquet

from datastore import aggregates, jobs, tenants
from datastore.config import SettingsError
from datastore.errors import ControlError
from datastore.jobs import Cancelled, JobContext, JobFailed, JobRecord
from datastore.names import STORE
from datastore.schema import metadata
from mds_client import KINDS, MDS, Bar, Fundamentals, Instrument, News, OptionSnap
from mds_client.errors import RLSDenied
from tests.conftest import Store, plain_postgres
from tests.control.job_types import until, work

pytestmark = pytest.mark.every_engine

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTES = 30


@pytest.fixture
def role(store: Store) -> Iterator[str]:
    """A login of its own, gone after the test."""
    store.execute("CREATE ROLE one_login LOGIN PASSWORD 'x'")
    yield "one_login"
    store.execute("DROP OWNED BY one_login; DROP ROLE one_login")


def fill(store: Store, tenant: str) -> None:
    """Rows of every kind, stored rollups and a job, over more than one chunk; columnar where the engine can."""
    with MDS(dsn=store.dsn, tenant_id=tenant, app_name="filler") as client:
        times = [START + timedelta(days=day, minutes=n) for day in (0, 20) for n in range(MINUTES)]
        client.upsert_bars(
            [Bar(vendor="v", symbol=s, timeframe="1m", ts=ts, close_price=1.5, volume=3) for s in "XYZ" for ts in times]
        )
        client.upsert_fundamentals(
            [Fundamentals(vendor="v", symbol="X", asof=START, total_assets=7.0, items={"n": None, "x": 0.5})]
        )
        client.upsert_instruments([Instrument(vendor="v", symbol="X", asof=START, tick_size=0.25, items={"x": 0.5})])
        client.upsert_news([News(vendor="v", symbol="X", published_at=START, title="Häußer", id=str(uuid4()))])
        client.upsert_options([
            OptionSnap(vendor="v", symbol="X", expiry=START.date(), option_type="C", strike=1.0, ts=START, iv=2.0)
        ])  # fmt: skip
        client.enqueue_job("once", "a.type", {"n": 1})
    aggregates.refresh(store.admin_dsn)


def context(store: Store, job: JobRecord, report: Callable[..., None] | None = None) -> JobContext:
    return JobContext(job, store.admin_dsn, report) if report else JobContext(job, store.admin_dsn)


def order(store: Store, tenant: str = "a") -> tuple[JobRecord, tenants.DeletionOrder]:
    """A deletion that is put down, and its payload."""
    found = next(one for one in tenants.list_tenants(store.admin_dsn) if one.name == tenant)
    job = tenants.delete_tenant(store.admin_dsn, found.id, name=tenant)
    return job, tenants.DeletionOrder.model_validate(job.payload)


def left_of(store: Store, no: int) -> dict[str, int]:
    """Every table that has rows of a tenant, and how many; stored rollups included."""
    counts = {}
    places = [(STORE, table.name, "tenant_no" if "tenant_no" in table.c else "series_id >> 40")
              for table in metadata().sorted_tables
              if {"tenant_no", "series_id"} & set(table.c.keys())]  # fmt: skip
    if store.engine == "timescale":
        found = store.rows("SELECT materialization_hypertable_schema, materialization_hypertable_name"
                           " FROM timescaledb_information.continuous_aggregates")  # fmt: skip
        places += [(schema, name, "series_id >> 40") for schema, name in found]
    for schema, name, owner in [*places, (STORE, "tenants", "no")]:
        ((count,),) = store.rows(f'SELECT count(*) FROM "{schema}"."{name}" WHERE {owner} = %s', no)
        if count:
            counts[name] = count
    return counts


# Disabled, enabled ----------------------------------------------------------------------------------------------


def test_a_disabled_tenant_neither_reads_nor_writes_until_it_is_enabled(store: Store) -> None:
    fill(store, store.tenant_a)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        assert tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_a)).disabled_at is not None
        with pytest.raises(RLSDenied, match="unknown or disabled"):
            client.symbols()
        with pytest.raises(RLSDenied, match="unknown or disabled"):
            client.upsert_bars([Bar(vendor="v", symbol="X", timeframe="1m", ts=START)])
        assert tenants.enable_tenant(store.admin_dsn, UUID(store.tenant_a)).disabled_at is None
        assert client.symbols() == ["X", "Y", "Z"]


def test_disabling_a_tenant_again_keeps_the_first_time(store: Store) -> None:
    first = tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_a))
    assert tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_a)) == first


def test_an_unknown_tenant_is_named_in_the_error(store: Store) -> None:
    unknown = uuid4()
    for call in (tenants.disable_tenant, tenants.enable_tenant, tenants.plan_deletion):
        with pytest.raises(ControlError, match=f"there is no tenant '{unknown}'"):
            call(store.admin_dsn, unknown)


# Deleted --------------------------------------------------------------------------------------------------------


@plain_postgres
def test_a_dry_run_lists_what_would_be_deleted_and_changes_nothing(store: Store, role: str) -> None:
    for tenant in (store.tenant_a, store.tenant_b):
        fill(store, tenant)
    tenants.bind_role(store.admin_dsn, "a", role)
    plan = tenants.plan_deletion(store.admin_dsn, UUID(store.tenant_a))
    assert plan.rows == {"bars": 6 * MINUTES, "fundamentals": 1, "news": 1, "options": 1, "instruments": 1}
    assert (plan.name, plan.series, plan.records["jobs"], plan.roles) == ("a", 7, 1, [role])
    expected = {"bars_5m": 36, "bars_15m": 12, "bars_1h": 6, "bars_1d": 6} if store.engine == "timescale" else {}
    assert plan.rollups == expected
    assert tenants.plan_deletion(store.admin_dsn, UUID(store.tenant_a)) == plan
    assert tenants.list_tenants(store.admin_dsn)[0].disabled_at is None


def test_deleting_a_tenant_removes_all_of_its_rows_and_no_others(store: Store) -> None:
    for tenant in (store.tenant_a, store.tenant_b):
        fill(store, tenant)
    if store.engine == "timescale":
        store.execute("SELECT compress_chunk(c) FROM show_chunks('store.bars') AS c")
    kept = left_of(store, 2)
    assert (
        set(left_of(store, 1))
        == set(kept)
        >= {"bars", "fundamentals", "instruments", "news", "options", "series", "jobs"}
    )
    job, payload = order(store)
    told: list[tuple[int | None, int | None]] = []
    result = tenants.run_deletion(context(store, job, lambda done, total: told.append((done, total))), payload)
    assert left_of(store, 1) == {}
    assert left_of(store, 2) == kept
    assert result["rows"] == {"bars": 6 * MINUTES, "fundamentals": 1, "news": 1, "options": 1, "instruments": 1}
    assert json.dumps(result)
    steps = [step for step in told if step != (None, None)]
    assert steps == sorted(steps)
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1]
    aggregates.refresh(store.admin_dsn)
    assert left_of(store, 1) == {}
    with MDS(dsn=store.dsn, tenant_id=store.tenant_b) as client:
        assert len(client.rollup("X", "1d", START, START + timedelta(days=30), "v")) == 2


def test_deleting_a_tenant_keeps_rows_of_others_compressed(store: Store) -> None:
    for tenant in (store.tenant_a, store.tenant_b):
        fill(store, tenant)
    if store.engine == "timescale":
        store.execute("SELECT compress_chunk(c) FROM show_chunks('store.bars') AS c")
    job, payload = order(store)
    tenants.run_deletion(context(store, job), payload)
    if store.engine == "timescale":
        chunks = store.rows("SELECT chunk_schema, chunk_name FROM timescaledb_information.chunks"
                            " WHERE hypertable_name = 'bars'")  # fmt: skip
        assert [store.rows(f'SELECT count(*) FROM ONLY "{schema}"."{name}"') for schema, name in chunks] == [[(0,)]] * 2
    assert left_of(store, 2)["bars"] == 6 * MINUTES


@pytest.mark.parametrize("name", ["b", "A", "", "a "])
def test_a_deletion_must_confirm_the_exact_tenant_name(store: Store, name: str) -> None:
    with pytest.raises(ControlError, match="is not named"):
        tenants.delete_tenant(store.admin_dsn, UUID(store.tenant_a), name=name)
    assert tenants.list_tenants(store.admin_dsn)[0].disabled_at is None
    assert jobs.list_jobs(store.admin_dsn).items == []


def test_a_tenant_cannot_delete_another_with_its_own_job(store: Store) -> None:
    payload = {"tenant": store.tenant_b, "name": "b"}
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.enqueue_job("sly", tenants.DELETE, payload)
    (job,) = jobs.list_jobs(store.admin_dsn).items
    with pytest.raises(JobFailed, match="belong to the store: a tenant cannot have one"):
        jobs.accepted(jobs.load()[tenants.DELETE], job)
    assert tenants.list_tenants(store.admin_dsn)[1].disabled_at is None
    tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_b))
    assert tenants.enable_tenant(store.admin_dsn, UUID(store.tenant_b)).disabled_at is None


def test_a_tenant_that_is_being_deleted_is_disabled_and_cannot_be_enabled(store: Store) -> None:
    job, _ = order(store)
    assert tenants.list_tenants(store.admin_dsn)[0].disabled_at is not None
    with pytest.raises(ControlError, match="is being deleted"):
        tenants.enable_tenant(store.admin_dsn, UUID(store.tenant_a))
    # What has failed half-way has removed some of it.
    store.execute("UPDATE store.jobs SET state = 'failed' WHERE id = %s", job.id)
    with pytest.raises(ControlError, match=f"was being deleted when that failed: retry and cancel job {job.id} first"):
        tenants.enable_tenant(store.admin_dsn, UUID(store.tenant_a))
    jobs.retry_job(store.admin_dsn, job.id)
    jobs.cancel_job(store.admin_dsn, job.id)
    assert tenants.enable_tenant(store.admin_dsn, UUID(store.tenant_a)).disabled_at is None


def test_repeating_a_deletion_returns_the_same_job_and_restarts_a_cancelled_one(store: Store) -> None:
    job, _ = order(store)
    assert order(store)[0].id == job.id
    jobs.cancel_job(store.admin_dsn, job.id)
    assert (order(store)[0].id, order(store)[0].state) == (job.id, "queued")


def test_a_deletion_can_be_cancelled_between_two_steps_and_run_again(store: Store) -> None:
    fill(store, store.tenant_a)
    job, payload = order(store)

    def report(done: int | None, _: int | None) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        tenants.run_deletion(context(store, job, report), payload)
    left = left_of(store, 1)
    assert left["tenants"] == 1
    assert left.get("bars", 0) < 6 * MINUTES
    tenants.run_deletion(context(store, job), payload)
    assert left_of(store, 1) == {}
    assert tenants.run_deletion(context(store, job), payload) == {"tenant": store.tenant_a, "removed": "before"}


_CHILD = """
import sys, time
from datastore import jobs, tenants
dsn, id = sys.argv[1], int(sys.argv[2])
job = jobs.get_job(dsn, id)
def report(done, total):
    if done:
        print(done, flush=True)
        time.sleep(60)
tenants.run_deletion(jobs.JobContext(job, dsn, report), tenants.DeletionOrder.model_validate(job.payload))
"""


@pytest.mark.many_sessions
def test_a_deletion_that_was_killed_is_finished_by_the_next_run(store: Store) -> None:
    fill(store, store.tenant_a)
    job, payload = order(store)
    child = subprocess.Popen([sys.executable, "-c", _CHILD, store.admin_dsn, str(job.id)], stdout=subprocess.PIPE)
    assert child.stdout
    with child.stdout:
        assert int(child.stdout.readline()) > 0
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert left_of(store, 1)["series"] == 7
    tenants.run_deletion(context(store, job), payload)
    assert left_of(store, 1) == {}


@pytest.mark.many_sessions
def test_a_deletion_waits_for_transactions_that_were_writing_for_the_tenant(store: Store) -> None:
    fill(store, store.tenant_a)
    asked: list[int] = []
    with psycopg.connect(store.dsn) as writer:
        writer.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        writer.execute("INSERT INTO mds.series (kind, vendor, symbol, timeframe) VALUES ('bars', 'late', 'L', '1m')")
        job, payload = order(store)

        def report(done: int | None, _: int | None) -> None:
            asked.append(1)
            if len(asked) == 3:
                assert done is None
                writer.commit()

        tenants.run_deletion(context(store, job, report), payload)
    assert len(asked) > 3
    assert left_of(store, 1) == {}


@pytest.mark.many_sessions
def test_a_deletion_does_not_wait_for_logins_that_are_bound_to_another_tenant(store: Store, role: str) -> None:
    tenants.bind_role(store.admin_dsn, "b", role)
    with psycopg.connect(store.dsn, user=role, password="x") as other:
        other.execute("INSERT INTO mds.series (kind, vendor) VALUES ('news', 'v')")
        job, payload = order(store)
        tenants.run_deletion(context(store, job), payload)
    assert left_of(store, 1) == {}


@plain_postgres
@pytest.mark.many_sessions
@pytest.mark.parametrize("how", ["a statement that has begun", "a snapshot that was taken"])
def test_a_deletion_waits_for_statements_and_snapshots_that_predate_it(store: Store, how: str) -> None:
    fill(store, store.tenant_a)
    late = (
        "INSERT INTO mds.bars_keep (series_id, ts, close_price) SELECT series_id, ts + interval '7 s', 2 FROM mds.bars"
    )
    done: list[object] = []
    with psycopg.connect(store.dsn) as writer, psycopg.connect(store.dsn, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        if how.startswith("a snapshot"):
            writer.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        writer.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        writer.execute("SELECT count(*) FROM mds.bars")

        def write() -> None:
            try:
                done.append(writer.execute(f"{late}, (SELECT pg_advisory_xact_lock(7)) AS waits").rowcount)
                writer.commit()
            except psycopg.Error as refused:
                done.append(refused)
                writer.rollback()

        thread = threading.Thread(target=write)
        if how.startswith("a statement"):
            thread.start()
            until(lambda: store.rows("SELECT count(*) FROM pg_locks WHERE NOT granted AND objid = 7") == [(1,)])
        job, payload = order(store)
        asked = 0

        def report(_done: int | None, _total: int | None) -> None:
            nonlocal asked
            asked += 1
            if asked != 3:
                return
            assert done == []
            if not thread.is_alive():
                thread.start()
            holder.execute("SELECT pg_advisory_unlock(7)")
            thread.join()

        tenants.run_deletion(context(store, job, report), payload)
        assert len(done) == 1
    assert left_of(store, 1) == {}


@plain_postgres
def test_a_login_of_a_deleted_tenant_cannot_become_another_tenant(store: Store, role: str) -> None:
    fill(store, store.tenant_b)
    tenants.bind_role(store.admin_dsn, "a", role)
    job, payload = order(store)
    tenants.run_deletion(context(store, job), payload)
    assert left_of(store, 1) == {}
    with psycopg.connect(store.dsn, user=role, password="x") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_b,))
        connection.rollback()
        connection.execute("SELECT set_config('app.tenant_id', %s, false)", (store.tenant_b,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM public.bars")


@pytest.mark.many_sessions
def test_a_deletion_waits_for_bound_logins_to_log_out(store: Store, role: str) -> None:
    fill(store, store.tenant_b)
    tenants.bind_role(store.admin_dsn, "a", role)
    job, payload = order(store)
    seen: list[object] = []
    with psycopg.connect(store.dsn, user=role, password="x", autocommit=True) as session:
        # What this gives, a session keeps whatever is revoked.
        session.execute("SET ROLE mds_app")
        session.execute("SELECT set_config('app.tenant_id', %s, false)", (store.tenant_b,))

        def report(done: int | None, _: int | None) -> None:
            if done is not None or seen:
                return
            waiting = store.rows("SELECT pg_has_role(%s, 'mds_app', 'MEMBER')", role) == [(False,)]
            if waiting:
                seen.extend(session.execute("SELECT (SELECT count(*) FROM public.bars), mds.use_tenant(NULL)"))
                session.close()

        tenants.run_deletion(context(store, job, report), payload)
    assert seen == [(0, None)]
    assert left_of(store, 1) == {}


@plain_postgres
def test_a_bound_login_with_another_path_to_mds_app_blocks_the_last_deletion_step(store: Store, role: str) -> None:
    tenants.bind_role(store.admin_dsn, "a", role)
    store.execute(f"CREATE ROLE team IN ROLE mds_app; GRANT team TO {role}")
    try:
        job, payload = order(store)
        with pytest.raises(ControlError, match="role 'one_login' is a member of mds_app apart from its binding"):
            tenants.run_deletion(context(store, job), payload)
        assert left_of(store, 1) == {"tenants": 1, "tenant_roles": 1}
        store.execute(f"REVOKE team FROM {role}")
        tenants.run_deletion(context(store, job), payload)
        assert left_of(store, 1) == {}
    finally:
        store.execute("DROP ROLE team")


def test_a_binding_of_a_dropped_login_does_not_block_a_deletion(store: Store) -> None:
    store.execute("INSERT INTO store.tenant_roles (role, tenant_no) VALUES ('long_gone', 1)")
    job, payload = order(store)
    tenants.run_deletion(context(store, job), payload)
    assert left_of(store, 1) == {}


def test_an_old_deletion_job_does_not_delete_a_recreated_tenant(store: Store) -> None:
    job, payload = order(store)
    tenants.run_deletion(context(store, job), payload)
    tenants.create_tenant(store.admin_dsn, "a", id=UUID(store.tenant_a))
    # A worker that was killed before it could record the first one runs it again.
    with pytest.raises(
        JobFailed,
        match=f"tenant {store.tenant_a} is not the tenant 'a' that this job was created for: nothing was deleted",
    ):
        tenants.run_deletion(context(store, job), payload)
    assert order(store)[0].id != job.id


# Exported -------------------------------------------------------------------------------------------------------


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATASTORE_EXPORTS", str(tmp_path / "exports"))
    return tmp_path / "exports"


def export(store: Store, **options: Any) -> dict[str, Any]:
    job = tenants.export_tenant(store.admin_dsn, UUID(store.tenant_a), idempotency_key=str(uuid4()), **options)
    result: dict[str, Any] = tenants.run_export(context(store, job), tenants.ExportOrder.model_validate(job.payload))
    return result


@plain_postgres
@pytest.mark.parametrize("disabled", [False, True])
def test_exported_files_can_be_imported_by_another_tenant(store: Store, exports: Path, disabled: bool) -> None:
    fill(store, store.tenant_a)
    if disabled:
        tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_a))
    files = export(store)["files"]
    assert {file["kind"]: file["rows"] for file in files} == {
        "bars": 6 * MINUTES, "fundamentals": 1, "news": 1, "options": 1, "instruments": 1
    }  # fmt: skip
    tenants.enable_tenant(store.admin_dsn, UUID(store.tenant_a))
    ends = START - timedelta(days=1), START + timedelta(days=30)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as source, source.for_tenant(store.tenant_b) as target:
        for file in files:
            lines = [json.loads(line) for line in (exports / file["path"]).read_text().splitlines()]
            target.upsert(file["kind"], lines)
        mine, theirs = (
            [row.model_dump(exclude={"tenant_id"}) for row in client.bars_window(["X", "Y", "Z"], "1m", *ends, "v")]
            for client in (source, target)
        )
        assert mine == theirs
        assert len(mine) == 6 * MINUTES
        assert [news.title for news in target.news_window(*ends)] == ["Häußer"]


@pytest.mark.many_sessions
def test_a_disabled_tenant_can_be_exported(store: Store, exports: Path) -> None:
    fill(store, store.tenant_a)
    tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_a))
    job = tenants.export_tenant(store.admin_dsn, UUID(store.tenant_a), idempotency_key="leaves", kinds=["news"])
    again = tenants.export_tenant(store.admin_dsn, UUID(store.tenant_a), idempotency_key="leaves", kinds=["news"])
    assert (job.tenant, again.id) == (None, job.id)
    assert work(store.admin_dsn) == {"succeeded": 1}
    (file,) = jobs.get_job(store.admin_dsn, job.id).result["files"]
    assert (exports / file["path"]).read_text().count("\n") == file["rows"] == 1


def test_an_export_job_of_a_tenant_exports_only_its_own_rows(store: Store, exports: Path) -> None:
    fill(store, store.tenant_a)
    with psycopg.connect(store.admin_dsn) as connection:
        order = {"tenant": store.tenant_a, "kinds": ["bars"]}
        job = jobs.enqueue(connection, tenants.EXPORT, order, tenant=UUID(store.tenant_b), idempotency_key="not mine")
    done = tenants.run_export(context(store, job), tenants.ExportOrder.model_validate(job.payload))
    assert done["folder"] == f"{store.tenant_b}/{job.id}"
    assert [file["rows"] for file in done["files"]] == [0]
    assert list(exports.iterdir()) == [exports / store.tenant_b]


@plain_postgres
@pytest.mark.parametrize("format_", ["parquet", "ndjson"])
def test_an_export_has_the_rows_of_every_kind_as_the_tenant_reads_them(
    store: Store, exports: Path, format_: str
) -> None:
    fill(store, store.tenant_a)
    for file in export(store, format=format_)["files"]:
        kind, path = KINDS[file["kind"]], exports / file["path"]
        rows = (
            parquet.read_table(path).to_pylist()
            if format_ == "parquet"
            else [json.loads(line) for line in path.read_text().splitlines()]
        )
        found = [kind.model.model_validate({**row, "tenant_id": store.tenant_a}) for row in rows]
        with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
            read = [row for batch in client.iter_rows(kind) for row in batch]
        key = attrgetter(*kind.series, *kind.key)
        assert sorted(found, key=key) == sorted(read, key=key)
        # Beside what a model fills in by itself, the file names it.
        assert all(row[part] is not None for row in rows for part in kind.series)


def test_a_repeated_export_writes_the_same_files_and_removes_leftovers(store: Store, exports: Path) -> None:
    fill(store, store.tenant_a)
    job = tenants.export_tenant(store.admin_dsn, UUID(store.tenant_a), idempotency_key="x", kinds=["bars"])
    folder = exports / store.tenant_a / str(job.id)
    folder.mkdir(parents=True)
    (folder / ".bars.ndjson.of-a-killed-run").write_text("half")
    for _ in range(2):
        tenants.run_export(context(store, job), tenants.ExportOrder.model_validate(job.payload))
        assert [file.name for file in folder.iterdir()] == ["bars.ndjson"]


def test_an_export_needs_a_folder_and_a_known_kind_and_format(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATASTORE_EXPORTS", raising=False)
    with pytest.raises(SettingsError, match="set DATASTORE_EXPORTS"):
        export(store)
    with pytest.raises(ControlError, match="no kind 'trades'"):
        export(store, kinds=["trades"])
    with pytest.raises(ControlError, match="there is no format 'xlsx'"):
        export(store, format="xlsx")
