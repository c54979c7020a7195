"""Streams of events: what they tell, when they end, and how many there may be."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from datastore import console, jobs, tenants
from datastore.config import Settings
from datastore.console import live
from datastore.console.sessions import Sessions
from datastore.service.tokens import MadeToken
from tests.console.conftest import Desk, csrf
from tests.service.conftest import serving

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

ACCEPT = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams look often, and last."""
    monkeypatch.setattr(live, "TICK_S", 0.02)


@contextmanager
def following(client: httpx.Client, path: str) -> Iterator[Iterator[tuple[str, str]]]:
    """The events of a stream: each one's name and data."""
    with client.stream("GET", path, headers=ACCEPT) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        yield events(answer.iter_lines())


def events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    name, data = "", list[str]()
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name, data = value, []
        elif field == "data":
            data.append(value)
        elif not line and name:
            yield name, "\n".join(data)
            name = ""


def job_of(desk: Desk, tenant: str) -> int:
    with desk.client(tenant) as client:
        client.enqueue_job(idempotency_key="it", job_type="slow", payload={})
    return jobs.list_jobs(desk.store.admin_dsn, job_type="slow").items[0].id


def test_a_page_follows_a_job_until_its_end(desk: Desk, admin: httpx.Client) -> None:
    job = job_of(desk, desk.store.tenant_a)
    with following(admin, f"/console/jobs/{job}/events") as told:
        assert "queued" in next(told)[1]
        desk.store.execute(
            "UPDATE store.jobs SET state = 'running', started_at = now() - interval '30 s', done = 1, total = 4,"
            " attempts = 1, worker = 'w', leased_until = now() + interval '1 min'"
        )
        name, text = next(told)
        assert name == "part"
        assert "25 %" in text
        assert "about 1 min 30 s" in text
        desk.store.execute(
            "UPDATE store.jobs SET state = 'failed', error = 'the vendor says <no>', finished_at = now(),"
            " leased_until = NULL"
        )
        rest = list(told)
        assert "the vendor says &lt;no&gt;" in rest[-2][1]
        assert "Retry" in rest[-2][1]
        assert rest[-1] == ("end", "")


def test_an_idle_event_stream_sends_heartbeats(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAT_S", 0.05)
    with following(admin, "/console/jobs/events") as told:
        assert [next(told)[0] for _ in range(3)] == ["part", "beat", "beat"]


def test_an_event_stream_ends_after_its_maximum_lifetime(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LIVES_S", 0.1)
    with following(admin, "/console/jobs/events") as told:
        assert [name for name, _ in told] == ["part"]


def test_a_stream_ends_with_its_session(desk: Desk, admin: httpx.Client) -> None:
    secret = csrf(admin)
    with following(admin, "/console/jobs/events") as told:
        next(told)
        assert admin.post("/console/sign-out", data={"csrf": secret}).status_code == 303
        assert list(told) == []


def test_a_stream_ends_when_its_tenant_is_disabled(desk: Desk, tenant_keys: dict[str, MadeToken]) -> None:
    with desk.browser(tenant_keys["a"]) as client, following(client, "/console/jobs/events") as told:
        next(told)
        tenants.disable_tenant(desk.store.admin_dsn, tenants.get_tenant(desk.store.admin_dsn, "a").id)
        assert list(told) == []


def test_the_number_of_event_streams_is_limited_per_session(desk: Desk, admin: httpx.Client) -> None:
    path = "/console/jobs/events"
    with ExitStack() as open_:
        held = [open_.enter_context(following(admin, path)) for _ in range(live.EACH - 1)]
        assert [next(each)[0] for each in held] == ["part"] * len(held)
        with following(admin, path) as told:
            next(told)
            refused = admin.get(path, headers=ACCEPT)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            with desk.browser(desk.keys.read) as other, following(other, path) as theirs:
                assert next(theirs)[0] == "part"
        # The place of a stream that its browser has left is free as soon as the server notices.
        for _ in range(200):
            with admin.stream("GET", path, headers=ACCEPT) as answer:
                if answer.status_code == 200:
                    break
        else:
            pytest.fail("the place is not free again")


def test_an_event_stream_does_not_count_as_session_activity(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    often = threading.Event()
    find = Sessions.find

    def finding(self: Sessions, value: str, *, active: bool = True) -> Any:
        used.append(active)
        if len(used) >= 3:
            often.set()
        return find(self, value, active=active)

    monkeypatch.setattr(Sessions, "find", finding)
    with following(admin, "/console/jobs/events") as told:
        next(told)
        assert often.wait(20)
    assert not any(used)


def test_event_streams_do_not_prevent_the_service_from_stopping(desk: Desk, settings: Settings) -> None:
    admin = desk.keys.admin
    with ExitStack() as stack:
        url = stack.enter_context(serving(replace(settings, tokens=admin.line), console.create_app))
        began = threading.Event()
        ended = list[tuple[str, str]]()

        def read() -> None:
            with replace(desk, url=url).browser(admin) as client, following(client, "/console/jobs/events") as told:
                next(told)
                began.set()
                ended.extend(told)

        reader = threading.Thread(target=read)
        reader.start()
        assert began.wait(20)
        stack.close()
        reader.join(20)
        assert not reader.is_alive()
        assert ended == []
