"""Where a backfill's rows come from: what a source is, how one is found and made, and how its records become bars.

A source is a plug-in: a pydantic model of its own settings with a method `fetch`, named by an entry point of the group
`datastore.sources`. Built in are `files` (`datastore.sources.files`) and `http` (`datastore.sources.http`). When rows
are fetched, and what becomes of them, is in `datastore.backfill`.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from importlib.metadata import entry_points
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
from mds_client.values.times import UNIX

_log = logging.getLogger(__name__)

ENTRY_POINTS: Final = "datastore.sources"


class SourceError(ControlError):
    """A source cannot be made from what is asked, or is not permitted: nothing but another request would help."""


class SourceUnavailable(Exception):
    """A source cannot be read now: it is gone, does not answer, or answers what it should not."""


@dataclass(frozen=True, slots=True)
class Span:
    """A series, and the time (UTC) of which its bars are wanted: `start <= ts < end`."""

    vendor: str
    symbol: str
    timeframe: str
    start: datetime
    end: datetime

    def has(self, bar: Bar) -> bool:
        """Whether a bar is of this series and time."""
        return self.start <= bar.ts < self.end and (self.vendor, self.symbol, self.timeframe) == (
            bar.vendor,
            bar.symbol,
            bar.timeframe,
        )


@dataclass(frozen=True, slots=True)
class Malformed:
    """An invalid record: where it stands in the source, and why it is invalid.

    `whole` names what it stands in, as a file, where other chunks of a backfill read that too: it counts there once.
    """

    where: str
    why: str
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Other:
    """Bars of a series that a source holds and nobody asked for: how many, and the first and the last time.

    A source that leaves such bars out says so with this where it gives no bar at all: a backfill that matches nothing
    can then say what there is.
    """

    vendor: str
    symbol: str
    timeframe: str
    first: datetime
    last: datetime
    rows: int = 1


class Others:
    """The series that a source holds beside those that were asked for."""

    def __init__(self) -> None:
        self._by_series: dict[tuple[str, str, str], Other] = {}

    def add(self, other: Bar | Other) -> None:
        """Count a bar, or what was counted elsewhere."""
        if isinstance(other, Bar):
            other = Other(other.vendor, other.symbol, other.timeframe, other.ts, other.ts)
        key = (other.vendor, other.symbol, other.timeframe)
        if (before := self._by_series.get(key)) is not None:
            first, last = min(before.first, other.first), max(before.last, other.last)
            other = Other(*key, first, last, before.rows + other.rows)
        self._by_series[key] = other

    def found(self) -> list[Other]:
        """The counts by series."""
        return [self._by_series[key] for key in sorted(self._by_series)]


Batch: TypeAlias = Sequence[Bar | Malformed | Other] | ArrowStream
"""What a source gives at once: bars, of which those that nobody asked for are left out, or a frame with a bar's fields
as columns, which holds no others. What comes twice is written once."""


class Source(Protocol):
    """The source that a backfill reads.

    A source that works on some machines only has two more methods. `needs(self)` names what a worker must have to read
    it, as `DATASTORE_SOURCE_ROOT`. The class method `offers(cls, settings)` names what this machine has. A worker that
    lacks what is needed leaves the backfill to others.
    """

    def fetch(self, spans: Sequence[Span]) -> Iterable[Batch]:
        """The bars of these spans, all of one vendor and timeframe, as they come and in any order.

        The same spans again give the same bars. Raises SourceUnavailable if it cannot be read to its end.
        """


def names() -> list[str]:
    """The sources that there are."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINTS)})


def make(spec: Mapping[str, Any], settings: Settings | None = None) -> Source:
    """A source from what is asked: `type` names it, the rest are its own settings.

    Raises SourceError, which says what and where, for an unknown type, for wrong settings, and for what the operator
    does not permit (`DATASTORE_SOURCE_ROOT`, `DATASTORE_SOURCE_URLS`); ConfigurationError for a secret that is not set.
    """
    name = spec.get("type")
    found = [entry for entry in entry_points(group=ENTRY_POINTS) if entry.name == name]
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
        raise SourceError(f"source {name!r} ({found[0].value}) is no pydantic model with a method fetch")
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
    for entry in entry_points(group=ENTRY_POINTS):
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
    """Why a source cannot be read on this machine, which offers that; None if it can."""
    try:
        missing = needs(spec).difference(offered)
    except (ControlError, config.ConfigurationError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a plug-in's own, whatever it is
        return f"{type(error).__name__}: {error}"
    return f"it needs {listed(missing)}" if missing else None


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them."""
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
    """A template with what it asks for of a span: {vendor}, {symbol}, {timeframe}, and of {start} and {end} the ISO
    text, or with _s, _ms, _us or _ns behind the name the count since 1970, or with _date the date (UTC).

    `safe` are the characters that need no quoting where it is for a URL. Raises ValueError for what else it asks for.
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
            # Braces may also be of something else, as of JSON with a secret in it.
            name = repr(asked[1]) if asked[1].isidentifier() else "what has no name"
            raise ValueError(f"it asks for {name}; there are: {', '.join(values)}")
        return values[asked[1]]

    # No format strings: these reach into what a value is made of.
    return re.sub(r"\{([^{}]*)\}", value, template)


SAMPLE: Final = Span("v", "S", "1m", UNIX, UNIX)
"""To try a template on."""


BARS: Final = KINDS["bars"]


class Reading(BaseModel):
    """How a source's records are read: a vendor's profile, a mapping, or parts of one by themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = Field(default="", description="The name of a vendor's profile, by which the records are read.")
    mapping: Columns = Field(default=Columns(), description="A mapping; what it says goes before the profile.")
    columns: dict[str, str | int] = Field(default={}, description="Short for the columns of the mapping.")
    time_unit: TimeUnit = Field(default="iso", description="Short for the time_unit of the mapping.")

    @field_validator("profile")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if name and name not in profiles.profiles():
            # A file on the worker's machine is not for a tenant to name.
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
            # One that takes for ever would hold up a worker that others wait for.
            raise ValueError("a source takes no regular expressions from who asks: name columns, or a profile")
        self.how({})
        return self

    def how(self, given: Mapping[str, str]) -> Columns:
        """The whole mapping: other columns are left alone, empty text is no value, the tenant is not read.

        Args:
            given: What holds where the records say nothing of it. A profile's own names do not go before it.

        Raises:
            ValueError: The parts do not go together, or name a field that bars do not have.
        """
        base = profiles.profile(self.profile).mapping if self.profile else Columns()
        told = {name: getattr(self.mapping, name) for name in self.mapping.model_fields_set}
        short: dict[str, Any] = {"columns": dict(self.columns) or None}
        if "time_unit" in self.model_fields_set:
            short["time_unit"] = self.time_unit
        made = base.but(**told).but(**short)
        made = made.but(
            constants=dict(given) or None,
            null_values=made.null_values | {""},
            skip=made.skip | {TENANT_COLUMN},
            extra="ignore",
        )
        made.check(BARS)
        return made


def to_bar(record: Any, where: str, columns: Columns) -> Bar | Malformed:
    """A record (an object, or a list) as a bar."""
    try:
        return cast("Bar", columns.row(BARS, record))
    except InvalidRow as error:
        return Malformed(where, str(error))
