"""A network that falls silent without closing a socket: nothing waits for ever, and nothing is lost or doubled."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mds_client import (
    AMDS,
    AsyncBatchProcessor,
    BatchConfig,
    BatchProcessor,
    CommitUnknown,
    MDSOperationalError,
    RetryableError,
    ServerUnreachable,
)
from mds_client.protocol.connections import ServerSilent
from tests.clients.faults import START, bars, statement, until
from tests.conftest import Client, Store
from tests.relay import Relay

pytestmark = [
    pytest.mark.many_sessions,
    pytest.mark.engines("postgres"),  # it is the client that notices
]

SETTINGS: dict[str, Any] = {"statement_timeout_ms": 500, "connect_timeout": 1.0}


@pytest.fixture
def client(connect: Callable[..., Client], store: Store, relay: Relay) -> Client:
    client = connect(dsn=relay.dsn, tenant_id=store.tenant_a, **SETTINGS)
    client.upsert_bars(bars(1))
    return client


def test_calls_on_stranded_connections_are_repeated_on_new_ones(client: Client, relay: Relay) -> None:
    relay.strand()
    assert client.upsert_bars(bars(5)) == 5
    relay.strand()
    assert len(client.bars_window("S0", "1m", START, START.replace(day=2), "v")) == 5
    relay.strand()
    assert client.health()


def test_a_stream_on_a_stranded_connection_ends_with_an_error(client: Client, relay: Relay) -> None:
    client.upsert_bars(bars(50))
    parts = client.iter_rows("bars", batch_rows=10)
    assert len(next(parts)) == 10
    relay.strand()
    with pytest.raises(RetryableError) as caught:
        list(parts)
    assert isinstance(caught.value.__cause__, ServerSilent)


def test_a_network_that_stays_silent_raises_within_the_timeout(client: Client, relay: Relay) -> None:
    relay.silence()
    with pytest.raises(ServerUnreachable):
        client.upsert_bars(bars(5))
    relay.heal()

    def works() -> bool:
        # The pool may still wait for a connection that it was making in the silence.
        with suppress(MDSOperationalError):
            return bool(client.upsert_bars(bars(5)) == 5)
        return False

    until(works)


def test_a_transaction_whose_commit_is_not_acknowledged_raises_commit_unknown(client: Client, relay: Relay) -> None:
    def write() -> None:
        with client.transaction() as inner:
            inner.upsert_bars(bars(5))
            relay.strand()

    with pytest.raises(CommitUnknown):
        write()


def test_a_call_that_is_not_idempotent_is_not_repeated_after_a_silent_commit(client: Client, relay: Relay) -> None:
    relay.strand()
    with pytest.raises(CommitUnknown):
        client.run(statement(b"SELECT 1", idempotent=False, commit=True))


def test_a_batch_processor_continues_after_the_network_was_silent(client: Client, relay: Relay) -> None:
    if not hasattr(client, "wait"):
        with BatchProcessor(client, BatchConfig(max_rows=10, max_ms=500)) as batch:  # type: ignore[arg-type]
            relay.strand()
            for bar in bars(100):
                batch.add_bar(bar)
        assert (batch.stats().written, batch.stats().pending) == (100, 0)
        return

    async def feed(amds: AMDS) -> tuple[int, int]:
        async with AsyncBatchProcessor(amds, BatchConfig(max_rows=10, max_ms=500)) as batch:
            relay.strand()
            for bar in bars(100):
                await batch.add_bar(bar)
        return batch.stats().written, batch.stats().pending

    assert client.wait(feed(client._client)) == (100, 0)


def test_a_call_can_be_cancelled_while_the_network_is_silent(store: Store, relay: Relay) -> None:
    async def main() -> None:
        settings = {"dsn": relay.dsn, "tenant_id": store.tenant_a, "statement_timeout_ms": 600_000, "pool_max": 1}
        async with AMDS(settings) as amds:
            await amds.health()
            relay.strand()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await amds.health()
            assert await amds.health()

    asyncio.run(main())


def test_keepalives_are_on_by_default_and_the_dsn_can_override_them(
    connect: Callable[..., Client], store: Store
) -> None:
    given = connect(dsn=store.dsn).config.connection()
    assert {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"} <= set(given)
    assert "keepalives_idle" not in connect(dsn=f"{store.dsn}?keepalives_idle=7").config.connection()
