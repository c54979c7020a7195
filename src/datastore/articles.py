"""Articles: news of a tenant, the newest first, with all symbols of an article in one place.

An article about several symbols is a row for each of them. Rows are one article if vendor, time, title and address are
the same, or the vendor's id.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mds_client import KINDS, News, sql
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from mds_client.reading.answers import models_of_many
from mds_client.reading.listings import named
from mds_client.reading.reads import news_window

if TYPE_CHECKING:
    from mds_client import MDS

_FIRST: Final = timedelta(hours=6)
"""How far to look back at first. Each further look goes back twice as far, as long as there are few rows."""

ROWS: Final = 5_000
"""Rows of a look. After more, the next one begins where they end. Only if all are of one moment, it reads more."""


@dataclass(frozen=True, slots=True)
class Article:
    """A headline. `symbols` are those of all its rows, in alphabetical order; `url` is as the vendor gave it.
    `sentiment_score` is from -1 (bad) to 1 (good), the mean over its rows that have one."""

    published_at: datetime
    vendor: str
    title: str
    url: str | None
    symbols: tuple[str, ...]
    sentiment_score: float | None


def newest(
    client: "MDS",
    *,
    start: datetime,
    end: datetime,
    vendor: str | None = None,
    symbol: str | None = None,
    text: str | None = None,
    skip: int = 0,
    limit: int,
) -> tuple[list[Article], bool]:
    """Return the newest articles with `start <= published_at < end`, newest first, and whether there are more.

    The order is total, so that a page can begin among articles of the same time.

    Args:
        client: The client of the tenant.
        start: The first time.
        end: The end, which is not part of the range.
        vendor: Only this vendor's.
        symbol: Only articles about this symbol. Their other symbols are returned, too.
        text: Only articles with this text in the title, in upper or lower case.
        skip: Leave out as many of the newest ones.
        limit: The largest number of articles.

    Raises:
        MDSError: As the client's methods do.
    """
    found: list[list[News]] = []
    width, most = _FIRST, ROWS
    while start < end and len(found) <= skip + limit:
        begin = max(start, end - width) if end - start > width else start
        rows: list[News] = client.run(news_window(begin, end, vendor=vendor, symbol=symbol, text=text, newest=most))
        if len(rows) < most:
            width *= 2
        elif rows[0].published_at == (oldest := rows[-1].published_at):
            most *= 2
            continue
        else:
            # Of the oldest time there may be more rows, so the next look reads all of that time.
            rows = [row for row in rows if row.published_at > oldest]
            begin = oldest + datetime.resolution
        found += _grouped(rows)
        end = begin
    shown = found[skip : skip + limit]
    others = client.run(_same_times(rows[0] for rows in shown)) if symbol is not None and shown else []
    by_key = {_key(rows[0]): rows for rows in _grouped(others)}
    return [_article([*rows, *by_key.get(_key(rows[0]), ())]) for rows in shown], len(found) > skip + limit


def _grouped(rows: Iterable[News]) -> list[list[News]]:
    """The rows of each article, the newest article first."""
    found: dict[tuple[object, ...], list[News]] = {}
    for row in rows:
        found.setdefault(_key(row), []).append(row)
    return sorted(
        found.values(),
        key=lambda each: (each[0].published_at, each[0].vendor, each[0].title, str(_key(each[0]))),
        reverse=True,
    )


def _key(row: News) -> tuple[object, ...]:
    said = (row.title, row.url) if row.vendor_id is None else (row.vendor_id,)
    return row.vendor, row.published_at, *said


def _article(rows: list[News]) -> Article:
    scores = {row.id: row.sentiment_score for row in rows if row.sentiment_score is not None}
    first = rows[0]
    return Article(
        first.published_at,
        first.vendor,
        first.title,
        next((row.url for row in rows if row.url is not None), None),
        tuple(sorted({row.symbol for row in rows if row.symbol is not None})),
        sum(scores.values()) / len(scores) if scores else None,
    )


def _same_times(rows: Iterable[News]) -> Operation[list[News]]:
    """Read the rows of the vendors and times of these that may be of the same articles."""
    rows = list(rows)
    kind = KINDS["news"]
    vendors = {row.vendor for row in rows}
    times = sorted({row.published_at for row in rows})
    said = [row.title for row in rows], [row.vendor_id for row in rows if row.vendor_id is not None]

    def talk(session: Session) -> Talk[list[News]]:
        (listed,) = yield Group((Execute(sql.list_series(by_vendor=False), (kind.name, session.wanted)),))
        names = {id_: name for id_, name in named(kind, listed).items() if name[0] in vendors}
        statement = Execute(sql.news_at(kind), (list(names), times, *said, session.wanted))
        (there,) = yield Group((statement,), commit=True)
        return models_of_many(News, kind, session.tenant_id, names, there)

    return Operation("news_at", talk)
