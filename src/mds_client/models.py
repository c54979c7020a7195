"""The row models that users write and read. `@kind` turns each into the declaration that everything else is built on.

Models are frozen. They are strict about meaning (a price is finite, an identifier is not empty, an unknown field is an
error and not dropped) and liberal about form (ISO text for times, decimal text for numbers, lower-case symbols).
Times without a zone are UTC; every time comes back in UTC. A bare number is not a time (`mds_client.values.times`).
"""

import json
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, TypeAlias
from uuid import UUID, uuid5

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from mds_client.schema import KINDS, Kind, Rollup, Sql, Storage, kind
from mds_client.values.fields import Amount as Amount
from mds_client.values.fields import Count as Count
from mds_client.values.fields import Currency as Currency
from mds_client.values.fields import Day as Day
from mds_client.values.fields import Instant as Instant
from mds_client.values.fields import Items as Items
from mds_client.values.fields import Name as Name
from mds_client.values.fields import Number as Number
from mds_client.values.fields import OptionType as OptionType
from mds_client.values.fields import Symbol as Symbol
from mds_client.values.fields import Text as Text
from mds_client.values.fields import Timeframe as Timeframe
from mds_client.values.fields import UuidText as UuidText
from mds_client.values.fields import VendorId, is_uuid, no_nul
from mds_client.values.quality import DataQualityWarning, out_of_order
from mds_client.values.spelling import Spelled

__all__ = [
    "Bar",
    "Coverage",
    "DataQualityWarning",
    "Fundamentals",
    "Instrument",
    "Job",
    "LatestPrice",
    "News",
    "OptionSnap",
    "Row",
    "Series",
]


# The two prices of a bar that bound its range.
_RANGE = ("low_price", "high_price")

# The namespace of the ids that are derived from the content of news. Any uuid would do, but it must never change.
_NEWS = UUID("6b1f3f0e-6c5d-4c55-9d5a-2f5b7d0f3c11")


