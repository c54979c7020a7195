"""Reports about inputs that are written one after the other: a progress bar, a line for each, and the exit code."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mds_client.console import FAILED, INTERRUPTED, REJECTS, counted, fail, one_line, show_json
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import SourceError
from mds_client.transfer.imports import Import
from mds_client.transfer.touched import Touched


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a file. `report` is None if nothing was read.

    `touched` are the keys of its rows. `fingerprint` identifies its content if it was not changed while it was read.
    `skipped` says why the file was not read; `rejects` is the number of rows that were rejected when it was.
    """

    path: str
    report: Import | None
    error: MDSError | KeyboardInterrupt | None
    touched: Touched | None = None
    fingerprint: str | None = None
    skipped: str | None = None
    rejects: int = 0

    @property
    def rejected(self) -> int:
        """The number of rejected rows, also of a skipped file."""
        return self.rejects if self.report is None else self.report.rejected

    @property
    def is_of_file(self) -> bool:
        """Whether the error concerns only this file, so that others can be read."""
        return isinstance(self.error, SourceError | InvalidRow)

    @property
    def said(self) -> str | None:
        """The error as text."""
        return None if self.error is None else one_line(str(self.error)) or "interrupted"

    def sentence(self) -> str:
        """Return the line to print."""
        if self.skipped is not None:
            return f"{self.path}: skipped: {self.skipped}"
        if self.report is None and isinstance(self.error, KeyboardInterrupt):
            return f"{self.path}: not imported: {self.said}"
        if self.report is None:
            return f"not imported: {self.said}"
        return _sentence(self.report)

    def fields(self) -> dict[str, Any]:
        """Return the fields to print as JSON."""
        if self.report is None:
            fields = {"source": self.path, "rows": 0, "rejected": self.rejects, "complete": self.skipped is not None}
            return {**fields, "skipped": self.skipped, "error": self.said}
        report = self.report
        return {**asdict(report), "rows_per_second": round(report.rows_per_second), "error": self.said}


def end(
    reports: list[Done],
    stopped: MDSError | KeyboardInterrupt | None,
    *,
    as_json: bool,
    what: str = "file",
    done_to_it: str = "imported",
) -> None:
    """Print the summary and exit with the exit code."""
    broken = [done for done in reports if done.is_of_file]
    if as_json:
        said = (broken[0].said if len(reports) == 1 and broken else None) if stopped is None else reports[-1].said
        show_json({f"{what}s": [done.fields() for done in reports], "error": said})
    skipped = [done for done in reports if done.skipped is not None]
    if skipped and not as_json:
        click.echo(
            f"{counted(len(skipped), what)} of {len(reports)} skipped: a run that was stopped has {done_to_it} them,"
            " and they are unchanged since (--again imports them, too)",
            err=True,
        )
    if isinstance(stopped, KeyboardInterrupt):
        fail("interrupted; the same command again completes it", INTERRUPTED)
    if stopped is not None:
        fail(one_line(str(stopped)), FAILED)
    if broken and len(reports) == 1:
        fail(broken[0].said or "", FAILED if isinstance(broken[0].error, SourceError) else REJECTS)
    if broken:
        fail(f"{counted(len(broken), what)} of {len(reports)} not or not completely {done_to_it}", REJECTS)
    if any(done.rejected for done in reports):
        sys.exit(REJECTS)


def shown(path: str) -> str:
    """Return a path as it appears in messages."""
    return "standard input" if path == "-" else path


class Watch:
    """A progress bar over all files on a terminal: progress, rows per second, and the remaining time."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        total = sum(self._sizes.values())
        self._task = self._progress.add_task("", total=total or None, rate="")
        self._began = time.monotonic()
        self._shares: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._completed = 0.0
        self._written = 0

    def __enter__(self) -> "Watch":
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, path: str) -> Callable[[float, int], None]:
        """Begin a file. Returns a function that is told the share that is done, and the number of written rows."""
        self._shares.setdefault(path, 0.0)
        of = f" ({len(self._shares)} of {len(self._sizes)})" if len(self._sizes) > 1 else ""
        self._progress.update(self._task, description=f"{path}{of}")
        return partial(self._moved, path)

    def end(self, path: str) -> None:
        """End a file, of which nothing more is to be done."""
        self._moved(path, 1.0, self._rows.get(path, 0))

    def _moved(self, path: str, share: float, rows: int) -> None:
        self._completed += (share - self._shares.get(path, 0.0)) * self._sizes.get(path, 0)
        self._written += rows - self._rows.get(path, 0)
        self._shares[path], self._rows[path] = share, rows
        rate = self._written / max(time.monotonic() - self._began, 1e-3)
        self._progress.update(self._task, completed=self._completed, rate=f"{rate:,.0f} rows/s")

    def say(self, text: str, *, err: bool) -> None:
        """Print a line beside the bar."""
        click.echo(text, err=err)


def _sentence(report: Import) -> str:
    said = (
        f"{report.source}: {counted(report.rows, 'row')} of {report.kind} written in {report.seconds:.2f} s"
        f" ({report.rows_per_second:,.0f} rows/s), {report.rejected:,} rejected"
    )
    if report.replaced:
        said += f", {report.replaced:,} replaced by a later row with the same key and other values"
    return f"{said}, see {report.rejects}" if report.rejects else said
