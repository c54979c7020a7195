"""The results of a run as a page, a picture and JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.case import Figure
from benchmarks.cases import modes
from benchmarks.data import Size
from benchmarks.targets import TOLERANCE, Verdict
from mds_client import __version__
from mds_client.config import Config

ENOUGH_ROUNDS: Final = 5
ENOUGH_ROWS: Final = 1_950_000

GROUPS: Final = {
    "floors": "Floors: what the server itself needs",
    "ours": "Ours",
    "others": "What else one would do",
    "live": "A live feed",
    "reads": "Reading",
    "engines": "TimescaleDB",
    "growth": "Growth",
}
ORDER: Final = ("floors", "ours", "others", "live", "reads", "engines", "modes")
"""The groups in the order of a round: cases that are compared run close together."""

OF: Final = {
    "floors": "bare merge",
    "ours": "bare merge",
    "others": "bare merge",
    "reads": "long window, raw COPY out",
}
"""The figure beside which a group's rates are told."""

PACKAGES: Final = (
    *(
        "psycopg",
        "pyarrow",
        "numpy",
        "polars",
        "asyncpg",
        "sqlalchemy",
        "adbc-driver-postgresql",
        "connectorx",
        "duckdb",
    ),
)


@dataclass(frozen=True)
class Run:
    """All results of a run, and the machine."""

    began: datetime
    rounds: int
    size: Size
    short: bool
    engines: Mapping[str, str]
    figures: Mapping[str, Figure]
    missing: Mapping[str, str]
    verdicts: Sequence[Verdict]

    @property
    def provisional(self) -> bool:
        """Whether the run was too small for its figures to be quoted."""
        return self.short or self.rounds < ENOUGH_ROUNDS or self.size.rows < ENOUGH_ROWS


def machine() -> dict[str, str]:
    """The machine of the run."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def packages() -> dict[str, str]:
    """The packages and servers with their versions."""
    found = {"market-data-store": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def as_json(run: Run) -> str:
    """Return all results for programs."""
    document = {
        "date": run.began.isoformat(timespec="seconds"),
        "rounds": run.rounds,
        "rows": run.size.rows,
        "provisional": run.provisional,
        "machine": machine(),
        "packages": packages(),
        "engines": dict(run.engines),
        "targets": [
            {
                "target": verdict.target.about,
                "limit": verdict.target.limit,
                "value": verdict.value,
                "state": verdict.state,
                "why": verdict.why or None,
            }
            for verdict in run.verdicts
        ],
        "figures": {name: _fields(figure) for name, figure in run.figures.items()},
        "not measured": dict(run.missing),
    }
    return json.dumps(document, indent=2) + "\n"


def _fields(figure: Figure) -> dict[str, Any]:
    fields = {
        "group": figure.case.group,
        "unit": figure.unit,
        "median": figure.median,
        "rounds": figure.per_round(),
    }
    return fields | ({"p50": figure.percentile(50), "p99": figure.percentile(99)} if figure.many else {})


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 1) -> str:
    """Return a Markdown table. The columns from `right` on are numbers."""
    lines = [head, ["---" if at < right else "---:" for at in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def targets_table(run: Run) -> str:
    """Return the table of targets with their outcomes."""
    rows = []
    for verdict in run.verdicts:
        value = "" if verdict.value is None else f"{verdict.value:.2f}{verdict.target.unit}"
        state = f"{verdict.state}: {verdict.why}" if verdict.why else verdict.state
        rows.append([verdict.target.about, verdict.target.limit, value, state])
    return table(["target", "limit", "found", ""], rows)


def group_table(run: Run, group: str) -> str:
    """Return the table with a group's figures."""
    figures = [figure for figure in run.figures.values() if figure.case.group == group]
    reference = run.figures.get(OF.get(group, ""))
    rows = []
    for figure in figures:
        low, high = min(figure.per_round()), max(figure.per_round())
        about = f" ({figure.case.about.rstrip('.')})" if figure.case.about else ""
        rows.append([
            f"**{figure.name}**{about}",
            f"{_number(figure.median, figure.unit)} {figure.unit}",
            f"{_number(low, figure.unit)} to {_number(high, figure.unit)}",
            f"{_number(figure.percentile(99), figure.unit)} {figure.unit}" if figure.many else "",
            f"{figure.median / reference.median:.2f}" if reference and figure.unit == "rows/s" else "",
        ])  # fmt: skip
    of = f"of {reference.name}" if reference else ""
    return table(["", "median", "of the rounds", "p99", of], rows)


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}" if unit == "rows/s" else f"{value:.2f}"


def modes_table(run: Run) -> str:
    """Return the milliseconds of a batch in each write mode, by its number of rows."""
    rows = []
    for size in run.size.modes:
        taken = {mode: run.figures.get(modes.name_of(mode, size)) for mode in modes.MODES}
        if not all(taken.values()):
            continue
        found = {mode: figure.median for mode, figure in taken.items() if figure}
        best = min(found, key=lambda mode: found[mode])
        shown = [f"**{value:.2f}**" if mode == best else f"{value:.2f}" for mode, value in found.items()]
        rows.append([f"{size:,}", *shown])
    return table(["rows", *(f"{mode}, ms" for mode in modes.MODES)], rows, right=0)


def crossing(run: Run, slower: str, faster: str) -> int | None:
    """From how many rows on the second mode is quicker than the first, and stays so; None where it never is."""
    found = None
    for size in reversed(run.size.modes):
        before, after = (run.figures.get(modes.name_of(mode, size)) for mode in (slower, faster))
        if before is None or after is None or after.median >= before.median:
            break
        found = size
    return found


