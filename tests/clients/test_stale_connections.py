"""Connections that a pool is just making while others are lost: the server may have ended them, too."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mds_client import AMDS, MDS
from mds_client.protocol import apools, pools
from tests.conftest import Store

END_ALL = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE usename = 'mds_service' AND datname = current_database()"
)
"""End every connection of clients. The one with which a client begins may just be ending by itself: then there are two,
and the answer of one can be false."""


def test_a_connection_opened_while_others_were_lost_is_not_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made, passed = threading.Event(), threading.Event()
    configure = pools._configure

    def paused(*arguments: Any) -> None:
        configure(*arguments)
        made.set()
        assert passed.wait(30)

    monkeypatch.setattr(pools, "_configure", paused)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1, max_attempts=1) as mds, ThreadPoolExecutor(1) as one:
        call = one.submit(mds.health)
        assert made.wait(30)
        assert (True,) in store.rows(END_ALL)
        mds._home.drain()
        passed.set()
        assert call.result(30)


def test_an_asynchronous_connection_opened_while_others_were_lost_is_not_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = apools._aconfigure

    async def run() -> None:
        made, passed = asyncio.Event(), asyncio.Event()

        async def paused(*arguments: Any) -> None:
            await configure(*arguments)
            made.set()
            await passed.wait()

        monkeypatch.setattr(apools, "_aconfigure", paused)
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1, max_attempts=1) as amds:
            call = asyncio.create_task(amds.health())
            await made.wait()
            assert (True,) in await asyncio.to_thread(store.rows, END_ALL)
            await amds._home.drain()
            passed.set()
            assert await call

    asyncio.run(asyncio.wait_for(run(), 30))
