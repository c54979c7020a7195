"""The command `mds import`: writes the rows of files of any format, with a column mapping or a vendor's profile."""

import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile
from typing import Any

import click

from mds_client.client import MDS
from mds_client.commands.crew import Crew, number_of
from mds_client.commands.imported import How, import_one
from mds_client.commands.inputs import files_of, is_pattern, is_there, size_of
from mds_client.commands.mapping import check_mapping, mapping_options
from mds_client.commands.options import Settings, lazy_settings_options, on_conflict_option
from mds_client.commands.reports import Done, Watch, end
from mds_client.config import Config
from mds_client.console import FAILED, REJECTS, counted, fail, json_option, one_line, show_json, show_rows
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import FORMATS, Detected, Format, Mapping, SourceError, rejects_path
from mds_client.profiles import Profile, profiles
from mds_client.schema import KINDS, TENANT_COLUMN, OnConflict
from mds_client.transfer.imports import PART_ROWS
from mds_client.transfer.journal import Journal

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
    "--jobs",
    type=click.IntRange(1),
    help="Files that are imported at once, each in a process. [default: by processors, at most MDS_POOL_MAX]",
)
@click.option("--again", is_flag=True, help="Import files again that a stopped run has imported completely.")
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; show how each file is read, and its first rows as stored."
)
@click.option(
    "--list-profiles", is_flag=True, callback=_list_profiles, expose_value=False, help="List the profiles, and end."
)
@lazy_settings_options
@json_option
def import_files(
    settings: Settings,
    names: tuple[str, ...],
    form: Format | None,
    vendor: str | None,
    symbol: str | None,
    timeframe: str | None,
    mapping: Mapping,
    profile: Profile | None,
    on_conflict: OnConflict,
    part_rows: int,
    jobs: int | None,
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the rows of files of one KIND.

    FILE is CSV, NDJSON, JSON, Parquet, Arrow, Excel or DBN, text also compressed; a folder or a zip archive stands for
    the files in it, a pattern such as 'data/**/*.csv' for those that match, and - for standard input. KIND can be left
    out where a vendor's profile says it. How a file is written is detected and printed; what is not in the file, or
    can be read in two ways, is asked for. Invalid rows go to FILE.rejects.ndjson with their line and the reason, and
    do not stop the others. A file that cannot be read does not stop the other files. Both make the exit code 3.
    Running the same command again changes nothing. After a run that was stopped it completes it, and skips the files
    that were imported completely and have not been changed since.

    Example: mds import bars AAPL.csv --profile stooq --symbol AAPL --timeframe 1d
    """
    kind = KINDS.get(names[0])
    paths = names if kind is None else names[1:]
    if not paths:
        raise click.UsageError("name the files")
    if jobs is not None and jobs > 1 and on_conflict != "replace":
        raise click.UsageError(f"with --on-conflict {on_conflict} the order of the files counts: --jobs is 1")
    given = {"vendor": vendor, "symbol": symbol, "timeframe": timeframe}
    mapping = mapping.but(constants={name: value for name, value in given.items() if value is not None} or None)
    if kind is None and profile is not None:
        kind = KINDS[profile.kind]
    if kind is not None:
        check_mapping(kind, mapping)
    elif len(paths) > 1 and not is_there(paths[0]) and not is_pattern(paths[0]):
        raise click.UsageError(f"{KINDS.unknown(paths[0])}, and no file of that name")
    files = files_of(paths, form)
    if jobs is not None and jobs > 1 and len(files) > 1 and "-" in files:
        raise click.UsageError("standard input cannot be imported beside other files: --jobs is 1")
    how = How(None if kind is None else kind.name, form, mapping, profile, on_conflict, part_rows)
    if dry_run:
        sys.exit(_dry_run(how, files, as_json))
    _Run(settings(), how, names, files, as_json).write(jobs, again=again)


class _Run:
    """One run of the command.

    Args:
        config: The settings of the client.
        how: How the files are read.
        names: The files as they were given, which tell this run from others.
        files: The files.
        as_json: Whether the results are printed as JSON.
    """

    def __init__(self, config: Config, how: How, names: tuple[str, ...], files: list[str], as_json: bool) -> None:
        self._config = config
        self._how = how
        self._names = names
        self._files = files
        self._as_json = as_json
        self._sizes = {path: size_of(path) for path in files}
        self._journal: Journal | None = None

    def write(self, jobs: int | None, *, again: bool) -> None:
        """Import the files, and end with the exit code."""
        reports: list[Done] = []
        stopped: MDSError | KeyboardInterrupt | None = None
        with MDS(self._config) as client, Watch(self._sizes) as watch, self._opened(client, again=again):
            with closing(self._results(client, watch, jobs)) as results:
                for done in results:
                    # The keys of thousands of files would fill the memory.
                    reports.append(replace(done, touched=None))
                    self._said(done, watch)
                    if done.error is not None and not done.is_of_file:
                        stopped = stopped or done.error
                    self._keep(done, is_stopped=stopped is not None)
            if self._journal is not None and all(done.error is None for done in reports):
                self._journal.forget()
        end(reports, stopped, as_json=self._as_json)

    @contextmanager
    def _opened(self, client: MDS, *, again: bool) -> Iterator[None]:
        """Open the journal, which only a run of several files has: a file is imported as a whole."""
        if len(self._files) > 1:
            self._journal = Journal.of(client, {"files": self._names, **self._how.told()})
        if self._journal is not None and again:
            self._journal.forget()
        try:
            yield
        finally:
            if self._journal is not None:
                self._journal.close()
                if self._journal.trouble is not None:
                    click.echo(f"warning: {self._journal.trouble}", err=True)

    def _results(self, client: MDS, watch: Watch, jobs: int | None) -> Generator[Done]:
        """Yield the results in the order of the files. After an error that concerns all files, no other one begins."""
        at, is_stopped = 0, False
        while at < len(self._files) and not is_stopped:
            if (skipped := self._skipped(self._files[at])) is not None:
                watch.end(skipped.path)
                yield skipped
                at += 1
                continue
            # A file that can be skipped waits for those in front of it, which may have rows with the same keys.
            behind = takewhile(lambda path: self._skipped(path) is None, islice(self._files, at + 1, None))
            files = [self._files[at], *behind]
            with closing(self._imported(client, watch, files, jobs)) as results:
                for done in results:
                    yield done
                    is_stopped = is_stopped or (done.error is not None and not done.is_of_file)
            at += len(files)

    def _imported(self, client: MDS, watch: Watch, files: list[str], jobs: int | None) -> Generator[Done]:
        remember = self._journal is not None
        # Standard input belongs to this process.
        if jobs is None and self._how.on_conflict == "replace" and "-" not in files:
            jobs = number_of(files, sum(self._sizes[path] for path in files), self._config.pool_max)
        if jobs is not None and jobs > 1 and len(files) > 1:
            yield from Crew(self._config, self._how, jobs, watch, with_fingerprint=remember).run(files)
            return
        for path in files:
            note = partial(watch.say, err=True)
            done = import_one(client, self._how, path, note, watch.begin(path), with_fingerprint=remember)
            watch.end(path)
            yield done
            if done.error is not None and not done.is_of_file:
                return

    def _skipped(self, path: str) -> Done | None:
        """Return the result of a file that a stopped run has imported, or None."""
        if self._journal is None or (found := self._journal.known(path)) is None:
            return None
        if found.rejected and not rejects_path(path).exists():
            return None
        why = f"a run that was stopped has imported it ({found.at:%Y-%m-%d %H:%M} UTC)"
        return Done(path, None, None, skipped=why, rejects=found.rejected)

    def _keep(self, done: Done, *, is_stopped: bool) -> None:
        """Keep the result of a file in the journal."""
        if self._journal is None:
            return
        if done.skipped is not None:
            self._journal.skipped(done.path)
        else:
            is_whole = done.error is None and not is_stopped
            self._journal.imported(done.path, done.fingerprint if is_whole else None, done.rejected, done.touched)

    def _said(self, done: Done, watch: Watch) -> None:
        if self._as_json or done.skipped is not None or (done.report is None and len(self._files) == 1):
            return
        said = done.sentence()
        if done.is_of_file and done.report is not None and len(self._files) > 1:
            said = f"{said}; not complete: {done.said}"
        watch.say(said, err=done.error is not None)


def _dry_run(how: How, files: list[str], as_json: bool) -> int:
    """Show how each file is read. Returns the exit code."""
    code = 0
    for path in files:
        try:
            found = how.detected(path)
            code = REJECTS if _show(found, as_json) else code
        except (SourceError, InvalidRow) as error:
            if len(files) == 1:
                fail(one_line(str(error)), FAILED if isinstance(error, SourceError) else REJECTS)
            click.echo(f"{path}: {one_line(str(error))}", err=True)
            code = REJECTS
    return code


def _show(found: Detected, as_json: bool) -> int:
    """Show the first rows as they would be stored. Returns the number of invalid rows before them."""
    invalid: list[str] = []
    rows: list[Any] = []
    kind = found.kind
    with closing(found.open()) as source:

        def reject(line: int, why: str, _text: str) -> None:
            invalid.append(f"{source.unit} {line}: {why}")

        try:
            for part in source.parts(1_000, reject):
                rows += part.sifted(reject).rows
                if rows or len(invalid) >= SHOWN:
                    break
        except InvalidRow as error:
            raise InvalidRow(f"{source.name}: {error}") from error
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
