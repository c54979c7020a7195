"""Detect the format of a column's times: a unit, a format, a zone. Ambiguous times are errors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from mds_client.errors import InvalidRow
from mds_client.mapping import Mapping, option
from mds_client.values import times
from mds_client.values.times import PER_SECOND

_FIRST, _LAST = 315_532_800, 4_102_444_800
"""The range of plausible times in seconds since 1970: from 1980 until before 2100."""

_NUMBERS: Final = re.compile(r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})(.*)")
_CLOCK: Final = re.compile(r"[ T]+\d{1,2}:\d\d(?P<seconds>:\d\d)?(?P<fraction>\.\d{1,6})?(?P<half> ?[AaPp][Mm])?")
_WORDS: Final = (
    "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%b %d %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%Y %H:%M", "%d-%b-%Y %H:%M:%S",
    "%b %d, %Y %H:%M:%S",
)  # fmt: skip
_PACKED: Final = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class Written:
    """The result of detection: parts of a mapping, and a sentence for each."""

    parts: dict[str, Any]
    notes: list[str]


def written(values: Sequence[Any], mapping: Mapping, field: str) -> Written:
    """Detect how times are written.

    Args:
        values: Some of the times, as in the input, without None.
        mapping: The known parts, which are not detected.
        field: The field of the time.

    Raises:
        InvalidRow: The times cannot be read, or are ambiguous. The message names the option that sets their format.
    """
    told = mapping.model_fields_set
    parts: dict[str, Any] = {}
    notes: list[str] = []
    if not values or mapping.day is not None or mapping.time_unit != "iso":
        return Written(parts, notes)
    if "time_unit" not in told and "time_format" not in told:
        if (unit := _unit(values, field)) is not None:
            return Written({"time_unit": unit}, [f"times count {unit} since 1970 (UTC)"])
        if (form := _format(values, field)) is not None:
            parts["time_format"] = form
            notes.append(f"times are written as {form}, such as {values[0]}")
    read = _read(values, mapping.but(**parts))
    _look_at_zones(read, values, mapping, field, parts, notes)
    return Written(parts, notes)


def _unit(values: Sequence[Any], field: str) -> str | None:
    """Return the unit of counts, or None if the values are not counts."""
    counts = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        text = str(value).strip().removesuffix(".0")
        if not text.isdecimal() or (len(text) == 8 and _is_time(text, "%Y%m%d")):
            return None
        if len(text) in _PACKED and _is_time(text, _PACKED[len(text)]):
            return None
        counts.append(int(text))
    units = {unit for count in counts for unit, per in PER_SECOND.items() if _FIRST <= count / per < _LAST}
    if len(units) != 1 or any(not _FIRST <= count / PER_SECOND[next(iter(units))] < _LAST for count in counts):
        said = f"count in several units ({', '.join(sorted(units))})" if units else "count something"
        raise InvalidRow(f"{field}: the times {said}, such as {counts[0]}: name the unit with {option('time_unit')}")
    return units.pop()


def _is_time(text: str, form: str) -> bool:
    try:
        return 1700 <= datetime.strptime(text, form).year < 2262  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False


def _format(values: Sequence[Any], field: str) -> str | None:
    """Return the format of texts, or None if they are ISO 8601 or not text."""
    texts = [str(value).strip() for value in values if isinstance(value, str | int | float)]
    if len(texts) < len(values) or any(_is_iso(text) for text in texts):
        # Texts that are not ISO 8601 are reported when they are read.
        return None
    if all(text.isdecimal() for text in texts):
        return "%Y%m%d" if len(texts[0]) == 8 else _PACKED.get(len(texts[0]))
    if (found := _by_numbers(texts, field)) is not None:
        return found
    for form in _WORDS:
        if all(_is_time(text, form) for text in texts):
            return form
    raise InvalidRow(
        f"{field}: {texts[0]!r} cannot be read as a time: say how it is written with {option('time_format')}, such as"
        " '%d.%m.%Y %H:%M'"
    )


def _is_iso(text: str) -> bool:
    try:
        times.parsed(text)
    except ValueError:
        return False
    return True


def _by_numbers(texts: Sequence[str], field: str) -> str | None:
    """Return the format of times such as 31/12/2024 09:30. Raises InvalidRow if day and month are ambiguous."""
    found = [_NUMBERS.fullmatch(text) for text in texts]
    matches = [match for match in found if match is not None]
    if len(matches) * 2 < len(texts) or not matches:
        return None
    mark, clock = matches[0][2], _clock(matches[0][5])
    if clock is None:
        return None
    if len(matches[0][1]) == 4:
        return f"%Y{mark}%m{mark}%d{clock}"
    if len(matches[0][4]) != 4:
        raise InvalidRow(
            f"{field}: the year in {texts[0]!r} has two digits: say what is what with {option('time_format')}, such as"
            f" '%d{mark}%m{mark}%y{clock}'"
        )
    day_first, month_first = f"%d{mark}%m{mark}%Y{clock}", f"%m{mark}%d{mark}%Y{clock}"
    is_day = any(int(match[1]) > 12 for match in matches)
    is_month = any(int(match[3]) > 12 for match in matches)
    if is_day != is_month:
        return day_first if is_day else month_first
    both = "some have the day first and some the month" if is_day else "may have the day first or the month"
    raise InvalidRow(
        f"{field}: the times {both}, such as {texts[0]!r}: say which with {option('time_format')} '{day_first}' or"
        f" {option('time_format')} '{month_first}'"
    )


def _clock(text: str) -> str | None:
    """Return the format of the time of day after a date, or None if the text is not one."""
    if not text:
        return ""
    if (found := _CLOCK.fullmatch(text)) is None:
        return None
    blank = re.match(r"[ T]+", text)
    lead = blank[0] if blank else " "
    seconds = "%S" if found["seconds"] else ""
    clock = f"{lead}{'%I' if found['half'] else '%H'}:%M{':' + seconds if seconds else ''}"
    clock += ".%f" if found["fraction"] else ""
    return clock + ((" " if found["half"].startswith(" ") else "") + "%p" if found["half"] else "")


def _read(values: Sequence[Any], mapping: Mapping) -> list[datetime | date]:
    """Return the values that are times, before any zone is applied. Others are reported when their row is read."""
    read: list[datetime | date] = []
    for value in values:
        if isinstance(value, str | int | float):
            try:
                if mapping.time_format is not None:
                    read.append(datetime.strptime(str(value).strip(), mapping.time_format))  # noqa: DTZ007
                else:
                    read.append(times.parsed(str(value)))
            except ValueError:
                continue
        elif isinstance(value, date):
            read.append(value)
    return read


def _look_at_zones(
    read: list[datetime | date],
    values: Sequence[Any],
    mapping: Mapping,
    field: str,
    parts: dict[str, Any],
    notes: list[str],
) -> None:
    """Detect the zone of the times. Raises InvalidRow if it must be specified."""
    is_own = mapping.columns.get(field, field) == field
    aware = [value for value in read if isinstance(value, datetime) and value.tzinfo is not None]
    if mapping.time_zone is not None:
        if len(aware) < len(read):
            notes.append(f"times without a zone are of {mapping.time_zone}")
        return
    if aware and len(aware) < len(read) and not is_own:
        raise InvalidRow(
            f"{field}: some times name a zone and some do not: name that of the others with {option('time_zone')}"
        )
    if aware:
        # A file with our own field names follows the models, where a time without a zone is UTC.
        if mapping.time_format is None and not is_own and any(isinstance(value, str) for value in values):
            parts["needs_zone"] = True
        return
    clocks = [
        value for value in read if isinstance(value, datetime) and (value.hour, value.minute, value.second) != (0, 0, 0)
    ]
    if not read:
        return
    if not clocks:
        notes.append("times are dates: each is midnight UTC")
    elif is_own:
        notes.append("times name no zone: they are UTC")
    else:
        raise InvalidRow(
            f"{field}: times such as {values[0]!s} name no zone: name it with {option('time_zone')}, such as"
            f" {option('time_zone')} America/New_York or {option('time_zone')} UTC"
        )
