"""Following long work: a progress bar on a terminal, nothing in a pipe, and a hint if nobody does the work."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import click

from datastore import jobs
from datastore.jobs import JobRecord
from mds_client.console import FAILED

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

LOOK: Final = 1.0
"""Seconds between two looks at the followed work."""

PATIENCE: Final = 10.0
"""Seconds of waiting for due work to begin before a hint is printed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of something: `done` of `total` (None: unknown yet), a text beside the bar, and a hint to print if
    it stays due and nobody works on it."""

    done: int
    total: int | None
    said: str
    idle: str | None


def follow_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--follow`: wait until the end."""
    return click.option("--follow", is_flag=True, help="Wait until it ends, and show its progress.")(command)


def bar(*more: "ProgressColumn") -> "Progress":
    """Return a progress bar on standard error, which disappears at its end; without a terminal it shows nothing."""
    # Importing this takes longer than many commands run.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), *more)
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def each(names: Sequence[str], do: Callable[[str], Sequence[T]]) -> list[T]:
    """Do something for each name, and show a progress bar with the current name. Returns all results together."""
    done: list[T] = []
    with bar() as shown:
        task = shown.add_task("", total=len(names))
        for name in names:
            shown.update(task, description=name, refresh=True)
            done += do(name)
            shown.advance(task)
    return done


def followed(
    what: str,
    look: Callable[[], T],
    step: Callable[[T], Step | None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Look at something until it has no further step, and show its progress. Returns what was seen last."""
    from rich.progress import TextColumn

    with bar(TextColumn("{task.fields[said]}")) as shown:
        task = shown.add_task(what, total=None, said="")
        at_work, told = clock(), False
        while (now := step(found := look())) is not None:
            shown.update(task, completed=now.done, total=now.total, said=now.said, refresh=True)
            if not now.idle:
                at_work = clock()
            elif not told and clock() - at_work >= PATIENCE:
                click.echo(f"nothing has begun for {PATIENCE:.0f} s: {now.idle}", err=True)
                told = True
            sleep(LOOK)
    return found


def nobody_works(dsn: str) -> str | None:
    """Return a hint if no worker is running any job."""
    if jobs.list_jobs(dsn, state="running", limit=1).items:
        return None
    return "is there a worker that can do it? (datastore worker; it logs what it leaves to others)"


def job(dsn: str, id_: int, tenant: UUID | None = None) -> JobRecord:
    """Show the progress of a job until it ends, and return it."""

    def step(found: JobRecord) -> Step | None:
        if found.state not in ("queued", "running"):
            return None
        due = found.state == "queued" and found.due_at <= datetime.now(UTC)
        idle = nobody_works(dsn) if due else None
        return Step(found.done or 0, found.total, found.state, idle)

    return followed(f"job {id_}", lambda: jobs.get_job(dsn, id_, tenant=tenant), step)


def end(found: JobRecord) -> None:
    """Exit with 1 if a followed job has not succeeded."""
    if found.state in ("failed", "cancelled"):
        sys.exit(FAILED)