def crossings(run: Run) -> str:
    """Return where the modes cross, and where `auto` changes between them."""
    defaults = {name: Config.model_fields[name].default for name in ("values_min_rows", "copy_min_rows")}
    said = []
    for slower, faster, setting in (
        ("executemany", "values", "values_min_rows"),
        ("values", "copy", "copy_min_rows"),
    ):
        at = crossing(run, slower, faster)
        where = f"from {at:,} row{'s' if at > 1 else ''} on" if at else "at none of these sizes"
        said.append(f"`{faster}` is quicker than `{slower}` {where}; `{setting}` is {defaults[setting]:,}.")
    return " ".join(said)


def page(run: Run, picture: str | None = None) -> str:
    """Return the whole run as Markdown."""
    facts = [*machine().items(), *run.engines.items()]
    intro = (
        "Written by `make bench`: everything on this page is from one run, in which all cases took turns, round by"
        " round. Machines differ and are noisy, so read the figures as ratios. What each case does, the tables that the"
        " others write into, and every target are in `benchmarks/`.\n"
    )
    where = (
        f"{run.began.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {run.rounds} rounds, a batch of {run.size.rows:,} bars of"
        f" {run.size.series:,} series; {', '.join(f'{name}: {value}' for name, value in facts)};"
        f" {', '.join(f'{name} {value}' for name, value in packages().items())}.\n"
    )
    parts = ["# Benchmarks\n", intro, where]
    if run.provisional:
        parts.append(
            f"**Provisional**: a run that counts has {ENOUGH_ROUNDS} rounds of {ENOUGH_ROWS:,} bars, on a machine that"
            " does nothing else.\n"
        )
    if picture:
        parts.append(f"![Rates of writing, and the write modes by the size of a batch]({picture})\n")
    parts += [
        "## Targets\n",
        f"A run fails where a figure misses its limit by more than {1 - TOLERANCE:.0%}.\n",
        targets_table(run),
    ]
    for group, title in GROUPS.items():
        if any(figure.case.group == group for figure in run.figures.values()):
            parts += [f"## {title}\n", group_table(run, group)]
    if any(figure.case.group == modes.GROUP for figure in run.figures.values()):
        about = (
            "What one call takes, with new rows of up to 100 series as models; `write_mode=auto` goes by their number."
        )
        parts += ["## Write modes\n", f"{about} {crossings(run)}\n", modes_table(run)]
    if run.missing:
        reasons = dict.fromkeys(run.missing.values())
        named = {why: [name for name, other in run.missing.items() if other == why] for why in reasons}
        parts += ["## Not measured\n", "\n".join(f"- {', '.join(names)}: {why}" for why, names in named.items()) + "\n"]
    return "\n".join(parts)


COLOURS: Final = {"floors": "#7f7f7f", "ours": "#1f77b4", "others": "#ff7f0e"}


def draw(run: Run, target: Path) -> None:
    """The rates of writing, and the curve of the write modes."""
    import matplotlib

    # Text stays text, and the same run makes the same file.
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9})
    from matplotlib import pyplot

    shown = [
        figure
        for figure in run.figures.values()
        if figure.case.group in COLOURS and figure.unit == "rows/s" and figure.engine == "postgres"
    ]
    shown.sort(key=lambda figure: figure.median)
    with_modes = any(figure.case.group == modes.GROUP for figure in run.figures.values())
    heights = [max(2.0, len(shown) * 0.25), 3.0] if with_modes else [max(2.0, len(shown) * 0.25)]
    drawing, axes = pyplot.subplots(
        len(heights), 1, figsize=(9, sum(heights) + 1), height_ratios=heights, layout="constrained", squeeze=False
    )
    rates = axes[0][0]
    # A file without a server and without a key is another league: its bar is cut, its number is not.
    of_servers = [figure.median for figure in shown if figure.case.group != "others"]
    edge = 1.2 * max(of_servers or [figure.median for figure in shown]) / 1000
    bars = rates.barh(
        [figure.name for figure in shown],
        [min(edge, figure.median / 1000) for figure in shown],
        color=[COLOURS[figure.case.group] for figure in shown],
    )
    labels = [f"{figure.median / 1000:,.0f}{' …' if figure.median / 1000 > edge else ''}" for figure in shown]
    rates.bar_label(bars, labels, padding=3)
    rates.set_xlabel("thousand rows a second, end to end")
    rates.set_xlim(0, edge * 1.1)
    rates.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    rates.legend(handles, ["the server's own need", "ours", "what else one would do"], loc="lower right")
    if with_modes:
        curve = axes[1][0]
        for mode in modes.MODES:
            points = [
                (size, figure.median)
                for size in run.size.modes
                if (figure := run.figures.get(modes.name_of(mode, size))) is not None
            ]
            curve.plot(*zip(*points, strict=True), marker="o", markersize=3, label=mode)
        curve.set(xscale="log", yscale="log", xlabel="rows in a batch", ylabel="milliseconds")
        curve.legend()
        curve.spines[["top", "right"]].set_visible(False)
    drawing.savefig(target, metadata={"Date": None})
    pyplot.close(drawing)


def write(run: Run, folder: Path) -> None:
    """Write the page, the picture and the JSON into a folder."""
    draw(run, folder / "benchmarks.svg")
    (folder / "benchmarks.md").write_text(page(run, "benchmarks.svg"), encoding="utf-8")
    (folder / "benchmarks.json").write_text(as_json(run), encoding="utf-8")