class Row(BaseModel):
    """The base class of all row models.

    `tenant_id` is the uuid of the row's owner. The default is the tenant of the client that writes the row; another
    tenant raises `RLSDenied`. Rows that were read always have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant_id: UuidText | None = Field(default=None, description="The tenant that owns the row.")
    vendor: Name = Field(description="Who the data is from.")

    def __getitem__(self, field: str) -> Any:
        """Return a field by its name, as in a mapping. Raises KeyError for an unknown name."""
        if field not in type(self).model_fields:
            raise KeyError(field)
        return getattr(self, field)

    def as_given(self) -> Self:
        """Return the row with its symbols as they were given, for a text from which the row is read again."""
        given = {name: value.given for name, value in vars(self).items() if isinstance(value, Spelled)}
        return self.model_copy(update=given) if given else self

    def spelled(self, changed: Mapping[str, Any]) -> Self:
        """Return the row with its symbols in another spelling. Used by the client when it writes the row."""
        return self.model_copy(update=dict(changed))


AnyKind: TypeAlias = str | type[Row] | Kind
"""A kind: its name, its model or its declaration."""


@kind(
    "bars",
    singular="bar",
    time="ts",
    series=("vendor", "symbol", "timeframe"),
    price="close_price",
    storage=Storage(chunk=timedelta(days=7), columnstore_after=timedelta(days=14), cold=True),
    rollups=(
        Rollup("5m", timedelta(minutes=5), source="1m"),
        Rollup("15m", timedelta(minutes=15), source="5m"),
        Rollup("1h", timedelta(hours=1), source="15m"),
        Rollup("1d", timedelta(days=1), source="1h"),
    ),
    aggregates={
        "open_price": "first",
        "high_price": "max",
        "low_price": "min",
        "close_price": "last",
        "volume": "sum",
        "trade_count": "sum",
        "vwap": "mean",
    },
    ordered=(_RANGE,),
    weight="volume",
)
class Bar(Row):
    """Open, high, low, close and volume of one symbol over one timeframe, which begins at `ts`.

    Prices are in the symbol's own currency and may be negative; `vwap` is the price averaged by volume. `volume` is in
    units of the instrument and may have a fraction; `trade_count` is the number of trades. A rollup's `vwap` is that of
    its bars weighted by their volume, of those that have both. `timeframe` is a count and a
    unit: s, m, h, d, w, mo, q or y (`1m` is a minute, `1mo` a month). Common spellings such as `1min` and `1H` are
    understood; `60m` and `1h` are one timeframe.
    """

    symbol: Symbol = Field(description="The instrument, in upper case unless the vendor's symbols are case-sensitive.")
    timeframe: Timeframe = Field(description="What a bar spans: a count and a unit, such as 1m, 1h, 1d.")
    ts: Instant = Field(description="When the bar begins.")
    open_price: Number | None = Field(default=None, description="The first price of the bar.")
    high_price: Number | None = Field(default=None, description="The highest price of the bar.")
    low_price: Number | None = Field(default=None, description="The lowest price of the bar.")
    close_price: Number | None = Field(default=None, description="The last price of the bar.")
    volume: Amount | None = Field(default=None, description="What was traded in the bar, in units of the instrument.")
    id: UuidText | None = Field(default=None, description="The vendor's id of the row, where it has one.")
    vwap: Number | None = Field(default=None, description="The average price of the bar, weighted by volume.")
    trade_count: Count | None = Field(default=None, description="The number of trades in the bar.")

    @model_validator(mode="after")
    def _look(self) -> Self:
        if self.high_price is not None and self.low_price is not None and self.high_price < self.low_price:
            warnings.warn(out_of_order(KINDS.of(Bar), self.__dict__, _RANGE), DataQualityWarning, stacklevel=2)
        return self


@kind("fundamentals", singular="fundamental", time="asof", series=("vendor", "symbol"))
class Fundamentals(Row):
    """A company's figures as of a date, in its reporting currency; `eps` is earnings per share.

    `currency` is that currency, as ISO 4217 names it (`USD`); `period` is the time that the figures are for, in the
    vendor's words (`FY2024`, `2024-Q3`). `items` are all other figures of the vendor, by the names that it gives them
    (`free_cash_flow`).
    """

    symbol: Symbol = Field(
        description="The company's instrument, in upper case unless the vendor's symbols are case-sensitive."
    )
    asof: Instant = Field(description="The date of the figures.")
    total_assets: Number | None = Field(default=None, description="Total assets, in the reporting currency.")
    total_liabilities: Number | None = Field(default=None, description="Total liabilities, in the reporting currency.")
    net_income: Number | None = Field(default=None, description="Net income, in the reporting currency.")
    eps: Number | None = Field(default=None, description="Earnings per share, in the reporting currency.")
    id: UuidText | None = Field(default=None, description="The vendor's id of the row, where it has one.")
    currency: Currency | None = Field(
        default=None, description="The reporting currency, as ISO 4217 names it, such as USD."
    )
    period: Name | None = Field(
        default=None, description="The time that the figures are for, in the words of the vendor, such as FY2024."
    )
    items: Items = Field(
        default=None,
        description="Further figures by the names that the vendor gives them, such as free_cash_flow.",
    )

    def __hash__(self) -> int:
        # A dictionary has no hash.
        return hash((self.tenant_id, self.vendor, self.symbol, self.asof))


@kind(
    "news",
    singular="news",
    time="published_at",
    series=("vendor",),
    key=("id",),
    storage=Storage(chunk=timedelta(days=30), columnstore_after=timedelta(days=60)),
)
class News(Row):
    """A headline. `sentiment_score` is from -1 (bad) to 1 (good).

    A vendor's own id of the article is `vendor_id`: `id` follows from it and from the symbol, so that a corrected
    headline replaces the earlier one. An `id` that is not a uuid, such as a number, is taken for it. Without both, `id`
    follows from vendor, time, title, symbol and url: the same item again, also with another score, is the same row.

    An article about several symbols is a row for each, also where all of them have one `id`.
    """

    published_at: Instant = Field(description="When the news was published.")
    title: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(no_nul), Sql("text")
    ] = Field(description="The headline.")
    symbol: Symbol | None = Field(
        default=None,
        description="The instrument that the news is about, in upper case unless the vendor's are case-sensitive.",
    )
    url: Text | None = Field(default=None, description="Where the text is.")
    sentiment_score: Annotated[Number, Field(ge=-1, le=1)] | None = Field(
        default=None, description="How good the news is: from -1 (bad) to 1 (good)."
    )
    id: Annotated[UuidText | None, Sql("uuid", always=True, otherwise="vendor_id", apart="symbol")] = Field(
        default=None,
        description="The vendor's id where it is a uuid, which rows of several symbols can share; else one that follows"
        " from vendor_id, or from the content.",
    )
    vendor_id: VendorId | None = Field(
        default=None, description="The vendor's id of the article where it is not a uuid, as text."
    )

    @model_validator(mode="before")
    @classmethod
    def _look_at_id(cls, values: Any) -> Any:
        given = values.get("id") if isinstance(values, Mapping) else None
        if given is None or isinstance(given, UUID) or is_uuid(given):
            return values
        return {"vendor_id": given, **{name: value for name, value in values.items() if name != "id"}}

    @model_validator(mode="after")
    def _identify(self) -> Self:
        if self.id is None:
            # The model is frozen, so an ordinary assignment would fail.
            object.__setattr__(self, "id", self._own_id(self.symbol))
        return self

    def _own_id(self, symbol: str | None) -> str:
        """Return the id that follows from the content, with this symbol."""
        said = json.dumps(
            [self.vendor, self.published_at.isoformat(), self.title, symbol, self.url]
            if self.vendor_id is None
            else [self.vendor, self.vendor_id, symbol]
        )
        return str(uuid5(_NEWS, said))

    def spelled(self, changed: Mapping[str, Any]) -> Self:
        """Return the row with its symbol in another spelling. An id that follows from the content follows it."""
        id_ = self._own_id(changed["symbol"]) if self.id == self._own_id(self.symbol) else self.id
        return super().spelled({**changed, "id": id_})


@kind(
    "options",
    singular="option",
    relation="options_snap",
    time="ts",
    series=("vendor", "symbol", "root"),
    key=("expiry", "option_type", "strike"),
    storage=Storage(chunk=timedelta(days=7), columnstore_after=timedelta(days=7), cold=True),
)
class OptionSnap(Row):
    """One option contract at a moment: prices, implied volatility and greeks, open interest, volume.

    `option_type` is C (call) or P (put); `strike` and `spot`, the price of the underlying, are in the underlying's
    currency, and may be zero or negative, as for spreads. `iv` is a fraction a year (0.25 is 25 %). `theta`, `vega` and
    `rho` are in the units of the vendor. `oi` is the open interest.

    `root` is the symbol under which the contract is listed, by default the underlying's: SPX and SPXW options of one
    expiry and strike are two contracts of SPX. `multiplier` is the number of units of the underlying that one contract
    stands for.
    """

    symbol: Symbol = Field(description="The underlying, in upper case unless the vendor's symbols are case-sensitive.")
    expiry: Day = Field(description="The day on which the contract expires.")
    option_type: OptionType = Field(description="C (call) or P (put).")
    strike: Number = Field(description="The strike, in the underlying's currency.")
    ts: Instant = Field(description="The moment of the snapshot.")
    iv: Number | None = Field(default=None, description="The implied volatility, a fraction a year: 0.25 is 25 %.")
    delta: Number | None = Field(default=None, description="Delta: change of the price by the underlying's price.")
    gamma: Number | None = Field(default=None, description="Gamma: change of delta by the underlying's price.")
    oi: Amount | None = Field(default=None, description="The open interest, in contracts.")
    volume: Amount | None = Field(default=None, description="What was traded on the day, in contracts.")
    spot: Number | None = Field(default=None, description="The underlying's price, in its currency.")
    id: UuidText | None = Field(default=None, description="The vendor's id of the row, where it has one.")
    bid: Number | None = Field(default=None, description="The highest price that is bid.")
    ask: Number | None = Field(default=None, description="The lowest price that is asked.")
    last: Number | None = Field(default=None, description="The price of the last trade.")
    vega: Number | None = Field(
        default=None, description="Vega: change of the price by the implied volatility, in the unit of the vendor."
    )
    theta: Number | None = Field(
        default=None, description="Theta: change of the price by time, in the unit of the vendor."
    )
    rho: Number | None = Field(
        default=None, description="Rho: change of the price by the interest rate, in the unit of the vendor."
    )
    root: Symbol = Field(
        default="", description="The symbol under which the contract is listed; by default the underlying's."
    )
    multiplier: Annotated[Number | None, Sql("double precision", last=True)] = Field(
        default=None, description="The number of units of the underlying that one contract stands for."
    )

    @model_validator(mode="before")
    @classmethod
    def _look_at_root(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "root" in values and values["root"] is None:
            return {name: value for name, value in values.items() if name != "root"}
        return values

    @model_validator(mode="after")
    def _be_listed(self) -> Self:
        if not self.root:
            # The model is frozen, so an ordinary assignment would fail.
            object.__setattr__(self, "root", self.symbol)
        return self


@kind("instruments", singular="instrument", time="asof", series=("vendor", "symbol"))
class Instrument(Row):
    """What a vendor says of an instrument itself, from a time on: its type, exchange, currency and contract terms.

    A row is valid until the next row of the symbol: to know an instrument as of a time, take the last row up to it.
    `items` are all other numbers of the vendor, by the names that it gives them (`min_lot_size`).
    """

    symbol: Symbol = Field(description="The instrument, in upper case unless the vendor's symbols are case-sensitive.")
    asof: Instant = Field(description="From when on the row is valid.")
    name: Text | None = Field(default=None, description="The instrument's name in words, such as Apple Inc.")
    instrument_type: Name | None = Field(
        default=None, description="The type of instrument in lower case, such as stock, future, call, put or bond."
    )
    exchange: Name | None = Field(
        default=None, description="Where the instrument is listed, in the words of the vendor, such as XNAS."
    )
    currency: Currency | None = Field(
        default=None, description="The currency of its prices, as ISO 4217 names it, such as USD."
    )
    tick_size: Number | None = Field(default=None, description="The smallest change of its price.")
    multiplier: Number | None = Field(
        default=None, description="The number of units of the underlying that one contract stands for."
    )
    underlying: Name | None = Field(default=None, description="The symbol of the underlying, for a derivative.")
    expiration: Instant | None = Field(default=None, description="When a contract expires.")
    strike: Number | None = Field(default=None, description="The strike of an option, in the underlying's currency.")
    option_type: OptionType | None = Field(default=None, description="C (call) or P (put), for an option.")
    id: UuidText | None = Field(default=None, description="The vendor's id of the row, where it has one.")
    items: Items = Field(
        default=None,
        description="Further numbers by the names that the vendor gives them, such as min_lot_size.",
    )

    def __hash__(self) -> int:
        # A dictionary has no hash.
        return hash((self.tenant_id, self.vendor, self.symbol, self.asof))


class LatestPrice(BaseModel):
    """The newest close of a symbol, over all its timeframes.

    `price_timestamp` (UTC) is the beginning of the bar that the price is from.
    """

    model_config = ConfigDict(frozen=True)

    tenant_id: str = Field(description="The tenant that owns the price.")
    vendor: str = Field(description="Who the price is from.")
    symbol: str = Field(description="The instrument, in upper case unless the vendor's symbols are case-sensitive.")
    price: float = Field(description="The newest close.")
    price_timestamp: datetime = Field(description="When the bar begins that the price is from.")


class Series(BaseModel):
    """A stored series, with its newest time (UTC) and, if its kind has prices, its newest price."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="What the rows are: bars, fundamentals, news or options.")
    vendor: str = Field(description="Who the data is from.")
    symbol: str | None = Field(
        description="The instrument, in upper case unless the vendor's symbols are case-sensitive; none for news."
    )
    timeframe: str | None = Field(description="What a bar spans; none for other kinds.")
    root: str | None = Field(
        default=None, description="The root of options that are not listed under their underlying's symbol."
    )
    last_ts: datetime | None = Field(description="The time of the newest row.")
    last_price: float | None = Field(description="The newest close, where the kind has prices.")


