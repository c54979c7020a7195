"""Reading rows: windows, latest prices, what is there.

Each is an operation (`mds_client.operations`): nothing here waits. Its statements are in `mds_client.sql`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from mds_client import sql
from mds_client.errors import ConfigurationError
from mds_client.models import Bar, LatestPrice, built
from mds_client.operations import Execute, Group, Operation, Session, Talk, Values
from mds_client.schema import KINDS, Kind

T = TypeVar("T")


def bars_window(symbol: str, timeframe: str, start: datetime, end: datetime, vendor: str) -> Operation[list[Bar]]:
    """The bars of one series with `start <= ts < end`, oldest first; all of them, without a limit.

    A time without a zone is UTC. An unknown series has no bars. Raises ConfigurationError where start is after end.
    """
    kind = KINDS["bars"]
    start, end = _instant(start), _instant(end)
    if start > end:
        raise ConfigurationError(f"start ({start.isoformat()}) is after end ({end.isoformat()})")
    names = (vendor.strip(), symbol.strip().upper(), timeframe.strip())

    def talk(session: Session) -> Talk[list[Bar]]:
        (rows,) = yield Group((Execute(sql.window(kind), (*names, start, end)),), commit=True)
        return _models(Bar, kind, session.tenant_id, names, rows)

    return Operation("bars_window", talk)


def latest_prices(symbols: Sequence[str], vendor: str) -> Operation[list[LatestPrice]]:
    """The newest close of each of these symbols that has one, over all timeframes, in the order of the symbols' names.

    Costs the same however many bars there are: the price is kept with the series.
    """
    if isinstance(symbols, str):
        raise ConfigurationError(f"symbols is a list of names, not one text: [{symbols!r}]")
    kind = KINDS["bars"]
    vendor = vendor.strip()
    wanted = sorted({symbol.strip().upper() for symbol in symbols})

    def talk(session: Session) -> Talk[list[LatestPrice]]:
        (rows,) = yield Group((Execute(sql.latest_prices(kind), (vendor, wanted)),), commit=True)
        return [
            built(
                LatestPrice,
                {
                    "tenant_id": session.tenant_id,
                    "vendor": vendor,
                    "symbol": symbol,
                    "price": price,
                    "price_timestamp": time,
                },
            )
            for symbol, price, time in rows
        ]

    return Operation("latest_prices", talk)


def _instant(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _models(
    model: type[T], kind: Kind, tenant_id: str | None, names: Sequence[str | None], rows: list[Values]
) -> list[T]:
    """Rows as the model's instances: a constant part for the series, a stored part from the row."""
    constant = {"tenant_id": tenant_id, **dict(zip(kind.series, names, strict=True))}
    columns = sql.model_columns(kind)
    return [built(model, {**constant, **dict(zip(columns, row, strict=True))}) for row in rows]
