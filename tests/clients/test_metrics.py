"""What a client does, counted: on a registry of one's own, with labels that stay few."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from mds_client import MDS, Bar, BatchConfig, BatchProcessor, Reject, RLSDenied, TimeoutExceeded
from mds_client.errors import RetryableError
from mds_client.metrics import ClientMetrics
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from tests.conftest import Client, Store

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def bars(count: int) -> list[Bar]:
    return [
        Bar(vendor="v", symbol="A", timeframe="1m", ts=NOON + timedelta(minutes=minute), close_price=minute)
        for minute in range(count)
    ]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def counted(connect: Callable[..., Client], store: Store, registry: CollectorRegistry) -> Client:
    return connect(
        dsn=store.dsn, tenant_id=store.tenant_a, observer=ClientMetrics(registry), retry_base_ms=1, app_name="counted"
    )


def test_rows_and_batches_are_counted_by_kind_and_mode(counted: Client, registry: CollectorRegistry) -> None:
    counted.upsert_bars(bars(3))
    counted.upsert_bars(bars(2))
    counted.upsert_bars(bars(1))
    labels = {"kind": "bars", "mode": "values"}
    assert registry.get_sample_value("mds_rows_total", labels) == 5
    assert registry.get_sample_value("mds_batches_total", labels) == 2
    assert registry.get_sample_value("mds_write_seconds_count", labels) == 2
    assert registry.get_sample_value("mds_rows_total", {"kind": "bars", "mode": "executemany"}) == 1
    assert registry.get_sample_value("mds_operation_seconds_count", {"operation": "upsert_bars"}) == 3


def test_an_error_is_counted_by_its_class(counted: Client, registry: CollectorRegistry, store: Store) -> None:
    foreign = bars(1)[0].model_copy(update={"tenant_id": store.tenant_b})
    with pytest.raises(RLSDenied):
        counted.upsert_bars([foreign])
    labels = {"operation": "upsert_bars", "error": "RLSDenied"}
    assert registry.get_sample_value("mds_errors_total", labels) == 1
    assert registry.get_sample_value("mds_rows_total", {"kind": "bars", "mode": "executemany"}) is None


def test_a_retry_is_counted(counted: Client, registry: CollectorRegistry) -> None:
    attempts: list[int] = []

    def talk(_: Session) -> Talk[int]:
        attempts.append(1)
        if len(attempts) < 3:
            yield Group((Execute(b"DO $$ BEGIN RAISE serialization_failure; END $$"),))
        yield Group((Execute(b"SELECT 1"),))
        return len(attempts)

    assert counted.run(Operation("probe", talk)) == 3
    labels = {"operation": "probe", "error": RetryableError.__name__}
    assert registry.get_sample_value("mds_retries_total", labels) == 2
    assert registry.get_sample_value("mds_errors_total", labels) is None


def test_pool_connections_are_reported(counted: Client, registry: CollectorRegistry) -> None:
    counted.upsert_bars(bars(1))
    idle, busy = (
        registry.get_sample_value("mds_pool_connections", {"app_name": "counted", "state": state})
        for state in ("idle", "busy")
    )
    assert idle is not None
    assert busy is not None
    assert idle + busy >= 1
    assert registry.get_sample_value("mds_pool_requests_waiting", {"app_name": "counted"}) == 0


def test_labels_contain_no_vendor_symbol_or_tenant(counted: Client, registry: CollectorRegistry, store: Store) -> None:
    counted.upsert_bars(bars(1))
    counted.latest_prices(["A"], "v")
    labels = {value for metric in registry.collect() for sample in metric.samples for value in sample.labels.values()}
    assert not labels & {"v", "A", store.tenant_a}


@pytest.mark.many_sessions
def test_a_statement_timeout_is_counted_as_an_error(counted: Client, registry: CollectorRegistry) -> None:
    def talk(_: Session) -> Talk[None]:
        yield Group((Execute(b"SELECT set_config('statement_timeout', '20', true)"),))
        yield Group((Execute(b"SELECT pg_sleep(30)"),))

    with pytest.raises(TimeoutExceeded):
        counted.run(Operation("slow", talk))
    assert registry.get_sample_value("mds_errors_total", {"operation": "slow", "error": "TimeoutExceeded"}) == 1


def test_rejected_rows_are_counted_by_kind(store: Store, registry: CollectorRegistry) -> None:
    store.execute("ALTER TABLE store.bars ADD CONSTRAINT cheap CHECK (close_price < 5)")
    rejects: list[Reject] = []
    with (
        MDS(
            dsn=store.dsn, tenant_id=store.tenant_a, observer=ClientMetrics(registry), prepare_threshold=None
        ) as client,
        BatchProcessor(client, BatchConfig(max_rows=100), on_reject=rejects.append) as processor,
    ):
        for bar in bars(7):
            processor.add(bar)
    assert [reject.row.close_price for reject in rejects] == [5, 6]
    assert registry.get_sample_value("mds_rejects_total", {"kind": "bars"}) == 2
