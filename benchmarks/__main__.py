"""`make bench`: ours, what the server itself needs and what one would otherwise do, in one run.

Starts servers of its own. All cases take turns, round by round, and the medians are compared; every case also says
whether its answer was right. Prints a page of Markdown; ends with 1 where an answer is wrong, or where a ratio is
further than a tenth from its target (`benchmarks.targets`).
"""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

import benchmarks.cases  # noqa: F401 - fills the list of cases
from benchmarks import competitors, growth, report
from benchmarks.case import CASES, Case, Figure, WrongAnswer
from benchmarks.data import Data, Size
from benchmarks.servers import ENGINES, SETTINGS, EngineUnavailable, databases, missing, running
from benchmarks.targets import judged, unknown
from benchmarks.world import World
from tests.engines import must_have

__all__ = ["SETTINGS", "main", "running"]


def say(text: str) -> None:
    """Print the progress."""
    click.echo(text, err=True)


def absent(package: str | None) -> str | None:
    """Return why a case that needs this package cannot be measured."""
    if package is None:
        return None
    there = competitors.has_arcticdb() if package == "arcticdb" else importlib.util.find_spec(package) is not None
    return None if there else f"{package} is not installed: make bench installs it where it can be had"


class Suite:
    """The cases and engines of a run, and the figures so far."""

    def __init__(self, size: Size, only: Sequence[str]) -> None:
        self.size = size
        self.figures: dict[str, Figure] = {}
        self.missing: dict[str, str] = {}
        self.engines: dict[str, str] = {}
        chosen = [case for case in CASES if not only or any(text in (case.group, case.name) for text in only)]
        self._cases = sorted(chosen, key=lambda case: report.ORDER.index(case.group))
        self._data = Data(size)

    def cases(self, engine: str) -> Iterator[Case]:
        """Return the cases that an engine can run. `missing` holds the reasons for the others."""
        for case in self._cases:
            if engine not in case.engines:
                continue
            if why := absent(case.package):
                self.missing[case.name] = why
            else:
                yield case

    @contextmanager
    def worlds(self, engines: Sequence[str], *, short: bool) -> Iterator[list[World]]:
        """Return a world for each engine that has cases and runs on this machine."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mds-bench-files-")))
            found = []
            for engine in engines:
                if not any(engine in case.engines for case in self._cases):
                    continue
                if why := missing(engine, short=short):
                    self._without(engine, why)
                    continue
                try:
                    started = stack.enter_context(databases(engine))
                except EngineUnavailable as error:
                    self._without(engine, str(error))
                    continue
                world = World(engine, started, self._data, folder)
                stack.callback(world.close)
                self.engines[engine] = world.version
                found.append(world)
            yield found

    def _without(self, engine: str, why: str) -> None:
        for case in self._cases:
            if engine in case.engines:
                self.missing[case.on(engine)] = why

    def round(self, world: World) -> None:
        """Run every case of an engine once."""
        for case in self.cases(world.engine):
            try:
                for work in case.run(world):
                    figure = Figure(case, world.engine, work.unit, [])
                    figure = self.figures.setdefault(figure.name, figure)
                    figure.rounds.append(work.measure())
                    say(f"  {figure.name}: {figure.per_round()[-1]:,.2f} {figure.unit}")
            except WrongAnswer as wrong:
                raise WrongAnswer(f"{case.name} on {world.engine}: {wrong}") from wrong


@click.command()
@click.option("--rows", type=click.IntRange(5_000), default=1_950_000, show_default=True, help="Bars in a batch.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often each case is run.")
@click.option("--full", is_flag=True, help="Also with 1, 10 and 50 million bars in the table; takes 10 GB of disk.")
@click.option("--only", multiple=True, help="Only this group or case; repeatable.")
@click.option("--engine", "engines", multiple=True, type=click.Choice(ENGINES), help="Only this engine; repeatable.")
@click.option("--short", is_flag=True, help="A round with few rows: are all answers right? No target is judged.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures to a file, too.")
@click.option(
    "--docs", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Write page, picture and JSON there."
)
def main(
    rows: int,
    rounds: int,
    full: bool,
    only: tuple[str, ...],
    engines: tuple[str, ...],
    short: bool,
    target: Path | None,
    docs: Path | None,
) -> None:
    """Measure, compare with the targets, and print a page."""
    declared = {case.on(engine) for case in CASES for engine in case.engines} | growth.names()
    if strange := unknown(declared):
        raise click.ClickException(f"targets name what no case is called: {', '.join(sorted(strange))}")
    began = datetime.now(UTC)
    size = Size.short() if short else Size.of(rows)
    rounds = 1 if short else rounds
    suite = Suite(size, only)
    with suite.worlds(engines or ENGINES, short=short) as worlds:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for world in worlds:
                suite.round(world)
        if (full or short) and not only:
            sizes = (20_000, 40_000) if short else growth.FULL
            for world in worlds[:1]:
                for figure in growth.grow(world, sizes, rounds, say):
                    suite.figures[figure.name] = figure
    if suite.missing and short and must_have():
        raise click.ClickException("; ".join(f"{name} is missing: {why}" for name, why in suite.missing.items()))
    verdicts = [] if short else judged(suite.figures, suite.missing)
    run = report.Run(began, rounds, size, short, suite.engines, suite.figures, suite.missing, verdicts)
    click.echo(report.page(run))
    if target is not None:
        target.write_text(report.as_json(run), encoding="utf-8")
    if docs is not None:
        report.write(run, docs)
    if missed := [verdict.target.about for verdict in verdicts if verdict.state == "missed"]:
        say(f"missed: {'; '.join(missed)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
