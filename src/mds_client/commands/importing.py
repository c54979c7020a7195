"""The command `mds import`: writes the rows of files of any format, with a column mapping or a vendor's profile."""

import glob
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click

from mds_client import compression
from mds_client.client import MDS
from mds_client.commands.mapping import check_mapping, mapping_options
from mds_client.commands.options import on_conflict_option, settings_options
from mds_client.commands.reports import Done, Watch, end, shown
from mds_client.config import Config
from mds_client.console import FAILED, REJECTS, counted, fail, json_option, one_line, show_json, show_rows
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import (
    FORMATS,
    Detected,
    Format,
    Mapping,
    SourceError,
    detected,
    format_of_name,
    rejects_path,
    split,
)
from mds_client.profiles import Profile, profiles
from mds_client.schema import KINDS, TENANT_COLUMN, Kind, OnConflict
from mds_client.transfer.imports import PART_ROWS, Importing

SHOWN: int = 5
"""The number of rows of a file that a dry run shows."""


def _list_profiles(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """Show the profiles and exit."""
    if not asked or context.resilient_parsing:
        return
    show_rows(
        [
            {"profile": name, "kind": one.kind, "reads": one.title, "asks for": ", ".join(one.asks)}
            for name, one in profiles().items()
        ],
        as_json=bool(context.params.get("as_json")),
    )
    context.exit()


@click.command("import")
@click.argument("names", metavar="[KIND] FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format of the input. [default: detected from content and name]",
)
@click.option("--vendor", help="The same as --set vendor=….")
@click.option("--symbol", help="The same as --set symbol=….")
@click.option("--timeframe", help="The same as --set timeframe=….")
@mapping_options
@on_conflict_option
@click.option(
    "--part-rows", type=click.IntRange(1), default=PART_ROWS, show_default=True, help="Rows in one transaction."
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; show how each file is read, and its first rows as stored."
)
@click.option(
    "--list-profiles", is_flag=True, callback=_list_profiles, expose_value=False, help="List the profiles, and end."
)
@settings_options
@json_option
def import_files(
    config: Config,
    names: tuple[str, ...],
    form: Format | None,
    vendor: str | None,
    symbol: str | None,
    timeframe: str | None,
    mapping: Mapping,
    profile: Profile | None,
    on_conflict: OnConflict,
    part_rows: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the rows of files of one KIND.

    FILE is CSV, NDJSON, JSON, Parquet, Arrow, Excel or DBN, text also compressed; a folder or a zip archive stands for
    the files in it, a pattern such as 'data/**/*.csv' for those that match, and - for standard input. KIND can be left
    out where a vendor's profile says it. How a file is written is detected and printed; what is not in the file, or
    can be read in two ways, is asked for. Invalid rows go to FILE.rejects.ndjson with their line and the reason, and
    do not stop the others. A file that cannot be read does not stop the other files. Both make the exit code 3.
    Running the same command again changes nothing, and completes a run that was stopped.

    Example: mds import bars AAPL.csv --profile stooq --symbol AAPL --timeframe 1d
    """
    kind = KINDS.get(names[0])
    paths = names if kind is None else names[1:]
    if not paths:
        raise click.UsageError("name the files")
    given = {"vendor": vendor, "symbol": symbol, "timeframe": timeframe}
    mapping = mapping.but(constants={name: value for name, value in given.items() if value is not None} or None)
    if kind is None and profile is not None:
        kind = KINDS[profile.kind]
    if kind is not None:
        check_mapping(kind, mapping)
    elif len(paths) > 1 and not Path(paths[0]).exists() and not _is_glob(paths[0]):
        raise click.UsageError(f"{KINDS.unknown(paths[0])}, and no file of that name")
    files = _files(paths, form)
    how = _How(kind, form, mapping, profile)
    if dry_run:
        sys.exit(_dry_run(how, files, as_json))
    reports: list[Done] = []
    stopped: MDSError | KeyboardInterrupt | None = None
    with MDS(config) as client, Watch({path: _size(path) for path in files}) as watch:
        for path in files:
            done = _import(client, how, path, on_conflict, part_rows, watch)
            reports.append(done)
            if not as_json and not (done.report is None and len(files) == 1):
                watch.say(done.sentence(), err=done.error is not None)
            if done.error is not None and not done.is_of_file:
                stopped = done.error
                break
    end(reports, stopped, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _How:
    """The options for reading all files."""

    kind: Kind | None
    form: Format | None
    mapping: Mapping
    profile: Profile | None

    def detected(self, path: str) -> Detected:
        """Detect how one of the files is read."""
        return detected(self.kind, path, self.form, self.mapping, self.profile)


def _import(client: MDS, how: _How, path: str, on_conflict: OnConflict, part_rows: int, watch: Watch) -> Done:
    """Import one file, up to the first error."""
    try:
        found = how.detected(path)
    except MDSError as error:
        return Done(path, None, error)
    for note in found.notes:
        watch.say(f"{shown(path)}: {note}", err=True)
    try:
        source = found.open()
    except MDSError as error:
        found.close()
        return Done(path, None, error)
    with closing(source):
        importing = Importing(
            client, source, found.kind, rejects_path(path), on_conflict=on_conflict, part_rows=part_rows
        )
        watch.begin(path, importing)
        try:
            importing.run(watch.moved)
        except (MDSError, KeyboardInterrupt) as error:
            return Done(path, importing.report(), error)
        return Done(path, importing.report(), None)


def _is_glob(path: str) -> bool:
    return glob.has_magic(path) and not Path(path).exists()


def _files(paths: tuple[str, ...], form: Format | None) -> list[str]:
    """Return the files in the given order. Those of a folder, an archive or a pattern are sorted by name."""
    files: list[str] = []
    for path in paths:
        if path == "-":
            files.append(path)
        elif _is_glob(path):
            # Path.glob does not accept absolute patterns.
            matches = [one for one in sorted(glob.iglob(path, recursive=True)) if Path(one).is_file()]  # noqa: PTH207
            if not (found := [one for one in matches if ".rejects." not in Path(one).name]):
                raise click.UsageError(f"{path}: no file matches")
            for one in found:
                files += _members(one)
        elif Path(path).is_dir():
            there = [one for one in sorted(Path(path).iterdir()) if one.is_file() and not one.name.startswith(".")]
            named = [str(one) for one in there if ".rejects." not in one.name and (form or _has_format(one))]
            if not named:
                raise click.UsageError(f"{path}: there is no file whose name tells its format; name it with --format")
            for one in named:
                files += _members(one)
        else:
            files += _members(path)
    return files


def _has_format(path: Path) -> bool:
    """Whether a file in a folder has the name of a file of rows."""
    return path.suffix == ".zip" or format_of_name(path.name) is not None


def _members(path: str) -> Iterator[str]:
    """Yield a file, or the files in it if it is a zip archive of several."""
    if format_of_name(path) == "excel" or not Path(path).is_file():
        yield path
        return
    if len(names := compression.members(path)) > 1:
        yield from (f"{path}/{name}" for name in names)
    else:
        yield path


def _size(path: str) -> int:
    file, member = split(path)
    return Path(file).stat().st_size if member is None and Path(file).is_file() else 0


def _dry_run(how: _How, files: list[str], as_json: bool) -> int:
    """Show how each file is read. Returns the exit code."""
    code = 0
    for path in files:
        try:
            found = how.detected(path)
        except (SourceError, InvalidRow) as error:
            if len(files) == 1:
                fail(one_line(str(error)), FAILED if isinstance(error, SourceError) else REJECTS)
            click.echo(f"{path}: {one_line(str(error))}", err=True)
            code = REJECTS
            continue
        code = REJECTS if _show(found, as_json) else code
    return code


def _show(found: Detected, as_json: bool) -> int:
    """Show the first rows as they would be stored. Returns the number of invalid rows before them."""
    invalid: list[str] = []
    rows: list[Any] = []
    kind = found.kind
    with closing(found.open()) as source:

        def reject(line: int, why: str, _text: str) -> None:
            invalid.append(f"{source.unit} {line}: {why}")

        for part in source.parts(1_000, reject):
            rows += part.sifted(reject).rows
            if rows or len(invalid) >= SHOWN:
                break
    shown = [row.model_dump(mode="json", exclude={TENANT_COLUMN}, exclude_none=True) for row in islice(rows, SHOWN)]
    if as_json:
        profile = None if found.profile is None else found.profile.name
        show_json(
            {
                "source": source.name, "kind": kind.name, "format": found.form, "profile": profile,
                "detected": found.notes, "rows": shown, "invalid": invalid[:SHOWN],
            }
        )  # fmt: skip
    else:
        for note in found.notes:
            click.echo(f"{source.name}: {note}")
        click.echo(f"{source.name}: the first {counted(len(shown), 'row')} as stored; nothing is written")
        names = [name for name in kind.model.model_fields if any(name in row for row in shown)]
        show_rows([{name: row.get(name) for name in names} for row in shown], as_json=False)
        for said in invalid[:SHOWN]:
            click.echo(f"invalid: {one_line(said)}", err=True)
    return len(invalid)
