"""What is a time, and what is not: the same in every model, column, command and request."""

from datetime import UTC, date, datetime
from typing import Any

import click
import pyarrow as pa
import pytest
from pydantic import BaseModel, ValidationError

from datastore.service.models import Instant as RequestInstant
from mds_client import KINDS, Bar, Fundamentals, OptionSnap
from mds_client.columns import frames
from mds_client.console import Instant
from mds_client.errors import InvalidRow
from mds_client.files import Mapping

TIMES = {
    "2024-01-02": "2024-01-02T00:00:00",
    "20240102": "2024-01-02T00:00:00",
    "20240102T153000Z": "2024-01-02T15:30:00",
    "20240102T1530+0100": "2024-01-02T14:30:00",
    "2024-01-02T15:30:00.123456789Z": "2024-01-02T15:30:00.123456",
    "2024-01-02 00:00:00+00": "2024-01-02T00:00:00",
    "2024-01-02 15:30:00 -0500": "2024-01-02T20:30:00",
    " 2024-01-02t15:30:00z ": "2024-01-02T15:30:00",
    "20240102 15:30:00 US/Eastern": "2024-01-02T20:30:00",
    "2024-07-02 15:30 Europe/Paris": "2024-07-02T13:30:00",
    "2024-01-02 15:30:00 UTC": "2024-01-02T15:30:00",
}

NO_TIMES: dict[Any, str] = {
    20240102: "a bare number is not a time",
    20240102153000: "a bare number is not a time",
    1704207600000: "a bare number is not a time",
    45293: "a bare number is not a time",
    1704207600.5: "a bare number is not a time",
    True: "a bare number is not a time",
    "20240102153000": "a bare number is not a time",
    "202401021530": "a bare number is not a time",
    "45293": "a bare number is not a time",
    "-1": "a bare number is not a time",
    "1.7e9": "a bare number is not a time",
    "2611-01-01": "the year 2611 is outside of 1700 to 2261",
    "1699-12-31": "the year 1699 is outside of 1700 to 2261",
    "2024-13-01": "not a time: month must be in 1..12",
    "yesterday": "a time is ISO 8601 text",
    "": "a time is ISO 8601 text",
    "01/02/2024": "a time is ISO 8601 text",
    "2024-01-02x15:30": "a time is ISO 8601 text",
    "2024-01-02 15:30 Europe/Nowhere": "there is no time zone Europe/Nowhere",
    "2024-01-02T15:30:00+01:00 Europe/Paris": "both an offset and the name of a zone",
    "2024-03-10 02:30 America/New_York": "does not exist in America/New_York: write the offset",
    "2024-11-03 01:30 America/New_York": "exists twice in America/New_York: write the offset",
}


class Request(BaseModel):
    at: RequestInstant


def bar(ts: Any) -> dict[str, Any]:
    return {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": ts, "close_price": 1.0}


@pytest.mark.parametrize("text", TIMES)
def test_iso_8601_text_is_accepted_as_a_time_everywhere(text: str) -> None:
    expected = datetime.fromisoformat(TIMES[text]).replace(tzinfo=UTC)
    assert Bar.model_validate(bar(text)).ts == expected
    assert Bar.model_validate_json(Bar.model_construct(**bar(text)).model_dump_json(warnings=False)).ts == expected
    assert Request(at=text).at == expected  # type: ignore[arg-type]
    assert Instant().convert(text, None, None) == expected
    frame = frames.Frame(KINDS["bars"], pa.Table.from_pylist([bar(text)]))
    assert frame.narrow({frame.names[0]: 1}).latest[1].first_ts == expected
    assert Mapping(extra="ignore").row(KINDS["bars"], bar(text)).ts == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", NO_TIMES, ids=repr)
def test_an_invalid_time_is_rejected_everywhere_with_the_reason(value: Any) -> None:
    message = NO_TIMES[value]
    with pytest.raises(ValidationError, match=message):
        Bar.model_validate(bar(value))
    with pytest.raises(ValidationError, match=message):
        Bar.model_validate_json(Bar.model_construct(**bar(value)).model_dump_json(warnings=False))
    with pytest.raises(ValidationError, match=message):
        Request(at=value)
    with pytest.raises(InvalidRow, match=f"row 0: ts: .*{message}"):
        frames.Frame(KINDS["bars"], pa.Table.from_pylist([bar(value)]))
    with pytest.raises(InvalidRow, match=f"ts: {message}|ts: .*{message}"):
        Mapping(extra="ignore").row(KINDS["bars"], bar(value))
    if isinstance(value, str) and "outside" not in message:
        # A command may ask for any time.
        with pytest.raises(click.BadParameter, match=message):
            Instant().convert(value, None, None)


@pytest.mark.parametrize("value", [20231231, "202312310000", 19722, "2023-13-01"])
def test_every_kind_rejects_invalid_times(value: Any) -> None:
    with pytest.raises(ValidationError, match="not a time"):
        Fundamentals(vendor="v", symbol="S", asof=value)
    option = {"vendor": "v", "symbol": "S", "option_type": "C", "strike": 1, "ts": "2024-01-02"}
    with pytest.raises(ValidationError, match="expiry"):
        OptionSnap.model_validate({**option, "expiry": value})


@pytest.mark.parametrize("value", ["20240621", "2024-06-21", "2024-06-21T00:00:00", date(2024, 6, 21)])
def test_a_date_accepts_every_iso_8601_form(value: Any) -> None:
    option = {"vendor": "v", "symbol": "S", "option_type": "C", "strike": 1, "ts": "2024-01-02", "expiry": value}
    assert OptionSnap.model_validate(option).expiry == date(2024, 6, 21)


def test_a_date_with_a_time_of_day_is_rejected() -> None:
    option = {"vendor": "v", "symbol": "S", "option_type": "C", "strike": 1, "ts": "2024-01-02"}
    with pytest.raises(ValidationError, match="this has a time of day"):
        OptionSnap.model_validate({**option, "expiry": "2024-06-21T15:00:00"})
