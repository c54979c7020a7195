"""The worker: claims jobs of the outbox, runs their functions in threads, and records what came of each, once.

One thread talks to the database about what begins and what has ended, on a connection that also listens for new jobs;
another holds on to what is running, on a connection of its own; each job runs in a thread of its own, and opens what
connections it needs. A database that is away is waited for: functions run on, and what came of them is recorded once
it is back. The statements are in `datastore.leases`.
"""

import contextlib
import json
import logging
import operator
import os
import random
import re
import secrets
import selectors
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from queue import SimpleQueue
from typing import Any, Final, Literal, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier
from pydantic_core import to_jsonable_python

from datastore import control, jobs, leases, maintenance
from datastore.jobs import CANCEL, MAX_BACKOFF, Cancelled, JobContext, JobFailed, JobType
from datastore.leases import Claimed, Held, Outcome
from datastore.objects import JOBS_CHANNEL
from mds_client.config import watchful
from mds_client.connections import GuardedConnection
from mds_client.console import one_line
from mds_client.errors import RetryableError, TimeoutExceeded, mapped

_log = logging.getLogger(__name__)

SESSION: Final = {
    "TimeZone": "UTC",
    # A queue's statistics are always late: made of an empty outbox, they make a plan that reads all of a full one.
    # Every statement has its index; and each is planned once.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
"""How the worker's own connections are set; those of jobs' functions are their own business."""

STATEMENT_S: Final = 30.0
"""The longest time that a statement of the worker's own may take, in seconds; a third of a short lease."""

BURST: Final = 0.005
"""Seconds between two looks at a queue that the first one has emptied."""

LOCKED: Final = 0.5
"""Seconds until something is looked at again that somebody has locked."""

ROUNDS: Final = 10
"""How often at once it is looked behind what is locked at the head of queues."""

LAST_CALL: Final = 1.0
"""Seconds that functions have to end by themselves once the grace of a shutdown is over."""

_LONGEST_ERROR: Final = 2000
_LARGEST_RESULT: Final = 1 << 20
_SECRET: Final = re.compile(
    r"(://[^\s/@:]+:)[^\s@]+(?=@)"
    r"|((?:password|passwd|secret|token|api_?key|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)[^\s\"',;&]+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a worker works. `concurrency` jobs run at once.

    `lease`: how long a job is held without being heard of, and so how long it takes until another worker takes over
    the jobs of one that was killed. `poll`: how long a new job waits at most where no announcement comes through.
    `grace`: how long running jobs have to end at a shutdown. `until_idle`: end once nothing is due and nothing runs.
    `upkeep`: whether to put down the store's own periodic jobs.
    """

    concurrency: int = 4
    lease: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=5)
    grace: timedelta = timedelta(seconds=30)
    until_idle: bool = False
    upkeep: bool = True


class Watch(Protocol):
    """Is told which jobs begin and what comes of them, as `datastore.metrics.WorkerMetrics` is."""

    def job_began(self) -> None:
        """A job is run from now on."""

    def job_ended(self, job_type: str, outcome: str, seconds: float) -> None:
        """It has ended: `outcome` is its state after that, or `lost` where its lease was."""


class _Running:
    """A job that this worker holds. Its thread writes how far it is, and reads why it has to end."""

    def __init__(self, claimed: Claimed, lease: timedelta, began: float) -> None:
        self.job = claimed.job
        self.fence = claimed.fence
        self.began = began
        self.renewed = self.began
        self.lease = lease.total_seconds()
        self.done: int | None = None
        self.total: int | None = None
        self.changed = False
        self.ending: Literal["cancelled", "lost", "stopping"] | None = None

    def report(self, done: int | None, total: int | None) -> None:
        """What a function's context calls. Raises Cancelled, and ValueError or TypeError for what is no number."""
        if done is not None:
            self.done = _counted(done)
            self.total = self.total if total is None else _counted(total)
            self.changed = True
        if self.ending is None and time.monotonic() > self.renewed + self.lease:
            # Nobody has confirmed it for so long that another worker may have it by now.
            self.ending = "lost"
        if self.ending is not None:
            raise Cancelled(self.ending)

    def held(self) -> Held:
        return Held(self.job.id, self.fence, self.done, self.total)


class Worker:
    """One worker on one database; its name is that of machine, process and a random part.

    `run` raises ControlError where the database is not at head, and what psycopg raises where it cannot be reached at
    the start; later a worker waits for it.
    """

    def __init__(
        self, dsn: str, types: Mapping[str, JobType], settings: Settings = Settings(), watch: Watch | None = None
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.counts: Counter[str] = Counter()
        self._dsn = dsn
        self._job_dsn = make_conninfo(dsn, **watchful(dsn))
        self._types = types
        self._settings = settings
        self._watch = watch
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}
        self._ended: SimpleQueue[tuple[_Running, Outcome]] = SimpleQueue()
        self._unrecorded: dict[int, tuple[_Running, Outcome]] = {}
        self._ears, self._bell = socket.socketpair()
        for end in (self._ears, self._bell):
            end.setblocking(False)
        self._stop_at: float | None = None
        self._whose_turn = 0
        self._known: set[str] = set()
        self._claim_at = 0.0
        self._upkeep_at = 0.0
        self._upkeep_every = settings.lease.total_seconds() / 4
        self._broken: BaseException | None = None
        self._beat_now = threading.Event()
        self._over = threading.Event()

    # What people call -----------------------------------------------------------------------------

    def stop(self) -> None:
        """End: begin no other job, let the running ones end within the grace, and give back the rest.

        Called a second time, the grace is over. Safe from a signal's handler and from any thread.
        """
        now = time.monotonic()
        self._stop_at = now if self._stop_at is not None else now + self._settings.grace.total_seconds()
        self._ring()

    def run(self) -> Counter[str]:
        """Work until `stop`, or with `until_idle` until there is nothing to do; how many jobs ended in which state.

        A job that is tried again counts as `queued`.
        """
        pulse = threading.Thread(target=self._hold_on, name="heartbeat", daemon=True)
        failures = 0
        try:
            self._introduce()
            pulse.start()
            while True:
                try:
                    with self._connect() as connection:
                        failures = 0
                        self._work(connection)
                        return self.counts
                except psycopg.Error as error:
                    if not _passing(error):
                        raise
                    if self._stop_at is not None and (
                        not self._running or time.monotonic() > self._stop_at + LAST_CALL
                    ):
                        if self._running:
                            _log.warning("the database is away: what is running is left to the workers after us")
                        return self.counts
                    failures += 1
                    wait = self._reconnect_wait(failures)
                    # Whoever is cut off with us holds on again before we take for lost what nobody held meanwhile.
                    self._upkeep_at = time.monotonic() + wait + self._upkeep_every
                    _log.warning("the database is away, trying again in %.1f s: %s", wait, one_line(str(error)))
                    self._sleep(wait)
        finally:
            self._over.set()
            self._beat_now.set()
            if pulse.is_alive():
                pulse.join(LAST_CALL)
            self._ears.close()
            self._bell.close()

    # Talking to the database ----------------------------------------------------------------------

    def _introduce(self) -> None:
        """Say who is at work on what. Raises ControlError where the database is not at head."""
        with control.as_owner(self._dsn) as (engine, _):
            _log.info(
                "worker %s: %d jobs at once, %d types, on %s",
                *(self.name, self._settings.concurrency, len(self._types), engine.name),
            )

    def _connect(self) -> psycopg.Connection[Any]:
        # A server that says nothing is noticed within the lease, whether packets are lost or only answers are.
        lease = self._settings.lease.total_seconds()
        patience = max(1, int(lease / 3))
        given = conninfo_to_dict(self._dsn)
        own: dict[str, str | int] = {
            "application_name": "datastore worker",
            "connect_timeout": min(10, max(2, patience)),
            **watchful(self._dsn),
            "keepalives_idle": patience,
            "tcp_user_timeout": patience * 1000,
        }
        added = {key: value for key, value in own.items() if key not in given}
        connection = GuardedConnection.connect(make_conninfo(self._dsn, **added), autocommit=True)
        statement = min(STATEMENT_S, lease / 3)
        connection.limit(statement, min(5.0, lease / 6))
        with connection.pipeline():
            for setting in {**SESSION, "statement_timeout": f"{statement * 1000:.0f}ms"}.items():
                connection.execute("SELECT set_config(%s, %s, false)", setting)
        return connection

    def _reconnect_wait(self, failures: int) -> float:
        longest = min(5.0, self._upkeep_every)
        return min(longest, 0.1 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _work(self, connection: psycopg.Connection[Any]) -> None:
        """Begin and record jobs until there is no more to do. Raises what psycopg raises."""
        connection.execute(SQL("LISTEN {}").format(Identifier(JOBS_CHANNEL)))
        stopping = False
        while True:
            self._record(connection)
            if self._broken is not None:
                raise self._broken
            if self._stop_at is not None:
                left = self._stop_at - time.monotonic()
                if not stopping:
                    stopping = True
                    _log.info("stopping: %d jobs are running, and have %.1f s", len(self._running), max(0.0, left))
                if not self._running:
                    return
                if left <= 0:
                    self._give_back(connection)
                    return
                self._wait(connection, min(left, LOCKED) if self._unrecorded else left)
                continue
            upkeep_in = self._upkeep(connection)
            if self._unrecorded:
                upkeep_in = min(upkeep_in, LOCKED)
            free = self._settings.concurrency - len(self._running)
            # A burst of announcements, which anybody can send, is met by a few claims and not by one each.
            time.sleep(max(0.0, self._claim_at - time.monotonic()))
            begun, locked = self._begin(connection, free) if free > 0 else (0, False)
            if begun == max(0, free):
                self._wait(connection, upkeep_in)
                continue
            if self._settings.until_idle and not begun and not self._running and not locked:
                return
            self._claim_at = time.monotonic() + BURST
            due_in = leases.until_next(connection)
            waits = [upkeep_in, LOCKED if locked else self._settings.poll.total_seconds()]
            # A little more, so that it is due by then.
            self._wait(connection, min(*waits, *([due_in.total_seconds() + 0.002] if due_in is not None else [])))

    def _upkeep(self, connection: psycopg.Connection[Any]) -> float:
        """Take back what other workers have lost, and put down periodic jobs; in how many seconds to do so again."""
        left = self._upkeep_at - time.monotonic()
        if left > 0:
            return left
        for lost in leases.take_back(connection, self.name):
            _log.warning(
                "job %d %s: worker %s was lost, the job is %s", lost.id, lost.job_type, lost.worker, lost.state
            )
        if self._settings.upkeep:
            maintenance.put_down(connection, self._known)
        self._upkeep_at = time.monotonic() + self._upkeep_every
        return self._upkeep_every

    def _begin(self, connection: psycopg.Connection[Any], free: int) -> tuple[int, bool]:
        """Begin up to so many jobs: how many, and whether others are due that somebody has locked."""
        begun = 0
        passed: list[int] = []
        for _ in range(ROUNDS):
            now = time.monotonic()
            # What runs here still, though it was taken from us, is not begun a second time.
            but = [*self._running, *passed]
            found = leases.claim(connection, self.name, free - begun, self._settings.lease, self._whose_turn, but)
            self._whose_turn = found.last
            for claimed in found.taken:
                running = _Running(claimed, self._settings.lease, now)
                if self._watch is not None:
                    self._watch.job_began()
                with self._lock:
                    self._running[claimed.job.id] = running
                threading.Thread(target=self._run, args=(running,), name=f"job {claimed.job.id}", daemon=True).start()
            begun += len(found.taken)
            passed += found.locked
            if begun == free or not found.locked:
                break
            # It stands at the head of its queue: look behind it.
        return begun, bool(passed)

    def _record(self, connection: psycopg.Connection[Any]) -> None:
        """Record what has ended. What cannot be recorded now is kept, and its job held, until it can."""
        while not self._ended.empty():
            running, outcome = self._ended.get()
            self._unrecorded.setdefault(running.job.id, (running, outcome))
        if not self._unrecorded:
            return
        outcomes = [outcome for _, outcome in self._unrecorded.values()]
        states = self._finish(connection, outcomes)
        missing = [outcome.held for outcome in outcomes if outcome.held.id not in states]
        seen = leases.look(connection, self.name, missing) if missing else {}
        for id_, (running, outcome) in list(self._unrecorded.items()):
            if seen.get(id_):
                continue
            self._tell(running, outcome, states.get(id_) or (outcome.state if id_ in seen else None))
            del self._unrecorded[id_]
            with self._lock:
                del self._running[id_]

    def _finish(self, connection: psycopg.Connection[Any], outcomes: list[Outcome]) -> dict[int, str]:
        try:
            return leases.finish(connection, self.name, outcomes)
        except psycopg.DataError as error:
            if len(outcomes) > 1:
                return {id_: state for one in outcomes for id_, state in self._finish(connection, [one]).items()}
            # JSON that PostgreSQL does not store: half a surrogate pair, a NUL in a text, a number beyond all bounds.
            text = f"what the function returned cannot be stored: {one_line(str(error))}"
            failed = Outcome(outcomes[0].held, "failed", error=text)
            running, _ = self._unrecorded[failed.held.id]
            self._unrecorded[failed.held.id] = running, failed
            return leases.finish(connection, self.name, [failed])

    def _tell(self, running: _Running, outcome: Outcome, state: str | None) -> None:
        job, took = running.job, time.monotonic() - running.began
        whose = f"tenant {job.tenant}" if job.tenant else "the store's own"
        about = f"job {job.id} {job.job_type} ({whose}, attempt {job.attempts} of {job.max_attempts})"
        if self._watch is not None:
            self._watch.job_ended(job.job_type, state or "lost", took)
        if state is None:
            _log.warning("%s: its lease was lost, and what came of it (%s) is not recorded", about, outcome.state)
            return
        self.counts[state] += 1
        if outcome.given_back and state == "queued":
            _log.info("%s: given back after %.3f s", about, took)
        elif state == "queued":
            again = outcome.delay.total_seconds()
            _log.warning("%s: failed after %.3f s, again in %.1f s: %s", about, took, again, outcome.error)
        elif state == "failed":
            _log.error("%s: failed for good after %.3f s: %s", about, took, outcome.error)
        else:
            _log.info("%s: %s after %.3f s", about, state, took)

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        """The grace is over: have functions end that look, and give the jobs of the others back."""
        for running in list(self._running.values()):
            running.ending = running.ending or "stopping"
        deadline = time.monotonic() + LAST_CALL
        while self._running and (left := deadline - time.monotonic()) > 0:
            self._wait(connection, left)
            self._record(connection)
        # What still runs ends with this process, which is before anybody else begins it.
        for running in list(self._running.values()):
            back = Outcome(running.held(), "queued", delay=timedelta(seconds=LAST_CALL), given_back=True)
            self._ended.put((running, back))
        self._record(connection)

    # Waiting --------------------------------------------------------------------------------------

    def _wait(self, connection: psycopg.Connection[Any], seconds: float) -> None:
        """Until something is announced, a job has ended, we are to stop, or so many seconds are over."""
        told = list(connection.notifies(timeout=0))
        if not told and self._ended.empty():
            self._sleep(seconds, connection.fileno())
            told = list(connection.notifies(timeout=0))
        if any(one.payload == CANCEL for one in told):
            self._beat_now.set()

    def _sleep(self, seconds: float, *files: int) -> None:
        with selectors.DefaultSelector() as waiting:
            for file in (self._ears.fileno(), *files):
                waiting.register(file, selectors.EVENT_READ)
            ready = {key.fd for key, _ in waiting.select(max(0.0, seconds))}
        if self._ears.fileno() in ready:
            self._ears.recv(4096)

    def _ring(self) -> None:
        # So full that nobody can have missed it, or closed because nobody waits any more.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    # Holding on -----------------------------------------------------------------------------------

    def _hold_on(self) -> None:
        """The heartbeat's thread: renews leases, writes progress, and tells functions that they have to end."""
        connection: psycopg.Connection[Any] | None = None
        every = min(1.0, self._settings.lease.total_seconds() / 6)
        while not self._over.is_set():
            asked = self._beat_now.wait(every)
            self._beat_now.clear()
            try:
                if connection is None:
                    connection = self._connect()
                self._beat(connection, everybody=asked)
            except psycopg.Error as error:
                if not _passing(error):
                    self._break(error)
                    return
                _log.debug("heartbeat: %s", one_line(str(error)))
                if connection is not None:
                    connection.close()
                connection = None
            except Exception as error:
                # Without a heartbeat nothing may run: the worker ends with this error.
                self._break(error)
                raise
        if connection is not None:
            connection.close()

    def _break(self, error: BaseException) -> None:
        self._broken = error
        self._ring()

    def _beat(self, connection: psycopg.Connection[Any], *, everybody: bool) -> None:
        now = time.monotonic()
        with self._lock:
            running = list(self._running.values())
        due = [one for one in running if everybody or one.changed or now - one.renewed > one.lease / 6]
        if not due:
            return
        for one in due:
            one.changed = False
        held = leases.renew(connection, self.name, [one.held() for one in due], self._settings.lease)
        missing = [one.held() for one in due if one.job.id not in held]
        locked = leases.look(connection, self.name, missing) if missing else {}
        for one in due:
            if one.job.id in held:
                one.renewed = now
                if held[one.job.id]:
                    one.ending = one.ending or "cancelled"
            elif locked.get(one.job.id):
                one.changed = True
            else:
                one.ending = "lost"

    # Running --------------------------------------------------------------------------------------

    def _run(self, running: _Running) -> None:
        """A job's thread."""
        self._ended.put((running, self._outcome(running)))
        self._ring()

    def _outcome(self, running: _Running) -> Outcome:
        job = running.job
        kind = self._types.get(job.job_type)
        if kind is None:
            return Outcome(running.held(), "failed", error=f"no function takes jobs of type {job.job_type!r}")
        try:
            payload = jobs.accepted(kind, job)
            result = _stored(kind.function(JobContext(job, self._job_dsn, running.report), payload))
        except Cancelled:
            if running.ending in ("lost", "stopping"):
                return Outcome(running.held(), "queued", given_back=True)
            return Outcome(running.held(), "cancelled")
        except JobFailed as error:
            return Outcome(running.held(), "failed", error=_presentable(str(error)))
        except BaseException as error:  # noqa: BLE001 - recorded, whatever it is, and never this worker's end
            _log.debug("job %d %s", job.id, job.job_type, exc_info=True)
            text = _presentable(_described(error, kind))
            if job.attempts >= job.max_attempts:
                return Outcome(running.held(), "failed", error=text)
            return Outcome(running.held(), "queued", error=text, delay=_backoff(kind, job.attempts))
        return Outcome(running.held(), "succeeded", result=result)


def _counted(number: int) -> int:
    """A number of things. Raises TypeError and ValueError for what the outbox does not store as one."""
    whole = operator.index(number)
    if not 0 <= whole < 2**63:
        raise ValueError(f"how far a job is, is a number from 0 on, not {whole}")
    return whole


def _stored(result: Any) -> str | None:
    """What a function returned, as JSON text. Raises JobFailed where JSON does not know it, or it is no result any
    more but data: whoever lists jobs reads all of theirs."""
    if result is None:
        return None
    try:
        text = json.dumps(to_jsonable_python(result), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise JobFailed(f"what the function returned cannot be stored: {error}") from error
    if len(text) > _LARGEST_RESULT:
        raise JobFailed(
            f"what the function returned cannot be stored: {len(text)} characters of at most {_LARGEST_RESULT}"
        )
    return text


def _backoff(kind: JobType, attempts: int) -> timedelta:
    """How long to wait after that many attempts: double each time, a random half taken off."""
    longest = min(MAX_BACKOFF, kind.backoff * 2.0 ** min(attempts - 1, 30))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


def _passing(error: psycopg.Error) -> bool:
    """Whether the same statement may succeed later, perhaps on another connection."""
    return isinstance(mapped(error), RetryableError | TimeoutExceeded)


def _described(error: BaseException, kind: JobType) -> str:
    """What went wrong, and where: the innermost line in the function's own module, or else the innermost."""
    places = [(frame.f_globals.get("__name__"), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if place[0] == kind.function.__module__]
    module, line = (own or places)[-1]
    # The last line of what a traceback would say, which has an answer for every exception.
    text = one_line("".join(traceback.format_exception_only(error)))
    return f"{text} (at {module}:{line})"


def _presentable(text: str) -> str:
    """An error's text as the tenant may read it: no secret, nothing that PostgreSQL does not store, not endless."""
    plain = text.encode("utf-8", "replace").decode().replace("\0", "")
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", plain)[:_LONGEST_ERROR]
