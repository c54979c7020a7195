"""Research: 60 days of minutes of two symbols, as frames of polars and pandas, and a picture of them.

    pip install '.[examples]'      # in a clone
    python examples/research.py --output research.png

Needs MDS_DSN and MDS_TENANT_ID, as the quick start sets them, and no data: what it looks at it invents first, a random
walk that is the same every time. Writing it again changes nothing.
"""

from datetime import UTC, datetime, timedelta

import click
import matplotlib as mpl
import polars

from mds_client import MDS

VENDOR = "simulated"
SYMBOLS = ("ALPHA", "BETA")
START = datetime(2023, 1, 1, tzinfo=UTC)


def minutes(symbol: str, days: int, seed: int) -> polars.DataFrame:
    """Bars of a minute around the clock, as the store takes them."""
    times = polars.datetime_range(START, START + timedelta(days=days), "1m", closed="left", eager=True)
    steps = polars.Series(range(len(times))).hash(seed) / 2**64 - 0.5
    close = 100 * (steps * 0.002).cum_sum().exp()
    return polars.DataFrame({"ts": times, "open_price": close.shift(1, fill_value=100.0), "close_price": close}).select(
        polars.lit(VENDOR).alias("vendor"),
        polars.lit(symbol).alias("symbol"),
        polars.lit("1m").alias("timeframe"),
        "ts",
        "open_price",
        polars.max_horizontal("open_price", "close_price").alias("high_price"),
        polars.min_horizontal("open_price", "close_price").alias("low_price"),
        "close_price",
        volume=100 + polars.int_range(polars.len()) % 50,
    )


@click.command()
@click.option("--days", default=60, show_default=True, help="How much to invent and to look at.")
@click.option("--output", default="research.png", show_default=True, help="The picture.")
def main(days: int, output: str) -> None:
    """Write, read and plot."""
    end = START + timedelta(days=days)
    with MDS() as mds:
        for number, symbol in enumerate(SYMBOLS):
            print(f"{symbol}: {mds.upsert_bars(minutes(symbol, days, number)):,} bars")

        # In polars: hours of both, and how much they move.
        hours = polars.concat([mds.rollup(symbol, "1h", START, end, VENDOR, as_="polars") for symbol in SYMBOLS])
        returns = hours.sort("symbol", "ts").with_columns(change=polars.col("close_price").log().diff().over("symbol"))
        print(returns.group_by("symbol").agg(volatility=polars.col("change").std() * (24 * 365) ** 0.5).sort("symbol"))

        # In pandas: days of both, side by side.
        daily = [mds.rollup(symbol, "1d", START, end, VENDOR, as_="pandas") for symbol in SYMBOLS]

    closes = daily[0].merge(daily[1], on="ts", suffixes=("_alpha", "_beta")).set_index("ts")
    columns = closes[["close_price_alpha", "close_price_beta"]]
    print(f"correlation of days: {columns.pct_change().corr().iloc[0, 1]:.2f}")

    mpl.use("agg")
    axes = columns.rename(columns=dict(zip(columns, SYMBOLS, strict=True))).plot(title="Daily closes", grid=True)
    axes.figure.savefig(output, dpi=120, bbox_inches="tight")
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
