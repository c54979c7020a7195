"""What a case is, and how it is measured.

A case is a generator over a `World`: what it does before it yields is not timed, what it yields is, and what it does
afterwards says whether the answer was right. All cases are in one list, so that a run can go round them: what is
compared is measured within the same minute, as often as there are rounds.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Final, Literal, Protocol

from benchmarks.world import World

Unit = Literal["rows/s", "ms", "s"]


class WrongAnswer(Exception):
    """A case has left another table, or given another answer, than it should have."""


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise WrongAnswer where these differ."""
    if found != wanted:
        raise WrongAnswer(f"{what}: {found!r}, and not {wanted!r}")


class Work(Protocol):
    """Something that is measured; `unit` is that of the samples."""

    @property
    def unit(self) -> Unit: ...

    def measure(self) -> list[float]:
        """Do it, and give what one round is to remember."""


@dataclass(frozen=True)
class Timed:
    """A piece of work on so many rows, done once a round."""

    work: Callable[[], object]
    rows: int
    unit: Unit = "rows/s"

    def measure(self) -> list[float]:
        gc.collect()
        began = time.perf_counter()
        self.work()
        seconds = time.perf_counter() - began
        return [self.rows / seconds if self.unit == "rows/s" else seconds]


@dataclass(frozen=True)
class Calls:
    """A call that is done many times a round; it gets its number, from 0."""

    call: Callable[[int], object]
    times: int
    unit: Unit = "ms"

    def measure(self) -> list[float]:
        taken = []
        gc.collect()
        for number in range(self.times):
            began = time.perf_counter()
            self.call(number)
            taken.append((time.perf_counter() - began) * 1000)
        return taken


@dataclass(frozen=True)
class Told:
    """Something that measures itself."""

    ask: Callable[[], float]
    unit: Unit

    def measure(self) -> list[float]:
        gc.collect()
        return [self.ask()]


@dataclass(frozen=True)
class Case:
    """One thing that is measured. `package` is what it needs beside us."""

    name: str
    group: str
    about: str
    run: Callable[[World], Iterator[Work]]
    engines: tuple[str, ...]
    package: str | None

    def on(self, engine: str) -> str:
        """What its figure on an engine is called."""
        return self.name if engine == "postgres" else f"{self.name} ({engine})"


CASES: Final[list[Case]] = []


def case(
    group: str,
    name: str,
    *,
    engines: tuple[str, ...] = ("postgres",),
    package: str | None = None,
) -> Callable[[Callable[[World], Iterator[Work]]], Callable[[World], Iterator[Work]]]:
    """Put the decorated generator into `CASES`."""

    def declare(run: Callable[[World], Iterator[Work]]) -> Callable[[World], Iterator[Work]]:
        about = " ".join((run.__doc__ or "").split())
        CASES.append(Case(name, group, about, run, engines, package))
        return run

    return declare


@dataclass
class Figure:
    """What a case has measured on one engine: the samples of each round."""

    case: Case
    engine: str
    unit: Unit
    rounds: list[list[float]]

    @property
    def name(self) -> str:
        """What it is called: the case, and the engine where it is not plain PostgreSQL."""
        return self.case.on(self.engine)

    @property
    def many(self) -> bool:
        """Whether a round is many calls."""
        return any(len(taken) > 1 for taken in self.rounds)

    def per_round(self) -> list[float]:
        """The median of each round."""
        return [median(taken) for taken in self.rounds]

    @property
    def median(self) -> float:
        """The median over the rounds of their medians."""
        return median(self.per_round())

    def percentile(self, percent: int) -> float:
        """Over all calls of all rounds."""
        taken = sorted(value for one in self.rounds for value in one)
        return quantiles(taken, n=100, method="inclusive")[percent - 1] if len(taken) > 1 else taken[0]
