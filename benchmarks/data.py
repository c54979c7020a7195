"""Realistic bars: random walks on a tick grid, minute by minute, in the order in which they would arrive."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mds_client import Bar

BEGIN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
TICK = 0.01


def bars(series: int, minutes: int, *, begin: datetime = BEGIN, seed: int = 7) -> Iterator[Bar]:
    """`series * minutes` bars: for each minute one of every series, as a live feed has them."""
    chance = random.Random(seed)
    prices = [round(chance.uniform(5, 500), 2) for _ in range(series)]
    for minute in range(minutes):
        ts = begin + timedelta(minutes=minute)
        for number in range(series):
            opened = prices[number]
            steps = [opened + TICK * chance.randint(-20, 20) for _ in range(3)]
            closed = max(TICK, round(steps[-1], 2))
            prices[number] = closed
            yield Bar(
                vendor="bench",
                symbol=f"S{number:05d}",
                timeframe="1m",
                ts=ts,
                open_price=opened,
                high_price=round(max(opened, closed, *steps), 2),
                low_price=round(min(opened, closed, *steps), 2),
                close_price=closed,
                volume=chance.randint(0, 50_000),
            )
