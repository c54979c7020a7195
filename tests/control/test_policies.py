"""Policies: what is declared, what an operator has set, what is in force, and what retention removes and leaves."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datastore import aggregates, migration, timescale_policies
from datastore.engines import CHUNKS_AT_ONCE, detect
from datastore.timescale_policies import PolicyError, PolicyState
from mds_client import KINDS, Bar, Fundamentals, Instrument, News, OptionSnap
from tests.conftest import Client, Store, plain_postgres

pytestmark = pytest.mark.every_engine

DAY: Final = timedelta(days=1)
ALWAYS: Final = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
ROLLUPS: Final = [f"bars_{rollup.timeframe}" for rollup in KINDS["bars"].rollups]
OLDEST: Final = 100


def state(store: Store, relation: str, policy: str) -> PolicyState:
    (found,) = [
        found
        for found in timescale_policies.policies(store.admin_dsn)
        if (found.relation, found.policy) == (relation, policy)
    ]
    return found


def jobs(store: Store) -> list[tuple[Any, ...]]:
    """The server's own jobs on our tables, with their numbers."""
    if store.engine != "timescale":
        return []
    return store.rows(
        "SELECT job_id, proc_name, hypertable_name, config FROM timescaledb_information.jobs"
        " WHERE hypertable_schema = 'store' ORDER BY 1"
    )


def run_jobs(store: Store, procedure: str) -> None:
    for job, found, *_ in jobs(store):
        if found == procedure:
            store.execute("CALL run_job(%s)", job)


def write_days(client: Client) -> None:
    """A row of every kind for each of the last hundred days: half a day old, and so many days."""
    newest = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - DAY / 2
    times = [newest - day * DAY for day in range(OLDEST)]
    client.upsert_bars(
        [
            Bar(vendor="v", symbol=symbol, timeframe="1m", ts=ts, close_price=number, volume=number)
            for symbol in ("AAPL", "MSFT")
            for number, ts in enumerate(times)
        ]
    )
    client.upsert_fundamentals([Fundamentals(vendor="v", symbol="AAPL", asof=ts, eps=1) for ts in times])
    client.upsert_instruments([Instrument(vendor="v", symbol="AAPL", asof=ts, tick_size=1) for ts in times])
    client.upsert_news([News(vendor="v", published_at=ts, title="t") for ts in times])
    client.upsert_options(
        [
            OptionSnap(vendor="v", symbol="AAPL", ts=ts, expiry=date(2199, 1, 1), option_type="P", strike=1, iv=1)
            for ts in times
        ]
    )


def kept(client: Client) -> dict[str, list[Any]]:
    return {kind: [row for part in client.iter_rows(kind) for row in part] for kind in KINDS}


# What is in force ---------------------------------------------------------------------------------------------------


def test_declared_policies_are_in_force_after_a_migration(store: Store) -> None:
    server = store.engine == "timescale"
    columnstore, refresh = ("server", "server") if server else ("nobody", "nobody")
    expected = [
        ("bars", "columnstore_after", 14 * DAY, columnstore, 14 * DAY if server else None),
        ("bars", "retention_after", None, "server" if server else "worker", None),
        ("bars", "cold_after", None, "worker", None),
        ("fundamentals", "retention_after", None, "worker", None),
        ("news", "columnstore_after", 60 * DAY, columnstore, 60 * DAY if server else None),
        ("news", "retention_after", None, "server" if server else "worker", None),
        ("options", "columnstore_after", 7 * DAY, columnstore, 7 * DAY if server else None),
        ("options", "retention_after", None, "server" if server else "worker", None),
        ("options", "cold_after", None, "worker", None),
        ("instruments", "retention_after", None, "worker", None),
        *((name, "refresh_within", None, refresh, None) for name in ROLLUPS),
    ]
    found = timescale_policies.policies(store.admin_dsn)
    assert [(one.relation, one.policy, one.declared, one.kept_by, one.in_force) for one in found] == expected
    assert all(one.effective == one.declared and not one.is_set for one in found)
    if server:
        assert sorted((name, procedure) for _, procedure, name, _ in jobs(store)) == sorted(
            [(name, "policy_compression") for name in ("bars", "news", "options")]
            + [(name, "policy_refresh_continuous_aggregate") for name in ROLLUPS]
        )


