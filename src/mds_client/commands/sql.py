"""The command `mds sql`: runs one statement, or a shell, as the tenant."""

import os
import shutil
import sys
from collections.abc import Iterator

import click

from mds_client.commands.options import settings_options
from mds_client.commands.printing import Printer, output_options
from mds_client.commands.statements import Statements, psql_settings
from mds_client.config import Config
from mds_client.console import one_line
from mds_client.errors import MDSError


@click.command("sql")
@click.argument("statement", required=False)
@click.option("--psql/--no-psql", default=True, help="Open psql if there is one; --no-psql is our own small shell.")
@settings_options
@output_options
def run_sql(config: Config, printer: Printer, statement: str | None, psql: bool) -> None:
    """Run one SQL STATEMENT as the tenant and print its rows; without one, open a shell.

    A statement runs in a transaction of its own, whose tenant is set as in every call of the client. - reads statements
    from standard input, each of which ends with a semicolon at the end of a line. The shell is psql, which gets the
    connection in its environment; where there is none, or a pooler lets no tenant through, it is one of our own.

    Example: mds sql "SELECT symbol, max(close_price) FROM bars GROUP BY symbol" --format csv
    """
    if statement is not None and statement != "-":
        with Statements(config) as statements:
            _run(statements, statement, printer)
        return
    if psql and statement is None and (program := shutil.which("psql")) is not None:
        _open_psql(program, config)
    with Statements(config) as statements:
        _shell(statements, printer)


def _open_psql(program: str, config: Config) -> None:
    """Replace this process by psql. Returns if psql cannot connect as the tenant."""
    settings = psql_settings(config)
    if settings is None:
        click.echo("psql cannot be this tenant through the pooler: this is the small shell", err=True)
        return
    environment, conninfo = settings
    sys.stdout.flush()
    os.execve(program, ["psql", *([conninfo] if conninfo else [])], environment)  # noqa: S606 - no shell


def _run(statements: Statements, statement: str, printer: Printer) -> None:
    with statements.run(statement) as answer:
        if answer.sheet is None:
            click.echo(answer.done, err=True)
            return
        printer.show(answer.sheet, answer.rows, lambda: "no rows")


def _shell(statements: Statements, printer: Printer) -> None:
    """Run statements from a terminal or a pipe. In a pipe, the first error ends the run."""
    terminal = sys.stdin.isatty()
    if terminal:
        _edited_lines()
        click.echo("End a statement with a semicolon; \\q leaves.", err=True)
    for statement in _statements(terminal):
        try:
            _run(statements, statement, printer)
        except MDSError as error:
            if not terminal:
                raise
            click.echo(f"error: {one_line(str(error))}", err=True)


def _edited_lines() -> None:
    """Enable line editing and history in a terminal, if Python supports it."""
    try:
        import readline  # noqa: F401 - input() uses it
    except ImportError:
        return


def _statements(terminal: bool) -> Iterator[str]:
    lines: list[str] = []
    while (line := _line(lines, terminal)) is not None:
        if line.strip() in ("\\q", "exit", "quit") and not lines:
            return
        lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines)
            lines = []
    if "".join(lines).strip():
        yield "\n".join(lines)


def _line(lines: list[str], terminal: bool) -> str | None:
    """Read the next line, or return None at the end. Ctrl-C discards the current statement."""
    while True:
        try:
            if terminal:
                return input("mds-> " if lines else "mds=> ")
            read = sys.stdin.readline()
            return read.rstrip("\n") if read else None
        except EOFError:
            return None
        except KeyboardInterrupt:
            if not terminal:
                raise
            lines.clear()
            click.echo(err=True)
