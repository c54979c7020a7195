"""The worker: claims jobs from the outbox, runs them in job processes, and records each outcome once.

One thread claims jobs and records outcomes, on a connection that also listens for new jobs. Another renews the leases
of running jobs (`datastore.worker.heartbeat`). The functions run in job processes (`datastore.worker.processes`) and
open the connections that they need. If the database is away, the worker waits for it: functions continue while their
lease lasts, and their outcomes are recorded when it is back. A server that does not answer counts as away: the worker
waits for no statement longer than a third of the lease. The statements are in `datastore.worker.leases`.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from queue import SimpleQueue
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from datastore import maintenance
from datastore.connections import check_head
from datastore.engines import detect
from datastore.jobs import JobTypes
from datastore.worker import leases
from datastore.worker.announcements import Announcements
from datastore.worker.bell import Bell
from datastore.worker.connections import LONGEST_SILENCE, connect, passing, reconnect_wait
from datastore.worker.heartbeat import Heartbeat
from datastore.worker.leases import Claimed, Outcome
from datastore.worker.outcomes import outcome_of
from datastore.worker.processes import JobProcesses
from datastore.worker.runner import Ended, Ending, Setup, presentable
from datastore.worker.running import LAST_CALL, Running
from datastore.worker.scope import Scope
from datastore.worker.settings import DEFAULTS, Watch, WorkerSettings
from mds_client.config import watchful
from mds_client.console import one_line

_log = logging.getLogger(__name__)

BURST: Final = 0.005
"""Seconds between two looks at a queue that the first one emptied."""

LOCKED: Final = 0.5
"""Seconds until the worker looks again at rows that someone has locked."""

ROUNDS: Final = 10
"""How often in a row the worker looks past locked jobs at the head of queues."""

AGAIN: Final = 60.0
"""Seconds until the worker checks again what it could not do."""


class Worker:
    """One worker on one database. Its name consists of host, process id and a random part.

    `run` raises ControlError if the database is not at head, and psycopg's errors if it cannot be reached at the
    start; later the worker waits for it.
    """

    def __init__(
        self, dsn: str, types: JobTypes, settings: WorkerSettings = DEFAULTS, watch: Watch | None = None
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.counts: Counter[str] = Counter()
        self._dsn = dsn
        self._types = types
        self._settings = settings
        self._watch = watch
        self._lock = threading.Lock()
        self._running: dict[int, Running] = {}
        self._ended: SimpleQueue[tuple[Running, Outcome]] = SimpleQueue()
        self._unrecorded: dict[int, tuple[Running, Outcome]] = {}
        self._bell = Bell()
        self._stop_at: float | None = None
        self._whose_turn = 0
        self._known: set[str] = set()
        self._claim_at = 0.0
        self._scope = Scope(types)
        self._look_at = 0.0
        self._upkeep_at = 0.0
        self._lease = settings.lease.total_seconds()
        self._upkeep_every = self._lease / 4
        self._patience = min(LONGEST_SILENCE, max(1.0, self._lease / 3))
        self._processes: JobProcesses
        self._announcements: Announcements
        self._broken: BaseException | None = None
        self._heartbeat = Heartbeat(self, dsn, settings, self._patience)

    # What people call -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the worker: begin no more jobs, let the running ones end within the grace, and give back the rest.

        A second call ends the grace. You can call it from any thread or signal handler.
        """
        now = time.monotonic()
        self._stop_at = now if self._stop_at is not None else now + self._settings.grace.total_seconds()
        self._bell.ring()

    def run(self) -> Counter[str]:
        """Work until `stop`, or with `until_idle` until idle. Returns the number of ended jobs by state.

        A job that will be tried again counts as `queued`.
        """
        try:
            self._introduce()
            self._heartbeat.start()
            with JobProcesses(self._setup(), self) as self._processes:
                return self._work_on()
        finally:
            self._heartbeat.stop()
            self._bell.close()

    # What the job processes call ------------------------------------------------------------------

    def job_ended(self, running: Running, ended: Ended) -> None:
        """Queue a job's outcome to be recorded."""
        self._ended.put((running, outcome_of(self._types[running.job.job_type], running, ended)))
        self._bell.ring()

    def broken(self, error: BaseException) -> None:
        """End the worker with this error, because no job can run any more."""
        self._broken = error
        self._bell.ring()

    # What the heartbeat calls ---------------------------------------------------------------------

    def held(self) -> list[Running]:
        """Return the jobs that this worker holds now."""
        with self._lock:
            return list(self._running.values())

    def end(self, running: Running, why: Ending, patience: float = LAST_CALL) -> None:
        """Tell a job to end, and kill its process after `patience` seconds."""
        self._processes.end(running, why, patience)

    # Talking to the database ----------------------------------------------------------------------

    def _work_on(self) -> Counter[str]:
        """Work, and reconnect whenever the database was away."""
        failures = 0
        while True:
            try:
                with connect(self._dsn, self._patience) as connection:
                    failures = 0
                    self._work(connection)
                    return self.counts
            except psycopg.Error as error:
                if not passing(error):
                    raise
                if self._broken is not None:
                    raise self._broken from error
                if self._stop_at is not None and (not self._running or time.monotonic() > self._stop_at + LAST_CALL):
                    if self._running:
                        _log.warning("the database is away: what is running is left to the workers after us")
                    return self.counts
                failures += 1
                wait = reconnect_wait(failures, min(5.0, self._upkeep_every))
                # Other workers that were cut off renew their leases before we take over what has expired.
                self._upkeep_at = time.monotonic() + wait + self._upkeep_every
                _log.warning("the database is away, trying again in %.1f s: %s", wait, one_line(str(error)))
                self._bell.sleep(wait)

    def _introduce(self) -> None:
        """Log the worker's name, types and engine. Raises ControlError if the database is not at head."""
        with connect(self._dsn, self._patience) as connection:
            check_head(connection)
            _log.info(
                "worker %s: %d jobs at once, %d types, on %s",
                *(self.name, self._settings.concurrency, len(self._scope.types), detect(connection).name),
            )

    def _setup(self) -> Setup:
        """Return the settings for a job process."""
        loggers = logging.root.manager.loggerDict
        levels = {name: logger.level for name, logger in loggers.items() if isinstance(logger, logging.Logger)}
        return Setup(
            modules=self._types.modules,
            dsn=make_conninfo(self._dsn, **watchful(self._dsn)),
            environment=dict(os.environ),
            levels={"": logging.root.level} | {name: level for name, level in levels.items() if level},
            most_jobs=self._settings.process_jobs,
            most_memory=self._settings.process_memory,
        )

    def _work(self, connection: psycopg.Connection[Any]) -> None:
        """Begin and record jobs until there is no more to do. Raises psycopg.Error."""
        self._announcements = Announcements(connection, self._bell)
        self._look_again(connection)
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
                self._wait(min(left, LOCKED) if self._unrecorded else left)
                continue
            upkeep_in = self._upkeep(connection)
            if self._unrecorded:
                upkeep_in = min(upkeep_in, LOCKED)
            free = self._settings.concurrency - len(self._running)
            # Answer a burst of announcements or of ending jobs with a few claims instead of one for each.
            time.sleep(max(0.0, self._claim_at - time.monotonic()))
            self._announcements.listen()
            begun, locked = self._begin(connection, free) if free > 0 else (0, False)
            if begun:
                self._announcements.were_right()
            if begun == max(0, free):
                self._wait(upkeep_in)
                continue
            if self._settings.until_idle and not begun and not self._running and not locked:
                return
            self._claim_at = time.monotonic() + BURST
            due_in = leases.until_next(connection)
            waits = [upkeep_in, LOCKED if locked else self._settings.poll.total_seconds()]
            # Wait slightly longer, so that the job is due by then.
            self._wait(min(*waits, *([due_in.total_seconds() + 0.002] if due_in is not None else [])))

    def _upkeep(self, connection: psycopg.Connection[Any]) -> float:
        """Requeue jobs that other workers lost, and enqueue periodic jobs. Returns the seconds until the next time."""
        left = self._upkeep_at - time.monotonic()
        if left > 0:
            return left
        for lost in leases.take_back(connection, self.name, list(self._running)):
            _log.warning(
                "job %d %s: worker %s was lost, the job is %s", lost.id, lost.job_type, lost.worker, lost.state
            )
        if self._look_at <= time.monotonic():
            self._look_again(connection)
        if self._settings.upkeep:
            maintenance.put_down(connection, self._known)
        self._upkeep_at = time.monotonic() + self._upkeep_every
        return self._upkeep_every

    def _look_again(self, connection: psycopg.Connection[Any]) -> None:
        self._scope.look_again(connection)
        self._look_at = time.monotonic() + AGAIN

    def _begin(self, connection: psycopg.Connection[Any], free: int) -> tuple[int, bool]:
        """Begin up to `free` jobs. Returns how many, and whether other due jobs are locked by someone."""
        begun = rounds = 0
        passed: list[int] = []
        while rounds < ROUNDS:
            now = time.monotonic()
            # Do not begin a job a second time that still runs here although its lease was lost.
            but = [*self._running, *passed]
            found = leases.claim(
                *(connection, self.name, free - begun, self._settings.lease, self._whose_turn, but),
                types=self._scope.types,
                readable=self._scope.readable,
                unreadable=self._scope.unreadable,
            )
            self._whose_turn = found.last
            for claimed in found.taken:
                self._run(claimed, now)
            begun += len(found.taken)
            passed += found.locked
            if begun == free:
                break
            if found.unseen:
                # A backfill is unseen only once, so this does not repeat forever.
                self._scope.look(connection, found.unseen)
                continue
            if not found.locked:
                break
            # Locked jobs are at the head of their queue: look past them.
            rounds += 1
        return begun, bool(passed)

    def _run(self, claimed: Claimed, now: float) -> None:
        kind = self._types[claimed.job.job_type]
        timeout = None if kind.timeout is None else kind.timeout.total_seconds()
        running = Running(claimed.job, claimed.fence, self._lease, timeout, now)
        if self._watch is not None:
            self._watch.job_began()
        with self._lock:
            self._running[claimed.job.id] = running
        self._processes.begin(running)

    def _record(self, connection: psycopg.Connection[Any]) -> None:
        """Record outcomes. One that cannot be recorded yet is kept, and its job held, until it can."""
        while not self._ended.empty():
            running, outcome = self._ended.get()
            self._unrecorded.setdefault(running.job.id, (running, outcome))
        if not self._unrecorded:
            return
        states = self._finish(connection, [outcome for _, outcome in self._unrecorded.values()])
        outcomes = [outcome for _, outcome in self._unrecorded.values()]
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
            # JSON that PostgreSQL cannot store: half a surrogate pair, a NUL in a text, a number out of range.
            text = presentable(f"the result of the function cannot be stored: {one_line(str(error))}")
            held = outcomes[0].held
            refused = Outcome(held, "failed", error=text)
            running, _ = self._unrecorded[held.id]
            self._unrecorded[held.id] = (running, refused)
            return leases.finish(connection, self.name, [refused])

    def _tell(self, running: Running, outcome: Outcome, state: str | None) -> None:
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
        """Tell functions to end after the grace, kill those that do not, and give their jobs back."""
        for running in list(self._running.values()):
            self.end(running, "stopping")
        # All functions have ended by then. The lease of a job that cannot be recorded, because it is locked, expires.
        deadline = time.monotonic() + 3 * LAST_CALL
        while self._running and time.monotonic() < deadline:
            self._wait(LOCKED)
            self._record(connection)
            if self._broken is not None:
                raise self._broken

    # Waiting --------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Wait until something is announced, a job has ended, `stop` is called, or so many seconds have passed."""
        if self._announcements.wait(seconds, look=not self._ended.empty()):
            self._heartbeat.renew_all()
