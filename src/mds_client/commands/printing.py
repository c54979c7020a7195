"""Options of all reading commands: filters, format and output.

Filters and formats are declared here once. The commands are in `mds_client.commands.reading`.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from mds_client.console import Command, FileName, Instant, json_option
from mds_client.export import written
from mds_client.output.sheets import FORMATS, WRITERS, Format, Record, Sheet, Writer, write_json
from mds_client.schema import Kind

_BY_NAME: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".txt": "table",
}


def comma_separated(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[str] | None:
    """Split names separated by commas into a list."""
    return None if text is None else [name for name in map(str.strip, text.split(",")) if name]


_FILTERS: Final[dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "vendor": (("--vendor",), {"help": "Only from this vendor."}),
    "symbols": (
        ("--symbol", "--symbols", "symbols"),
        {"help": "Only this symbol, or these, separated by commas.", "callback": comma_separated},
    ),
    "timeframe": (("--timeframe",), {"help": "Only this timeframe: 1m, 5m, 1h, 1d, …"}),
    "start": (
        ("--start",),
        {"help": "Start of the range, inclusive: ISO, UTC if it names no zone.", "type": Instant()},
    ),
    "end": (("--end",), {"help": "End of the range, exclusive: ISO, UTC if it names no zone.", "type": Instant()}),
}


def filters_of(kind: Kind) -> tuple[str, ...]:
    """Return the filters that apply to rows of a kind."""
    lacking = {
        "symbols": "symbol" not in kind.model.model_fields,
        "timeframe": "timeframe" not in kind.series,
    }
    return tuple(name for name in _FILTERS if not lacking.get(name, False))


def filter_options(*names: str, required: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Add the filter options with these names, or all: vendor, symbol, timeframe, start, end."""

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(_FILTERS)):
            flags, settings = _FILTERS[name]
            command = click.option(*flags, required=name in required, **settings)(command)
        return command

    return decorate


class Printer:
    """Prints rows, or writes them to a file, in the requested format."""

    def __init__(self, form: Format, output: str, as_json: bool, limit: int | None) -> None:
        self._write: Writer = write_json if as_json else WRITERS[form]
        self._form = "json" if as_json else form
        self._output = output
        self._limit = limit

    def show(self, sheet: Sheet, batches: Iterator[list[Record]], why_empty: Callable[[], str] | None = None) -> int:
        """Print the rows of a sheet as they arrive, and return their number.

        If there are none, the reason from `why_empty` is printed to standard error.
        """
        if self._form == "parquet" and self._output == "-" and sys.stdout.isatty():
            raise click.UsageError("Parquet is not text: name a file with --output")
        click.echo(nl=False)
        with written(self._output) as target:
            rows = self._write(sheet, batches if self._limit is None else _first(batches, self._limit), target)
        if not rows and why_empty is not None:
            click.echo(why_empty(), err=True)
        return rows


def _first(batches: Iterator[list[Record]], limit: int) -> Iterator[list[Record]]:
    for rows in batches:
        yield list(islice(rows, limit))
        limit -= len(rows)
        if limit <= 0:
            return


def limit_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--limit`. Apply it around `output_options`."""
    return click.option("--limit", type=click.IntRange(1), help="Maximum number of rows to print.")(command)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format`, `--output` and `--json`. The command receives a `Printer` instead of them."""

    @click.option(
        "--format", "form", type=click.Choice(FORMATS),
        help="How to print the rows. [default: as --output ends, otherwise table]",
    )  # fmt: skip
    @click.option(
        "--output", type=FileName(), default="-", metavar="FILE",
        help="Write to this file, which appears when it is whole; .gz and .zst are compressed.",
    )  # fmt: skip
    @json_option
    @functools.wraps(command)
    def printing(
        *arguments: Any, form: Format | None, output: str, as_json: bool, limit: int | None = None, **options: Any
    ) -> Any:
        if as_json and form is not None:
            raise click.UsageError("--json and --format: choose one of them")
        if form is None:
            form = "table" if output == "-" else _format_of(output, as_json)
        return command(*arguments, printer=Printer(form, output, as_json, limit), **options)

    return printing


def _format_of(output: str, as_json: bool) -> Format:
    name = Path(output)
    suffix = Path(name.stem).suffix if name.suffix in (".gz", ".zst") else name.suffix
    if suffix in _BY_NAME or as_json:
        return _BY_NAME.get(suffix, "table")
    raise click.UsageError(f"{output}: the name does not tell the format: add --format {'|'.join(FORMATS)}")
