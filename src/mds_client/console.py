"""Output of both command lines: tables for people, JSON for programs, one clear line and an exit code for errors.

There are no commands here.
"""

import io
import json
import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

import click

from mds_client.errors import MDSError
from mds_client.values import times

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REJECTS: Final = 3
INTERRUPTED: Final = 130

Command = TypeVar("Command", bound=Callable[..., Any])


class Instant(click.ParamType[datetime]):
    """A time as in the models: ISO 8601 text; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return times.in_utc(times.parsed(value) if isinstance(value, str) else value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class FileName(click.Path):
    """The name of a file, or - for standard input or output, with shell completion. It is checked when it is opened."""

    def __init__(self) -> None:
        super().__init__(readable=False, allow_dash=True)


def json_option(command: Command) -> Command:
    """Add the option `--json`, which every command has."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def plain(value: Any) -> Any:
    """Convert data for JSON: models and dataclasses become objects, times become ISO text.

    Durations are unchanged: `show_json` prints seconds, a table days and hours.
    """
    if hasattr(type(value), "model_fields"):  # a pydantic model
        return {key: plain(item) for key, item in value.__dict__.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"JSON does not know {type(value).__name__}")


def show_json(value: Any) -> None:
    """Print data as one JSON document. NaN and infinity are printed as null."""
    click.echo(json.dumps(finite(plain(value)), ensure_ascii=False, allow_nan=False, indent=2, default=_seconds))


def finite(value: Any) -> Any:
    """Replace NaN and infinity in data with None, for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


def show_fields(value: Any, as_json: bool) -> None:
    """Print the fields of one object, one per line."""
    fields = plain(value)
    if as_json:
        show_json(fields)
        return
    width = max(map(len, fields), default=0)
    for name, item in fields.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(item)}")


def show_rows(rows: Sequence[Any], as_json: bool, columns: Iterable[str] | None = None, empty: str = "none") -> None:
    """Print many objects of one type as a table, one per line."""
    plain_rows: list[dict[str, Any]] = plain(list(rows))
    if as_json:
        show_json(plain_rows)
        return
    if not plain_rows:
        click.echo(empty, err=True)
        return
    names = list(columns or plain_rows[0])
    click.echo(table_text(plain_rows, names)[0], nl=False)


def table_text(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    widths: Mapping[str, int] | None = None,
    *,
    header: bool = True,
) -> tuple[str, dict[str, int]]:
    """Format rows as a table, and return the widths of its columns, for the next part of the table.

    On a terminal, the table fits its width.
    """
    # Importing rich takes longer than many commands.
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    found: dict[str, int] = {}
    cells = [[_cell(plain(row[name])) for name in names] for row in rows]
    for at, name in enumerate(names):
        numbers = all(isinstance(row[name], int | float | None) for row in rows)
        title = name.replace("_", " ")
        before = (widths or {}).get(name, 0)
        found[name] = max(before, *map(cell_len, (title, *(line[at] for line in cells))))
        table.add_column(title, justify="right" if numbers else "left", no_wrap=True, min_width=before or None)
    for line in cells:
        table.add_row(*line)
    # In a pipe there is no width to fit, so never truncate values.
    tty = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), force_terminal=tty, width=None if tty else 10_000, highlight=False, markup=False
    )
    with console.capture() as capture:
        console.print(table)
    return capture.get(), found


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(inner)}" for name, inner in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return str(value).removesuffix(", 0:00:00")
    return str(value)


def counted(number: int, thing: str) -> str:
    """Format a count with its noun: `1 row`, `1,000 rows`. Words such as `series` do not change in the plural."""
    return f"{number:,} {thing}{'' if number == 1 or thing.endswith('s') else 's'}"


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print an error message and exit with the code."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


_ASIDE: Final = re.compile(r"^LINE \d+:.*\n *\^ *$|^CONTEXT: .*$", re.MULTILINE)


def one_line(text: str) -> str:
    """Format a server's message as one line, without the excerpt of the statement and the context in a function."""
    lines = (" ".join(line.split()) for line in _ASIDE.sub("", text).splitlines())
    return "; ".join(line for line in lines if line)


def confirmed_delete(
    client: Any, kind: str, filters: Mapping[str, Any], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Print the rows that would be deleted. Delete them with `yes`, or if the user confirms."""
    if as_json and not (dry_run or yes):
        raise click.UsageError("with --json nobody is asked: add --yes, or --dry-run")
    chosen = {key: value for key, value in filters.items() if value is not None}
    found = client.delete(kind, **chosen, dry_run=True)
    if not dry_run and found.rows:
        if not yes:
            _show_deleted(found, as_json=False)
            if not click.confirm(f"Delete {counted(found.rows, 'row')} for good?", err=True):
                fail("nothing is deleted")
        found = client.delete(kind, **chosen)
    _show_deleted(found, as_json=as_json)


def _show_deleted(deleted: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(deleted)
        return
    show_rows(deleted.series, False, empty="no rows")
    click.echo(f"{counted(deleted.rows, 'row')} {'would be deleted' if deleted.dry_run else 'deleted'}")


def guarded(command_line: Callable[[], click.Command], *errors: type[Exception]) -> Callable[[], None]:
    """Return a program's entry point, which prints an MDSError, an OSError or these errors as one line and exits."""

    def run() -> None:
        quieten(lambda text: click.echo(text, err=True))
        try:
            command_line()(standalone_mode=False)
            # Flush here: at the interpreter's exit, a closed pipe would print a traceback.
            sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            fail("interrupted", INTERRUPTED)
        except MDSError as error:
            fail(one_line(str(error)))
        except BrokenPipeError:
            # The reader of a pipe (`| head`) has closed it. Prevent another write at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except OSError as error:
            fail(str(error))
        except UnicodeEncodeError as error:
            # Arguments, such as file names, can contain bytes that are not valid text.
            given = next((one for one in sys.argv if re.search("[\udc80-\udcff]", one)), None)
            fail(f"{given!r} is not UTF-8" if given is not None else str(error))
        except errors as error:
            fail(str(error).strip())

    return run


def summarised(group: click.Group) -> click.Group:
    """Set the short help of each command in a group to the complete first sentence of its help. Returns the group."""
    for command in group.commands.values():
        command.short_help = summary(command)
        if isinstance(command, click.Group):
            summarised(command)
    return group


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help, for lists of commands."""
    aside = re.sub(r"\s+\([^)]*\)", "", (command.help or "").partition("\n\n")[0])
    return " ".join(_SENTENCE.split(aside, 1)[0].split())


_SENTENCE: Final = re.compile(r"[.;:](?:\s|$)")

_SILENT: Final = logging.NullHandler()


def quieten(say: Callable[[str], None]) -> None:
    """Say warnings as one line each, and keep libraries from logging what an error or a warning says."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        say(f"warning: {message}")

    warnings.showwarning = show
    for name in ("psycopg", "mds_client"):
        # The raised error says what they log, or the problem was already solved by a retry.
        logging.getLogger(name).addHandler(_SILENT)