def test_policy_overrides_replace_declared_values_and_survive_a_migration(store: Store) -> None:
    server = store.engine == "timescale"
    timescale_policies.set_policy(store.admin_dsn, "bars", "columnstore_after", 21 * DAY)
    timescale_policies.set_policy(store.admin_dsn, "news", "columnstore_after", None)
    timescale_policies.set_policy(store.admin_dsn, "options", "retention_after", 90 * DAY)
    timescale_policies.set_policy(store.admin_dsn, "bars_1h", "refresh_within", 10 * DAY)
    migration.migrate(store.admin_dsn)
    for relation, policy, declared, value in (
        ("bars", "columnstore_after", 14 * DAY, 21 * DAY),
        ("news", "columnstore_after", 60 * DAY, None),
        ("options", "retention_after", None, 90 * DAY),
        ("bars_1h", "refresh_within", None, 10 * DAY),
    ):
        found = state(store, relation, policy)
        assert (found.declared, found.effective, found.is_set) == (declared, value, True)
        assert found.in_force == (value if server else None)
    assert [name for _, procedure, name, _ in jobs(store) if procedure == "policy_compression"] == (
        ["options", "bars"] if server else []
    )

    timescale_policies.unset_policy(store.admin_dsn, "bars", "columnstore_after")
    timescale_policies.unset_policy(store.admin_dsn, "options", "retention_after")
    found = state(store, "bars", "columnstore_after")
    assert (found.effective, found.is_set, found.in_force) == (14 * DAY, False, 14 * DAY if server else None)
    assert state(store, "options", "retention_after").in_force is None
    assert "policy_retention" not in {procedure for _, procedure, *_ in jobs(store)}


