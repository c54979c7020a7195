"""The sources of a backfill's rows: the interface of a source, how to find and create one, and how to parse records.

A source is a plug-in: a pydantic model of its own settings with a method `fetch`, named by an entry point of the group
`datastore.sources`. `files` (`datastore.sources.files`) and `http` (`datastore.sources.http`) are built in.
`datastore.backfill` decides when to fetch rows, and writes them.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Final, Protocol, Self, TypeAlias, cast
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from datastore import config
from datastore.config import Settings
from datastore.errors import ControlError
from mds_client import KINDS, Bar, profiles
from mds_client.columns.rows import ArrowStream
from mds_client.errors import InvalidRow
from mds_client.files import Mapping as Columns
from mds_client.files import TimeUnit
from mds_client.schema import TENANT_COLUMN
from mds_client.values.spelling import as_given
from mds_client.values.times import UNIX

_log = logging.getLogger(__name__)

ENTRY_POINTS: Final = "datastore.sources"


class SourceError(ControlError):
    """A source cannot be created as requested, or is not permitted: only another request can succeed."""


class SourceUnavailable(Exception):
    """A source cannot be read now: it is missing, does not answer, or gives a wrong answer."""


@dataclass(frozen=True, slots=True)
class Span:
    """A series, and the range (UTC) of the wanted bars: `start <= ts < end`.

    `case_sensitive`: the vendor's symbols are, so that a bar's symbol counts as it was given.
    """

    vendor: str
    symbol: str
    timeframe: str
    start: datetime
    end: datetime
    case_sensitive: bool = False

    def has(self, bar: Bar) -> bool:
        """Whether a bar belongs to this series and range."""
        return self.start <= bar.ts < self.end and (self.vendor, self.symbol, self.timeframe) == (
            bar.vendor,
            as_given(bar.symbol) if self.case_sensitive else bar.symbol,
            bar.timeframe,
        )


def span_of(wanted: Mapping[str, Span], bar: Bar) -> Span | None:
    """Return the span that a bar belongs to, of those that are wanted, by symbol; or None."""
    span = wanted.get(as_given(bar.symbol)) or wanted.get(bar.symbol)
    return span if span is not None and span.has(bar) else None


@dataclass(frozen=True, slots=True)
class Malformed:
    """An invalid record: its place in the source, and the reason.

    `whole` names what contains it, such as a file, if other chunks of the backfill read that too; the record then
    counts once.
    """

    where: str
    why: str
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Other:
    """Bars of a series that a source holds but nobody asked for: their number, and the first and the last time.

    A source that skips such bars yields these if it has no other bars, so that a backfill that matches nothing can
    report what the source holds.
    """

    vendor: str
    symbol: str
    timeframe: str
    first: datetime
    last: datetime
    rows: int = 1


class Others:
    """The series that a source holds beside those that were asked for.

    `case_sensitive`: symbols count as they were given.
    """

    def __init__(self, *, case_sensitive: bool = False) -> None:
        self._case_sensitive = case_sensitive
        self._by_series: dict[tuple[str, str, str], Other] = {}

    def add(self, other: Bar | Other) -> None:
        """Count a bar, or add another count."""
        if isinstance(other, Bar):
            symbol = as_given(other.symbol) if self._case_sensitive else other.symbol
            other = Other(other.vendor, symbol, other.timeframe, other.ts, other.ts)
        key = (other.vendor, other.symbol, other.timeframe)
        if (before := self._by_series.get(key)) is not None:
            first, last = min(before.first, other.first), max(before.last, other.last)
            other = Other(*key, first, last, before.rows + other.rows)
        self._by_series[key] = other

    def found(self) -> list[Other]:
        """The counts by series."""
        return [self._by_series[key] for key in sorted(self._by_series)]


Batch: TypeAlias = Sequence[Bar | Malformed | Other] | ArrowStream
"""A part of a source's rows: bars (without those that nobody asked for), or a frame with a bar's fields as columns and
no other bars. Bars that come twice are written once."""


class Source(Protocol):
    """The source that a backfill reads.

    A source that works only on some machines has two more methods. `needs(self)` names what a worker must have to read
    it, for example `DATASTORE_SOURCE_ROOT`. The class method `offers(cls, settings)` names what this machine has. A
    worker that lacks something leaves the backfill to others.
    """

    def fetch(self, spans: Sequence[Span]) -> Iterable[Batch]:
        """Yield the bars of these spans, all of one vendor and timeframe, in any order.

        The same spans must give the same bars again. Raises SourceUnavailable if the source cannot be read completely.
        """


def names() -> list[str]:
    """Return the names of the installed sources."""
    return sorted({entry.name for entry in _entry_points()})


@cache
def _entry_points() -> EntryPoints:
    # To look for them reads the metadata of every installed package.
    return entry_points(group=ENTRY_POINTS)


def make(spec: Mapping[str, Any], settings: Settings | None = None) -> Source:
    """Create a source from a spec: `type` names it, the rest are its own settings.

    Raises SourceError, with place and reason, for an unknown type, for invalid settings, and for what the operator does
    not permit (`DATASTORE_SOURCE_ROOT`, `DATASTORE_SOURCE_URLS`), and SettingsError for a secret that is not set.
    """
    name = spec.get("type")
    found = [entry for entry in _entry_points() if entry.name == name]
    if not found:
        near = get_close_matches(str(name), names(), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        given = repr(name) if name is None or (isinstance(name, str) and name.isidentifier()) else "the given value"
        raise SourceError(f"source: type: {given} is unknown{hint}; there are: {', '.join(names())}")
    try:
        model = found[0].load()
    except ModuleNotFoundError as error:
        raise SourceError(
            f"source {name!r} needs the package {error.name}: install the extra backfill (see Installing)"
        ) from error
    if not (isinstance(model, type) and issubclass(model, BaseModel) and callable(getattr(model, "fetch", None))):
        raise SourceError(f"source {name!r} ({found[0].value}) is not a pydantic model with a method fetch")
    try:
        made: Any = model.model_validate(dict(spec), context=settings or config.load())
    except ValidationError as error:
        raise SourceError(f"source {name!r}: {wrong(error)}") from None
    source: Source = made
    return source


def needs(spec: Mapping[str, Any], settings: Settings | None = None) -> frozenset[str]:
    """Return what a worker must offer to read a source (see `offers`). Raises what `make` raises."""
    own = getattr(make(spec, settings), "needs", tuple)
    return frozenset([_installed(spec["type"]), *own()])


def offers(settings: Settings | None = None) -> frozenset[str]:
    """Return what this machine offers: the sources that are installed, and what each says of the operator's settings.

    A source that cannot be loaded here is not offered; that is logged.
    """
    settings = settings or config.load()
    found: set[str] = set()
    for entry in _entry_points():
        try:
            own = getattr(entry.load(), "offers", None)
            found |= {_installed(entry.name), *(own(settings) if own is not None else ())}
        except ModuleNotFoundError as error:
            _log.info("source %r is not offered: the package %s is missing", entry.name, error.name)
        except Exception as error:  # noqa: BLE001 - a plug-in's own, whatever it is
            _log.warning("source %r is not offered: %s: %s", entry.name, type(error).__name__, error)
    return frozenset(found)


def _installed(name: str) -> str:
    return f"the source {name}"


def why_not(spec: Mapping[str, Any], offered: Collection[str]) -> str | None:
    """Return why a source cannot be read on a machine with these offers; None if it can."""
    try:
        missing = needs(spec).difference(offered)
    except (ControlError, config.SettingsError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a plug-in's own, whatever it is
        return f"{type(error).__name__}: {error}"
    return f"it needs {listed(missing)}" if missing else None


def listed(names: Iterable[str]) -> str:
    """Join names for a sentence."""
    *first, last = sorted(names)
    return f"{', '.join(first)} and {last}" if first else last


def wrong(error: ValidationError) -> str:
    """Describe in one line what is wrong with settings and where, without the values: they may be secrets."""
    said = []
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(map(str, problem["loc"]))
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "union_tag_invalid":
            what = f"{problem['ctx']['discriminator']} is none of {problem['ctx']['expected_tags']}"
        said.append(f"{where}: {what}" if where else what)
    return "; ".join(said)


def expand(template: str, span: Span, *, safe: str | None = None) -> str:
    """Fill in a template from a span: {vendor}, {symbol}, {timeframe}, {start} and {end}. The times are ISO text; with
    _s, _ms, _us or _ns after the name they are the count since 1970, with _date the date (UTC).

    For a URL, `safe` are the characters that need no quoting. Raises ValueError for any other name.
    """
    values = {"vendor": span.vendor, "symbol": span.symbol, "timeframe": span.timeframe}
    for name, moment in (("start", span.start), ("end", span.end)):
        microseconds = (moment - UNIX) // timedelta(microseconds=1)
        values[name] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        values[f"{name}_date"] = moment.date().isoformat()
        values[f"{name}_s"] = str(microseconds // 1_000_000)
        values[f"{name}_ms"] = str(microseconds // 1_000)
        values[f"{name}_us"] = str(microseconds)
        values[f"{name}_ns"] = str(microseconds * 1_000)
    if safe is not None:
        values = {name: quote(value, safe=safe) for name, value in values.items()}

    def value(asked: re.Match[str]) -> str:
        if asked[1] not in values:
            # Braces may also belong to something else, such as JSON with a secret in it.
            name = f"the placeholder {asked[1]!r}" if asked[1].isidentifier() else "a placeholder"
            raise ValueError(f"{name} is unknown; there are: {', '.join(values)}")
        return values[asked[1]]

    # No format strings, because they can reach the attributes of a value.
    return re.sub(r"\{([^{}]*)\}", value, template)


SAMPLE: Final = Span("v", "S", "1m", UNIX, UNIX)
"""A span for checking templates."""


BARS: Final = KINDS["bars"]


class Reading(BaseModel):
    """How to read a source's records: by a vendor's profile, a mapping, or single parts of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = Field(default="", description="The name of a vendor's profile, by which the records are read.")
    mapping: Columns = Field(default=Columns(), description="A mapping; what it says goes before the profile.")
    columns: dict[str, str | int] = Field(default={}, description="Short for the columns of the mapping.")
    time_unit: TimeUnit = Field(default="iso", description="Short for the time_unit of the mapping.")

    @field_validator("profile")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if name and name not in profiles.profiles():
            # A tenant must not name a file on the worker's machine.
            raise ValueError(f"there is no profile {name!r}; there are: {', '.join(profiles.profiles())}")
        return name

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str | int]) -> dict[str, str | int]:
        Columns(columns=dict(columns), skip=frozenset([TENANT_COLUMN])).check(BARS)
        return columns

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if any(self.mapping.patterns()) or any(Columns(columns=dict(self.columns)).patterns()):
            # A slow expression would block a worker that others wait for.
            raise ValueError("regular expressions are not allowed here: name the columns, or a profile")
        self.how({})
        return self

    def how(self, given: Mapping[str, str]) -> Columns:
        """Return the whole mapping: other columns are ignored, empty text is no value, and the tenant is not read.

        Args:
            given: Values for fields that the records do not have. They win over the names of a profile.

        Raises:
            ValueError: The parts contradict each other, or name a field that bars do not have.
        """
        base = profiles.profile(self.profile).mapping if self.profile else Columns()
        told = {name: getattr(self.mapping, name) for name in self.mapping.model_fields_set}
        short: dict[str, Any] = {"columns": dict(self.columns) or None}
        if "time_unit" in self.model_fields_set:
            short["time_unit"] = self.time_unit
        made = base.but(**told).but(**short)
        made.check(BARS)
        made = made.but(
            constants=dict(given) or None,
            null_values=made.null_values | {""},
            skip=made.skip | {TENANT_COLUMN},
            extra="ignore",
        )
        made.check(BARS)
        return made


def to_bar(record: Any, where: str, columns: Columns) -> Bar | Malformed:
    """Parse a record (an object or a list) as a bar."""
    try:
        return cast("Bar", columns.row(BARS, record))
    except InvalidRow as error:
        return Malformed(where, str(error))
