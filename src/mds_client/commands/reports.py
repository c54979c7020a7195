"""Reports about inputs that are written one after the other: a progress bar, a line for each, and the exit code."""

import sys
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mds_client.console import FAILED, INTERRUPTED, REJECTS, counted, fail, one_line, show_json
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import SourceError
from mds_client.transfer.imports import Import, Importing


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a file. `report` is None if nothing was read."""

    path: str
    report: Import | None
    error: MDSError | KeyboardInterrupt | None

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
        if self.report is None:
            return f"not imported: {self.said}"
        return _sentence(self.report)

    def fields(self) -> dict[str, Any]:
        """Return the fields to print as JSON."""
        if self.report is None:
            return {"source": self.path, "rows": 0, "rejected": 0, "complete": False, "error": self.said}
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
    if isinstance(stopped, KeyboardInterrupt):
        fail("interrupted; the same command again completes it", INTERRUPTED)
    if stopped is not None:
        fail(one_line(str(stopped)), FAILED)
    if broken and len(reports) == 1:
        fail(broken[0].said or "", FAILED if isinstance(broken[0].error, SourceError) else REJECTS)
    if broken:
        fail(f"{counted(len(broken), what)} of {len(reports)} not or not completely {done_to_it}", REJECTS)
    if any(done.report is not None and done.report.rejected for done in reports):
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
        self._before = 0
        self._path = ""
        self._number = 0
        self._importing: Importing | None = None

    def __enter__(self) -> "Watch":
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, path: str, importing: Importing) -> None:
        """Begin a file."""
        self._before += self._sizes.get(self._path, 0)
        self._number += 1
        self._path, self._importing = path, importing
        of = f" ({self._number} of {len(self._sizes)})" if len(self._sizes) > 1 else ""
        self._progress.update(self._task, description=f"{path}{of}", completed=self._before)

    def moved(self, done: int, size: int | None) -> None:
        """Update how much of the file is written."""
        share = done / size if size else 0.0
        rate = 0.0 if self._importing is None else self._importing.report().rows_per_second
        completed = self._before + share * self._sizes.get(self._path, 0)
        self._progress.update(self._task, completed=completed, rate=f"{rate:,.0f} rows/s")

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
