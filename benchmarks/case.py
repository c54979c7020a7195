"""The definition of a case, and how it is measured.

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
    """A case left a wrong table, or returned a wrong answer."""


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise WrongAnswer if these differ."""
    if found != wanted:
        raise WrongAnswer(f"{what}: {found!r}, and not {wanted!r}")


class Work(Protocol):
    """A measurement; `unit` is the unit of its samples."""

    @property
    def unit(self) -> Unit: ...

    def measure(self) -> list[float]:
        """Run one round, and return its samples."""


@dataclass(frozen=True)
class Timed:
    """Work on a number of rows, done once in each round."""

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
    """A call that is made many times in each round. It gets its number, from 0."""

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
    """A measurement that takes its own time."""

    ask: Callable[[], float]
    unit: Unit

    def measure(self) -> list[float]:
        gc.collect()
        return [self.ask()]


@dataclass(frozen=True)
class Case:
    """One measured case. `package` is another package that it needs."""

    name: str
    group: str
    about: str
    run: Callable[[World], Iterator[Work]]
    engines: tuple[str, ...]
    package: str | None

    def on(self, engine: str) -> str:
        """Return the name of its figure on an engine."""
        return self.name if engine == "postgres" else f"{self.name} ({engine})"


CASES: Final[list[Case]] = []


def case(
    group: str,
    name: str,
    *,
    engines: tuple[str, ...] = ("postgres",),
    package: str | None = None,
) -> Callable[[Callable[[World], Iterator[Work]]], Callable[[World], Iterator[Work]]]:
    """Add the decorated generator to `CASES`."""

    def declare(run: Callable[[World], Iterator[Work]]) -> Callable[[World], Iterator[Work]]:
        about = " ".join((run.__doc__ or "").split())
        CASES.append(Case(name, group, about, run, engines, package))
        return run

    return declare


@dataclass
class Figure:
    """The figure of a case on one engine: the samples of each round."""

    case: Case
    engine: str
    unit: Unit
    rounds: list[list[float]]

    @property
    def name(self) -> str:
        """The name: the case, and the engine unless that is plain PostgreSQL."""
        return self.case.on(self.engine)

    @property
    def many(self) -> bool:
        """Whether a round consists of many calls."""
        return any(len(taken) > 1 for taken in self.rounds)

    def per_round(self) -> list[float]:
        """The median of each round."""
        return [median(taken) for taken in self.rounds]

    @property
    def median(self) -> float:
        """The median of the rounds' medians."""
        return median(self.per_round())

    def percentile(self, percent: int) -> float:
        """The percentile over all calls of all rounds."""
        taken = sorted(value for one in self.rounds for value in one)
        return quantiles(taken, n=100, method="inclusive")[percent - 1] if len(taken) > 1 else taken[0]