def test_reapplying_policies_changes_no_job(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    write_days(client)
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", 30 * DAY)
    timescale_policies.expire(store.admin_dsn)
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", None)
    before = jobs(store), timescale_policies.policies(store.admin_dsn)
    timescale_policies.apply_policies(store.admin_dsn)
    migration.migrate(store.admin_dsn)
    assert (jobs(store), timescale_policies.policies(store.admin_dsn)) == before


@plain_postgres
@pytest.mark.parametrize(
    ("relation", "policy", "value", "message"),
    [
        (
            "trades",
            "retention_after",
            DAY,
            "'trades' has no policy 'retention_after'; there are: bars cold_after, bars columnstore_after",
        ),
        ("fundamentals", "columnstore_after", DAY, "'fundamentals' has no policy 'columnstore_after'"),
        ("bars", "refresh_within", DAY, "'bars' has no policy 'refresh_within'"),
        ("bars", "retention_after", timedelta(0), "retention_after must be a positive age"),
        ("news", "columnstore_after", -DAY, "columnstore_after must be a positive age"),
        ("bars", "retention_after", DAY, "retention_after of bars is 2 days, 0:00:00 or more: two intervals"),
        ("bars_1h", "refresh_within", timedelta(hours=1), "refresh_within of bars_1h is 2:00:00 or more"),
    ],
)
def test_an_invalid_policy_is_rejected_and_changes_nothing(
    store: Store, relation: str, policy: str, value: timedelta, message: str
) -> None:
    before = jobs(store)
    with pytest.raises(PolicyError, match=message):
        timescale_policies.set_policy(store.admin_dsn, relation, policy, value)
    assert store.rows("SELECT * FROM store.policies") == []
    assert jobs(store) == before


@pytest.mark.parametrize("days", [2, 3, 6, 8, 30, 400])
def test_every_accepted_retention_can_be_enforced(store: Store, days: int) -> None:
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", days * DAY)
    if store.engine == "timescale":
        windows = [state(store, name, "refresh_within").in_force for name in ROLLUPS]
        assert all(within is not None and within <= days * DAY for within in windows)


def test_the_narrowest_refresh_window_of_every_rollup_can_be_enforced(store: Store) -> None:
    for rollup in KINDS["bars"].rollups:
        timescale_policies.set_policy(store.admin_dsn, f"bars_{rollup.timeframe}", "refresh_within", 2 * rollup.width)
        found = state(store, f"bars_{rollup.timeframe}", "refresh_within")
        assert found.in_force == (2 * rollup.width if store.engine == "timescale" else None)


@pytest.mark.engines("timescale")
def test_the_columnstore_policy_compresses_only_chunks_older_than_its_age(client: Client, store: Store) -> None:
    write_days(client)
    timescale_policies.set_policy(store.admin_dsn, "bars", "columnstore_after", 50 * DAY)
    run_jobs(store, "policy_compression")
    compressed = store.rows(
        "SELECT range_end < now() - interval '50 days', is_compressed, count(*) FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'bars' GROUP BY 1, 2 ORDER BY 1"
    )
    assert [(old, columnar) for old, columnar, _ in compressed] == [(False, False), (True, True)]


# Retention ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_retention_removes_exactly_what_its_dry_run_reports(client: Client, store: Store, kind: str) -> None:
    write_days(client)
    write_days(client.for_tenant(store.tenant_b))
    assert timescale_policies.expire(store.admin_dsn, dry_run=True) == []
    timescale_policies.set_policy(store.admin_dsn, kind, "retention_after", 30 * DAY)
    limit = datetime.now(UTC) - 30 * DAY
    before = kept(client)

    (would,) = timescale_policies.expire(store.admin_dsn, dry_run=True)
    assert (would.kind, would.older_than) == (kind, 30 * DAY)
    assert would.rows > 0
    assert kept(client) == before
    assert timescale_policies.expire(store.admin_dsn, "news" if kind != "news" else "bars", dry_run=True) == []

    assert timescale_policies.expire(store.admin_dsn) == [would]
    after = kept(client)
    assert {name: rows for name, rows in after.items() if name != kind} == {
        name: rows for name, rows in before.items() if name != kind
    }
    time = KINDS[kind].time
    gone = [row for row in before[kind] if row not in after[kind]]
    assert would.rows == 2 * len(gone)  # the other tenant's too
    assert max(getattr(row, time) for row in gone) < limit
    storage = KINDS[kind].storage
    if store.engine == "postgres" or storage is None:
        assert min(getattr(row, time) for row in after[kind]) >= limit
    else:
        # Whole chunks: what shares one with a row that is young enough stays with it.
        assert min(getattr(row, time) for row in after[kind]) >= limit - storage.chunk
    assert [one.rows for one in timescale_policies.expire(store.admin_dsn, dry_run=True)] == [0]
    assert [one.rows for one in timescale_policies.expire(store.admin_dsn)] == [0]


@pytest.mark.engines("timescale-apache")
def test_retention_removes_chunks_in_batches_and_keeps_completed_ones_on_failure(
    connect: Callable[..., Client], store: Store
) -> None:
    """One transaction takes the locks of so many chunks only. Where it stops, the oldest are gone."""
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    weeks = CHUNKS_AT_ONCE + 20
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - (weeks + 20) * 7 * DAY
    client.upsert_bars(
        [
            Bar(vendor="v", symbol="AAPL", timeframe="1d", ts=first + week * 7 * DAY, close_price=1.0)
            for week in range(weeks)
        ]
    )
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", 70 * DAY)
    (newest,) = store.rows(
        "SELECT format('%%I.%%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'bars' ORDER BY range_end DESC LIMIT 1"
    )[0]
    with psycopg.connect(store.superuser_dsn) as other:
        other.execute(f"LOCK TABLE {newest} IN SHARE MODE".encode())
        impatient = make_conninfo(store.admin_dsn, options="-c lock_timeout=100ms")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            timescale_policies.expire(impatient)
        assert len(kept(client)["bars"]) == weeks - CHUNKS_AT_ONCE
    (rest,) = timescale_policies.expire(store.admin_dsn)
    assert rest.rows == weeks - CHUNKS_AT_ONCE
    assert kept(client)["bars"] == []


@pytest.mark.parametrize("batch", [1, 7, 69, 70, 71])
@pytest.mark.engines("postgres")
def test_expired_rows_are_removed_with_any_batch_size(connect: Callable[..., Client], store: Store, batch: int) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    write_days(client)
    with psycopg.connect(store.admin_dsn) as driver:
        driver.execute("SET ROLE mds_owner")
        driver.commit()
        removed = detect(driver).expire(driver, KINDS["news"], 30 * DAY, batch=batch)
    assert (removed, len(kept(client)["news"])) == (71 - 1, 30)


@pytest.mark.engines("timescale")
def test_the_background_job_removes_what_a_dry_run_reports(client: Client, store: Store) -> None:
    write_days(client)
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", 30 * DAY)
    before = kept(client)
    (would,) = timescale_policies.expire(store.admin_dsn, dry_run=True)
    run_jobs(store, "policy_retention")
    after = kept(client)
    assert len(before["bars"]) - len(after["bars"]) == would.rows > 0
    assert {name: rows for name, rows in after.items() if name != "bars"} == {
        name: rows for name, rows in before.items() if name != "bars"
    }


def test_latest_prices_survive_the_removal_of_their_rows(client: Client, store: Store) -> None:
    old = Bar(vendor="v", symbol="OLD", timeframe="1m", ts=datetime(2020, 1, 1, tzinfo=UTC), close_price=5.0)
    client.upsert_bars([old])
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", 30 * DAY)
    timescale_policies.expire(store.admin_dsn)
    assert client.bars_window("OLD", "1m", *ALWAYS, "v") == []
    assert [(price.price, price.price_timestamp) for price in client.latest_prices(["OLD"], "v")] == [(5.0, old.ts)]
    # And it is written again as if it were new.
    client.upsert_bars([old])
    assert len(client.bars_window("OLD", "1m", *ALWAYS, "v")) == 1


# Retention and rollups ----------------------------------------------------------------------------------------------


def rollups(client: Client) -> list[list[Bar]]:
    return [client.rollup("AAPL", rollup.timeframe, *ALWAYS, "v") for rollup in KINDS["bars"].rollups]


@pytest.fixture
def thinned(client: Client, store: Store) -> list[list[Bar]]:
    """Rollups of a hundred days of bars, most of which retention has then removed."""
    write_days(client)
    aggregates.refresh(store.admin_dsn)
    made = rollups(client)
    assert [len(rows) for rows in made] == [OLDEST] * 4
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", 30 * DAY)
    run_jobs(store, "policy_retention")
    assert len(client.bars_window("AAPL", "1m", *ALWAYS, "v")) < 40
    return made


@pytest.mark.engines("timescale")
def test_rollups_keep_bars_removed_by_retention_when_policies_run(
    client: Client, store: Store, thinned: list[list[Bar]]
) -> None:
    windows = [state(store, name, "refresh_within").in_force for name in ROLLUPS]
    assert all(within is not None and within < 30 * DAY for within in windows)
    run_jobs(store, "policy_refresh_continuous_aggregate")
    assert rollups(client) == thinned


@pytest.mark.engines("timescale")
def test_rollups_keep_bars_removed_by_retention_after_a_full_refresh(
    client: Client, store: Store, thinned: list[list[Bar]]
) -> None:
    aggregates.refresh(store.admin_dsn)
    assert rollups(client) == thinned
    aggregates.refresh(store.admin_dsn, datetime.now(UTC) - 90 * DAY, datetime.now(UTC))
    assert rollups(client) == thinned


@pytest.mark.every_case
@pytest.mark.parametrize("longer", [None, 90 * DAY])
@pytest.mark.engines("timescale")
def test_rollups_keep_bars_removed_by_retention_when_it_is_disabled_or_extended(
    client: Client, store: Store, thinned: list[list[Bar]], longer: timedelta | None
) -> None:
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", longer)
    run_jobs(store, "policy_refresh_continuous_aggregate")
    assert rollups(client) == thinned


@pytest.mark.engines("timescale")
def test_policies_refresh_a_late_bar_within_the_retention_period(
    client: Client, store: Store, thinned: list[list[Bar]]
) -> None:
    newest = thinned[0][-1]
    late = Bar(vendor="v", symbol="AAPL", timeframe="1m", ts=newest.ts - 5 * DAY, close_price=77.0, volume=1000)
    client.upsert_bars([late])
    run_jobs(store, "policy_refresh_continuous_aggregate")
    # A run divides its work by what is noted as changed when it begins, and notes the rest for the next one.
    run_jobs(store, "policy_refresh_continuous_aggregate")
    for rows, before in zip(rollups(client), thinned, strict=True):
        changed = [row for row in rows if row not in before]
        assert [(row.close_price, row.volume) for row in changed] == [(77.0, 1000)]
        assert len(rows) == OLDEST


@pytest.mark.engines("timescale")
def test_refreshing_a_backfill_into_removed_time_changes_only_its_range(
    client: Client, store: Store, thinned: list[list[Bar]]
) -> None:
    oldest = thinned[3][0].ts
    again = Bar(vendor="v", symbol="AAPL", timeframe="1m", ts=oldest + DAY / 2, close_price=55.0)
    client.upsert_bars([again])
    aggregates.refresh(store.admin_dsn, oldest, oldest + DAY)
    for rows, before in zip(rollups(client), thinned, strict=True):
        assert [row.close_price for row in rows if row not in before] == [55.0]
        assert rows[1:] == before[1:]


@pytest.mark.engines("postgres", "timescale-apache")
def test_computed_rollups_cover_only_the_stored_rows(client: Client, store: Store) -> None:
    write_days(client)
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", 30 * DAY)
    timescale_policies.expire(store.admin_dsn)
    left = client.bars_window("AAPL", "1m", *ALWAYS, "v")
    assert 30 <= len(left) < 40
    assert [len(rows) for rows in rollups(client)] == [len(left)] * 4
