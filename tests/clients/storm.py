"""Storms of interrupted calls: tasks that are cancelled and Ctrl-C, while two tenants share one pool.

The vendor of each row and the key of each job name its tenant, and say whether its transaction was to be aborted. So
whatever ends up in the wrong place is found afterwards. Run a storm by hand with

    python -m tests.clients.storm cancel --calls 20000 --seed 1
    python -m tests.clients.storm interrupt --calls 2000 --seed 1
"""

import asyncio
import itertools
import os
import random
import signal
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import psycopg

from mds_client import AMDS, MDS, AsyncBatchProcessor, Bar, BatchConfig, BatchProcessor, MDSError
from mds_client.rls import dsn_with_tenant
from tests.clients.new_store import new_store

START: Final = datetime(2024, 1, 2, tzinfo=UTC)
END: Final = START + timedelta(days=1)
SMALL: Final = 5
LARGE: Final = 1_500
STREAMED: Final = ("SAME", "LARGE0")


class AbortedError(Exception):
    """Ends a transaction's block on purpose."""


@dataclass(frozen=True)
class Damage:
    """What a storm has done: rows and jobs in the wrong tenant, and those of transactions that were aborted."""

    crossed_rows: int
    aborted_rows: int
    crossed_jobs: int
    aborted_jobs: int

    @property
    def none(self) -> bool:
        """Whether nothing is where it should not be."""
        return self == Damage(0, 0, 0, 0)


def damage(superuser_dsn: str) -> Damage:
    """Look at all tenants' rows, which only a superuser can."""
    rows = """
        SELECT count(*) FILTER (WHERE s.vendor NOT LIKE t.name || '%'), count(*) FILTER (WHERE s.vendor LIKE '%aborted')
        FROM store.bars AS b JOIN store.series AS s USING (series_id)
        JOIN store.tenants AS t ON t.no = s.series_id >> 40
    """
    jobs = """
        SELECT count(*) FILTER (WHERE j.idempotency_key NOT LIKE t.name || '%'),
               count(*) FILTER (WHERE j.idempotency_key LIKE '%aborted%')
        FROM store.jobs AS j JOIN store.tenants AS t ON t.no = j.tenant_no
    """
    with psycopg.connect(superuser_dsn) as connection:
        (row_counts,) = connection.execute(rows).fetchall()
        (job_counts,) = connection.execute(jobs).fetchall()
    return Damage(*row_counts, *job_counts)


def bars(vendor: str, symbol: str, count: int, close: float = 1.0) -> list[Bar]:
    return [
        Bar(vendor=vendor, symbol=symbol, timeframe="1m", ts=START + timedelta(minutes=minute), close_price=close)
        for minute in range(count)
    ]


@types.coroutine
def cancelled_at(step: int, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, bool]:
    """Run a coroutine, and cancel it where it waits for the n-th time. Whether it ended before that."""
    inner = coroutine.__await__()
    resume: Callable[[], Any] = inner.__next__
    task = asyncio.current_task()
    assert task is not None
    for number in itertools.count():
        try:
            awaited = resume()
        except StopIteration:
            return number <= step
        if number == step:
            task.cancel()
        try:
            sent = yield awaited
        except BaseException as error:  # noqa: BLE001 - handed on to the coroutine
            resume = _throwing(inner, error)
        else:
            resume = _sending(inner, sent)
    raise AssertionError


def _throwing(inner: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)


def _sending(inner: Any, value: Any) -> Callable[[], Any]:
    return lambda: inner.send(value)


# What is called -------------------------------------------------------------------------------------------------------

Call = Callable[[AMDS, str, str], Coroutine[Any, Any, Any]]
"""A call of a client that acts as the tenant of that name, with something unique for the names of what it writes."""


async def upsert(client: AMDS, tenant: str, unique: str) -> None:
    await client.upsert_bars(bars(tenant, unique, SMALL))


async def upsert_again(client: AMDS, tenant: str, _: str) -> None:
    await client.upsert_bars(bars(tenant, "SAME", SMALL, random.random()))


async def upsert_one_by_one(client: AMDS, tenant: str, unique: str) -> None:
    rows = bars(tenant, unique, SMALL)
    await client.upsert_bars(rows[:1])
    await client.upsert_bars(iter(rows), chunk_rows=2)


async def copy(client: AMDS, tenant: str, unique: str) -> None:
    # Of few symbols, so that a long storm does not read more and more.
    await client.upsert_bars(bars(tenant, f"LARGE{unique[-1]}", LARGE))


