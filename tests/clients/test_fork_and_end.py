"""Clients in forked processes, in several event loops, and clients that nobody closes."""

import asyncio
import gc
import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from mds_client import AMDS, MDS, BatchConfig, BatchProcessor, ConfigurationError, MDSOperationalError
from tests.clients.faults import START, bars, until
from tests.conftest import Store

pytestmark = [
    pytest.mark.many_sessions,
    pytest.mark.engines("postgres"),  # what a client does by itself
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of Python 3.12 on: this process has threads
]

END = START.replace(day=2)


def in_child(function: Callable[[], Any]) -> Any:
    """What a function answers in a forked process, or the error that it raises there."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child(answers: Connection) -> None:
        try:
            answers.send(function())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answers.send(error)

    process = context.Process(target=child, args=(sender,))
    process.start()
    try:
        assert receiver.poll(60), "the forked process does not answer"
        answer = receiver.recv()
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()
    return answer


def test_a_forked_process_uses_a_client_of_its_parent(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_bars(bars(1))

        def write_and_read() -> int:
            client.upsert_bars(bars(30))
            return len(client.bars_window("S0", "1m", START, END, "v"))

        assert [in_child(write_and_read) for _ in range(3)] == [30, 30, 30]
        # The parent's connections are as they were.
        assert len(client.bars_window("S0", "1m", START, END, "v")) == 30


def test_a_forked_process_uses_an_asynchronous_client_of_its_parent(store: Store) -> None:
    client = AMDS(dsn=store.dsn, tenant_id=store.tenant_a)

    async def write() -> int:
        async with client:
            return await client.upsert_bars(bars(5))

    assert in_child(lambda: asyncio.run(write())) == 5
    assert asyncio.run(write()) == 5


def test_a_transaction_of_the_parent_is_refused_in_a_forked_process(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client, client.transaction() as transaction:
        transaction.upsert_bars(bars(5))
        error = in_child(lambda: transaction.upsert_bars(bars(5)))
        assert isinstance(error, ConfigurationError)
        assert "forked" in str(error)
        assert transaction.upsert_bars(bars(5)) == 5


def test_only_the_parent_writes_rows_that_were_pending_at_a_fork(store: Store) -> None:
    with (
        MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client,
        BatchProcessor(client, BatchConfig(max_ms=60_000)) as batch,
    ):
        batch.add_bar(bars(1)[0])
        for call in (batch.flush, lambda: batch.add_bar(bars(2)[1])):
            error = in_child(call)
            assert isinstance(error, ConfigurationError)
            assert "1 rows were pending" in str(error)
        batch.flush()
        assert batch.stats().written == 1

        def write() -> int:
            batch.add_bar(bars(2)[1])
            batch.flush()
            return batch.stats().written

        # Nothing is pending now: the processor begins anew in the child.
        assert in_child(write) == 2


def test_an_asynchronous_client_in_a_second_event_loop_is_an_error(store: Store) -> None:
    def in_two_loops() -> None:
        client = AMDS(dsn=store.dsn, tenant_id=store.tenant_a)

        async def use() -> None:
            await client.health()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            asyncio.run(use())
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(use())

    in_two_loops()
    # The end of the first loop has warned. The collection does not warn again.
    gc.collect()


NOT_CLOSED = """
import asyncio, sys
from mds_client import AMDS
async def main():
    amds = AMDS({"dsn": sys.argv[1], "tenant_id": sys.argv[2], "pool_max": 10})
    await asyncio.gather(*(amds.latest_prices(["AAPL"], vendor="v") for _ in range(int(sys.argv[3]))))
asyncio.run(main())
print("ended")
"""


@pytest.mark.parametrize("calls", [1, 3, 40])
def test_a_program_exits_even_if_it_does_not_close_its_asynchronous_client(store: Store, calls: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", NOT_CLOSED, store.dsn, store.tenant_a, str(calls)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert "ResourceWarning: AMDS 'mds_client' was not closed" in done.stderr
    assert "Traceback" not in done.stderr


def sessions(store: Store) -> int:
    ((count,),) = store.rows("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'forgotten'")
    return int(count)


def forget(store: Store) -> None:
    """Make a client and a clone of it, and close neither."""
    clone = MDS(dsn=store.dsn, tenant_id=store.tenant_a, app_name="forgotten").for_tenant(store.tenant_b)
    gc.collect()
    # The pool is there for as long as a clone is.
    seen = clone.health(), sessions(store)
    assert all(seen)


async def forget_asynchronously(store: Store) -> None:
    client = AMDS(dsn=store.dsn, tenant_id=store.tenant_a, app_name="forgotten")
    await client.health()


def test_a_garbage_collected_client_is_closed_with_a_warning(store: Store) -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        forget(store)
    until(lambda: sessions(store) == 0)


def test_a_garbage_collected_asynchronous_client_is_closed_with_a_warning(store: Store) -> None:
    async def main() -> None:
        with pytest.warns(ResourceWarning, match="was not closed"):
            await forget_asynchronously(store)
        await asyncio.to_thread(until, lambda: sessions(store) == 0)

    asyncio.run(main())


def test_a_client_that_was_closed_says_so(store: Store) -> None:
    async def main() -> None:
        client = AMDS(dsn=store.dsn, tenant_id=store.tenant_a)
        assert await client.aopen() is client
        await client.aclose()
        await client.aclose()
        with pytest.raises(MDSOperationalError, match="the client is closed"):
            await client.health()

    asyncio.run(main())