class Coverage(BaseModel):
    """The extent of a series: its first and last time (UTC) and its number of rows."""

    model_config = ConfigDict(frozen=True)

    kind: str
    vendor: str
    symbol: str | None
    timeframe: str | None
    root: str | None = None
    first: datetime
    last: datetime
    count: int


JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Job(BaseModel):
    """A job of the outbox. `priority` is from 0 to 100, the larger one first; times are in UTC.

    `done` and `total` are how far it is, in units of its own; `result` is what its function returned.
    """

    model_config = ConfigDict(frozen=True)

    id: int = Field(description="The job's number.")
    tenant_id: str = Field(description="The tenant that the job belongs to.")
    idempotency_key: str = Field(description="The tenant's key of the job: the same key is the same job.")
    job_type: str = Field(description="Which function takes the job.")
    payload: Any = Field(description="What the function is given.")
    priority: int = Field(description="From 0 to 100, the larger one first.")
    state: JobState = Field(description="queued, running, succeeded, failed or cancelled.")
    attempts: int = Field(description="How often the job was begun.")
    created_at: datetime = Field(description="When the job was enqueued.")
    finished_at: datetime | None = Field(default=None, description="When the job ended.")
    error: str | None = Field(default=None, description="What the last attempt failed with.")
    done: int | None = Field(default=None, description="How far the job is, in units of its own.")
    total: int | None = Field(default=None, description="How far the job has to come, in units of its own.")
    result: Any = Field(default=None, description="What the function returned.")