async def aborted_transaction(client: AMDS, tenant: str, unique: str) -> None:
    with suppress(AbortedError):
        async with client.transaction() as transaction:
            await transaction.upsert_bars(bars(f"{tenant}-aborted", unique, SMALL))
            await transaction.enqueue_job(f"{tenant}-aborted-{unique}", "none", {}, "low")
            raise AbortedError


async def transaction(client: AMDS, tenant: str, unique: str) -> None:
    async with client.transaction() as inner:
        await inner.upsert_bars(bars(tenant, unique, SMALL))
        await inner.enqueue_job(f"{tenant}-{unique}", "none", {}, "low")


async def window(client: AMDS, tenant: str, _: str) -> None:
    other = "a" if tenant == "b" else "b"
    assert not await client.bars_window("SAME", "1m", START, END, other)
    assert {bar.vendor for bar in await client.bars_window("SAME", "1m", START, END, tenant)} <= {tenant}


async def stream(client: AMDS, tenant: str, _: str) -> None:
    async for batch in client.iter_rows("bars", START, END, symbols=STREAMED, batch_rows=100):
        assert all(bar.vendor.startswith(tenant) for bar in batch)


async def frames(client: AMDS, tenant: str, _: str) -> None:
    async for batch in client.iter_rows("bars", START, END, symbols=STREAMED, as_="arrow"):
        assert all(name.startswith(tenant) for name in batch["vendor"].to_pylist())
        break


async def prices(client: AMDS, tenant: str, _: str) -> None:
    await client.latest_prices(["SAME"], tenant)
    await client.enqueue_job(f"{tenant}-known", "none", {}, "low")


async def processor(client: AMDS, tenant: str, unique: str) -> None:
    async with AsyncBatchProcessor(client, BatchConfig(max_rows=3)) as batch:
        for bar in bars(tenant, unique, SMALL):
            await batch.add_bar(bar)


CALLS: Final[tuple[Call, ...]] = (
    *(upsert, upsert_again, upsert_one_by_one, copy, aborted_transaction, transaction, window, stream, frames, prices),
    processor,
)


@asynccontextmanager
async def both_clients(dsn: str, tenant_a: str, tenant_b: str, **settings: Any) -> AsyncIterator[dict[str, AMDS]]:
    """Clients of both tenants over one pool, whose DSN has tenant `a`, as the reports have it."""
    async with AMDS(dsn=dsn_with_tenant(dsn, tenant_a), **settings) as client:
        yield {"a": client, "b": client.for_tenant(tenant_b)}


async def healthy(client: AMDS) -> None:
    """Use all of the pool's connections at once. Raises MDSError if one of them is lost."""
    size = client.config.pool_max
    together = asyncio.Barrier(size)

    async def one() -> None:
        async with client.transaction() as inner:
            await inner.health()
            await together.wait()

    await asyncio.gather(*(one() for _ in range(size)))


async def cancel_everywhere(dsn: str, tenant_a: str, tenant_b: str, call: Call) -> int:
    """Cancel a call wherever it waits, in turn; how many places there are."""
    async with both_clients(dsn, tenant_a, tenant_b, pool_max=1) as clients:
        await upsert(clients["b"], "b", "SAME")
        for step in itertools.count():
            try:
                ended = await cancelled_at(step, call(clients["b"], "b", f"{call.__name__}{step}"))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
                ended = False
            # Whatever is left of it, another call sees its own tenant.
            await upsert(clients["b"], "b", f"AFTER{call.__name__}{step}")
            await window(clients["b"], "b", "")
            if ended:
                await healthy(clients["a"])
                return step
    raise AssertionError


