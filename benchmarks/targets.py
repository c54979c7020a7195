"""What is promised, as data: a figure of ours, against another of the same run or a number, and its limit.

A run fails where a figure is further from its limit than TOLERANCE: machines are noisy, promises are not.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from benchmarks import growth
from benchmarks.case import Figure

TOLERANCE: Final = 0.9

At = Literal["median", "p50", "p99"]
State = Literal["met", "within tolerance", "missed", "not measured"]


@dataclass(frozen=True)
class Target:
    """`figure` (at its median, or at a percentile over all calls) divided by `over`, or as it is where there is none,
    is at least `low` and at most `high`. `cores`: with fewer it cannot be."""

    about: str
    figure: str
    over: str | None = None
    low: float | None = None
    high: float | None = None
    at: At = "median"
    unit: str = ""
    cores: int = 0

    @property
    def limit(self) -> str:
        """Return the limits as text."""
        sides = (("≥", self.low), ("≤", self.high))
        return " and ".join(f"{sign} {value:g}{self.unit}" for sign, value in sides if value is not None)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a target. If it was not measured, `value` is None and `why` gives the reason."""

    target: Target
    value: float | None
    state: State
    why: str = ""


APACHE: Final = "timescale-apache"
COMMUNITY: Final = "timescale"


def _of_engine(about: str, figure: str, over: str | None = None, **more: float | str) -> list[Target]:
    return [
        Target(
            f"{about}, on {engine}",
            f"{figure} ({engine})",
            None if over is None else f"{over} ({engine})",
            **more,  # type: ignore[arg-type]
        )
        for engine in (APACHE, COMMUNITY)
    ]


TARGETS: Final[tuple[Target, ...]] = (
    Target("Arrow through the merge, of the bare merge", "Arrow, merged", "bare merge", low=0.85),
    Target("Arrow through the merge, of asyncpg", "Arrow, merged", "asyncpg COPY and merge", low=2.3),
    Target("Arrow appended, of the bare merge", "Arrow, appended", "bare merge", low=1.4),
    Target("Arrow appended, of asyncpg", "Arrow, appended", "asyncpg COPY and merge", low=4.0),
    Target("two writers, of one", "Arrow, appended by two writers", "Arrow, appended", low=1.5, cores=4),
    Target("bulk load, of raw COPY", "datastore load, Arrow", "raw COPY into the bare table", low=0.85),
    Target("bulk load, of ArcticDB's", "datastore load, Arrow", "ArcticDB write_batch", low=1.0),
    Target("list of models, of Arrow", "models, a day", "Arrow, a day", low=0.6),
    Target("NDJSON file, of Arrow", "NDJSON, a day", "Arrow, a day", low=0.8),
    Target("import of Parquet, of Arrow", "import, Parquet", "Arrow, appended", low=0.85),
    Target("import of CSV, of Arrow", "import, CSV", "Arrow, appended", low=0.85),
    Target("import of NDJSON, of Arrow", "import, NDJSON, a day", "Arrow, a day", low=0.8),
    Target("replay, of fresh rows", "Arrow, replayed", "Arrow, merged", low=1.3),
    Target("live pattern, 500 rows: p50", "live, 500 rows", high=8, at="p50", unit=" ms"),
    Target("live pattern, 500 rows: p99", "live, 500 rows", high=25, at="p99", unit=" ms"),
    Target("live pattern, one row: p50", "live, one row", high=1.5, at="p50", unit=" ms"),
    Target("latest prices, 500 of 200,000: p50", "latest prices, 500 of 200,000", high=6, at="p50", unit=" ms"),
    Target(
        "window of 390 bars as models, of bare SQL",
        "window of 390 bars, models",
        "window of 390 bars, bare SQL",
        high=2.0,
        at="p50",
    ),
    Target("a million rows as Arrow, of raw COPY out", "long window, Arrow", "long window, raw COPY out", low=0.85),
    Target("a million rows as Arrow, of ADBC", "long window, Arrow", "long window, ADBC", low=1.0),
    Target("longest block of an event loop", "AMDS, longest block of the loop", high=20, unit=" ms"),
    *_of_engine("merge through the doors, of the bare merge", "merge through the doors", "bare merge", low=0.95),
    *_of_engine(
        "window of 390 bars from 5 million: p50", "window of 390 bars from 5 million", high=3, at="p50", unit=" ms"
    ),
    Target(
        f"window of 390 bars from 5 million, compressed: p50, on {COMMUNITY}",
        f"window of 390 bars from 5 million, compressed ({COMMUNITY})",
        high=3,
        at="p50",
        unit=" ms",
    ),
    Target(
        f"rollups of a day for 1,000 series, on {COMMUNITY}",
        f"rollups of a day refreshed ({COMMUNITY})",
        high=5,
        unit=" s",
    ),
    Target(
        "ingest at 50 million bars, of that at 1 million",
        growth.name_of(50_000_000, "Arrow, appended"),
        growth.name_of(1_000_000, "Arrow, appended"),
        low=0.8,
    ),
    Target(
        "latest prices at 50 million bars, of those at 1 million",
        growth.name_of(50_000_000, "latest prices"),
        growth.name_of(1_000_000, "latest prices"),
        low=0.8,
        high=1.2,
        at="p50",
    ),
)


def unknown(names: Collection[str]) -> set[str]:
    """Return the names in the targets that no case has."""
    named = {name for target in TARGETS for name in (target.figure, target.over) if name is not None}
    return named - set(names)


def judged(figures: Mapping[str, Figure], missing: Mapping[str, str]) -> list[Verdict]:
    """Return the outcome of every target. `missing` holds the reasons why figures were not measured."""
    return [_judged(target, figures, missing) for target in TARGETS]


def _judged(target: Target, figures: Mapping[str, Figure], missing: Mapping[str, str]) -> Verdict:
    needed = [target.figure, *([target.over] if target.over else [])]
    if absent := [name for name in needed if name not in figures]:
        return Verdict(target, None, "not measured", missing.get(absent[0], "not asked for in this run"))
    cores = os.cpu_count() or 1
    value = _value(target, figures)
    if cores < target.cores:
        return Verdict(target, value, "not measured", f"{cores} cores, and it takes {target.cores}")
    return Verdict(target, value, _state(target, value))


def _value(target: Target, figures: Mapping[str, Figure]) -> float:
    figure = figures[target.figure]
    if target.over is not None:
        # Round by round: what disturbs the machine for a while disturbs both.
        pairs = zip(figure.per_round(), figures[target.over].per_round(), strict=True)
        return median(ours / theirs for ours, theirs in pairs)
    return figure.median if target.at == "median" else figure.percentile(int(target.at[1:]))


def _state(target: Target, value: float) -> State:
    def within(tolerance: float) -> bool:
        high_enough = target.low is None or value >= target.low * tolerance
        return high_enough and (target.high is None or value <= target.high / tolerance)

    if within(1.0):
        return "met"
    return "within tolerance" if within(TOLERANCE) else "missed"
