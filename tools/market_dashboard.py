"""The Grafana dashboard of a tenant's market data, over PostgreSQL: candles, volume, and how fresh the series are.

Its login is bound to a tenant, and sees what that tenant has. A test runs every statement as such a login.
"""

from typing import Any, Final

from tools.dashboards import Panel, Query, dashboard, panels_of

_SOURCE: Final = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}

_CHOSEN: Final = "vendor = ${vendor:sqlstring} AND symbol = ${symbol:sqlstring} AND timeframe = ${timeframe:sqlstring}"

CANDLES: Final = f"""
SELECT date_bin(make_interval(secs => $__interval_ms / 1000.0), ts, '2000-01-01Z') AS time,
       (array_agg(open_price ORDER BY ts) FILTER (WHERE open_price IS NOT NULL))[1] AS open,
       max(high_price) AS high, min(low_price) AS low,
       (array_agg(close_price ORDER BY ts DESC) FILTER (WHERE close_price IS NOT NULL))[1] AS close,
       sum(volume) AS volume
FROM public.bars WHERE $__timeFilter(ts) AND {_CHOSEN} GROUP BY 1 ORDER BY 1
"""
"""The number of candles that fit on the panel; Grafana tells its width."""

VOLUME: Final = f"""
SELECT date_trunc('day', ts, 'UTC') AS time, sum(volume) AS volume
FROM public.bars WHERE $__timeFilter(ts) AND {_CHOSEN} GROUP BY 1 ORDER BY 1
"""

COUNT: Final = f"""
SELECT date_trunc('day', ts, 'UTC') AS time, count(*) AS bars
FROM public.bars WHERE $__timeFilter(ts) AND {_CHOSEN} GROUP BY 1 ORDER BY 1
"""

LATEST: Final = f"SELECT last_price FROM public.series WHERE kind = 'bars' AND {_CHOSEN}"
AGE: Final = f"SELECT extract(epoch FROM now() - last_ts) AS age FROM public.series WHERE kind = 'bars' AND {_CHOSEN}"
SERIES: Final = "SELECT count(*) AS series FROM public.series WHERE kind = 'bars' AND vendor = ${vendor:sqlstring}"

FRESHNESS: Final = """
SELECT kind, timeframe, count(*) AS series, max(last_ts) AS newest, min(last_ts) AS furthest_behind
FROM public.series WHERE vendor = ${vendor:sqlstring} GROUP BY kind, timeframe ORDER BY kind, timeframe
"""

BEHIND: Final = """
SELECT symbol, timeframe, last_ts, last_price FROM public.series
WHERE kind = 'bars' AND vendor = ${vendor:sqlstring} ORDER BY last_ts NULLS FIRST, symbol LIMIT 100
"""


def _stat(title: str, statement: str, unit: str) -> Panel:
    return Panel(title, (Query(statement, "table"),), unit, sort="stat", width=8, height=4)


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "${symbol}",
        (
            _stat("Newest close", LATEST, "none"),
            _stat("Age of the newest bar", AGE, "s"),
            _stat("Series of bars of this vendor", SERIES, "short"),
        ),
    ),
    (
        "Prices",
        (
            Panel(
                "Candles and volume",
                (Query(CANDLES, "time_series"),),
                "none",
                sort="candlestick",
                width=24,
                height=14,
                text="Stored bars, put together to candles that are as wide as the range of time allows; UTC.",
            ),
        ),
    ),
    (
        "Days",
        (
            Panel("Volume a day", (Query(VOLUME, "time_series"),), width=12),
            Panel("Bars a day", (Query(COUNT, "time_series"),), width=12, text="A day with fewer has a gap."),
        ),
    ),
    (
        "Freshness",
        (
            Panel("By kind and timeframe", (Query(FRESHNESS, "table"),), sort="table", width=12),
            Panel("Series furthest behind", (Query(BEHIND, "table"),), sort="table", width=12),
        ),
    ),
)
"""The panels of the dashboard, from top to bottom."""

VARIABLES: Final = {
    "vendor": "SELECT DISTINCT vendor FROM public.symbols WHERE kind = 'bars' ORDER BY vendor",
    "symbol": "SELECT symbol FROM public.symbols WHERE kind = 'bars' AND vendor = ${vendor:sqlstring} ORDER BY symbol",
    "timeframe": "SELECT timeframe FROM public.series WHERE kind = 'bars' AND vendor = ${vendor:sqlstring}"
    " AND symbol = ${symbol:sqlstring} ORDER BY timeframe",
}
"""The variables at the top. Each lists the values that exist for those before it."""


def market() -> str:
    """The dashboard's JSON."""
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "label": "PostgreSQL", "type": "datasource", "query": "grafana-postgresql-datasource"},
        *(
            {
                "name": name,
                "label": name.capitalize(),
                "type": "query",
                "datasource": _SOURCE,
                "query": statement,
                "definition": statement,
                "refresh": 2,
                "sort": 0,
                "multi": False,
                "includeAll": False,
            }
            for name, statement in VARIABLES.items()
        ),
    ]
    return dashboard("market-data", "Market data", "now-30d", variables, panels_of(ROWS, _target))


def _target(query: Query) -> dict[str, Any]:
    return {
        "datasource": _SOURCE,
        "rawQuery": True,
        "editorMode": "code",
        "format": query.legend,
        "rawSql": query.expression.strip(),
    }