async def cancel_at_random(
    dsn: str, tenant_a: str, tenant_b: str, calls: int, seed: int, pool_max: int, at_once: int = 8
) -> Counter[str]:
    """Cancel many calls at any time; how they ended."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    numbers = iter(range(calls))
    async with both_clients(dsn, tenant_a, tenant_b, pool_max=pool_max) as clients:
        for tenant in "ab":
            await upsert(clients[tenant], tenant, "SAME")

        async def one(number: int) -> None:
            tenant = chance.choice("ab")
            call = chance.choice(CALLS)
            task = asyncio.create_task(call(clients[tenant], tenant, f"R{seed}-{number}"))
            # Some are not cancelled at all; most within the time that a small call takes.
            await asyncio.wait([task], timeout=chance.choice((None, 0, 0.001, 0.003, 0.01)))
            task.cancel()
            await asyncio.wait([task])
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, MDSError):
                raise error
            ended = "done" if error is None else f"{type(error).__name__}: {error}"
            ends["cancelled" if task.cancelled() else ended] += 1

        async def some() -> None:
            for number in numbers:
                await one(number)

        await asyncio.gather(*(some() for _ in range(at_once)))
        await healthy(clients["a"])
    return ends


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def interrupt_at_random(dsn: str, tenant_a: str, tenant_b: str, calls: int, seed: int) -> Counter[str]:
    """The same with the synchronous client and SIGINT, which Python raises at any bytecode of the main thread."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    over = threading.Event()

    def interrupt() -> None:
        pauses = random.Random(seed)
        while not over.wait(pauses.uniform(0.0005, 0.02)):
            os.kill(os.getpid(), signal.SIGINT)

    armed = False

    def handler(*_: object) -> None:
        # One interruption a call, and none of this loop itself.
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    client = MDS(dsn=dsn_with_tenant(dsn, tenant_a), pool_max=4)
    clients = {"a": client, "b": client.for_tenant(tenant_b)}
    for tenant in "ab":
        clients[tenant].upsert_bars(bars(tenant, "SAME", SMALL))
        for which in range(6):
            # Libraries are imported here: an import that is interrupted leaves half a module, whoever wrote it.
            _sync_call(clients[tenant], tenant, f"W{seed}", which)
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        for number in range(calls):
            tenant, which = chance.choice("ab"), chance.randrange(6)
            try:
                armed = True
                _sync_call(clients[tenant], tenant, f"I{seed}-{number}", which)
                armed = False
                ends["done"] += 1
            except KeyboardInterrupt:
                ends["interrupted"] += 1
    finally:
        armed = False
        over.set()
        sender.join()
    _sync_healthy(client)
    client.close()
    return ends


def _sync_call(client: MDS, tenant: str, unique: str, which: int) -> None:
    other = "a" if tenant == "b" else "b"
    if which == 0:
        client.upsert_bars(bars(tenant, unique, SMALL))
    elif which == 1:
        client.upsert_bars(bars(tenant, f"LARGE{unique[-1]}", LARGE))
    elif which == 2:
        with suppress(AbortedError), client.transaction() as inner:
            inner.upsert_bars(bars(f"{tenant}-aborted", unique, SMALL))
            inner.enqueue_job(f"{tenant}-aborted-{unique}", "none", {}, "low")
            raise AbortedError
    elif which == 3:
        assert not client.bars_window("SAME", "1m", START, END, other)
        assert len(client.bars_window("SAME", "1m", START, END, tenant)) == SMALL
    elif which == 4:
        for part in client.iter_rows("bars", START, END, symbols=STREAMED, batch_rows=100):
            assert all(bar.vendor.startswith(tenant) for bar in part)
    else:
        with BatchProcessor(client, BatchConfig(max_rows=3)) as batch:
            for bar in bars(tenant, unique, SMALL):
                batch.add_bar(bar)


def _sync_healthy(client: MDS) -> None:
    size = client.config.pool_max
    together = threading.Barrier(size)
    failures: list[BaseException] = []

    def one() -> None:
        try:
            with client.transaction() as inner:
                inner.health()
                together.wait(30)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# By hand --------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("how", type=click.Choice(["cancel", "interrupt"]))
@click.option("--calls", default=20_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--pool", default=4, show_default=True)
@click.option("--store", nargs=4, default=None, help="DSN, superuser's DSN, ids of a and b (default: a new store)")
def main(how: str, calls: int, seed: int, pool: int, store: tuple[str, str, str, str] | None) -> None:
    """Interrupt many calls, and say what ended up in the wrong place."""
    with ExitStack() as stack:
        if store is None:
            made = stack.enter_context(new_store())
            store = (made.dsn, made.superuser_dsn, made.tenant_a, made.tenant_b)
        dsn, superuser_dsn, tenant_a, tenant_b = store
        began = time.monotonic()
        if how == "cancel":
            ends = asyncio.run(cancel_at_random(dsn, tenant_a, tenant_b, calls, seed, pool))
        else:
            ends = interrupt_at_random(dsn, tenant_a, tenant_b, calls, seed)
        found = damage(superuser_dsn)
        print(f"{calls} calls in {time.monotonic() - began:.0f} s: {dict(ends)}; {found}")
    sys.exit(not found.none)


if __name__ == "__main__":
    main()
