"""Old rows in files: they move there and back, and what is read is what a store without files would answer.

The tenant b is that store: what is done to a is done to b, whose rows stay in the table.
"""

import json
import pickle
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID, uuid4

import duckdb
import polars
import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datastore import aggregates, cold, gaps, timescale_policies
from datastore.cli import command_line
from datastore.cold import compacting, exporting, folding, keeping
from datastore.cold.owning import MARK
from datastore.errors import ControlError
from datastore.maintenance.on_demand import RefreshOrder
from datastore.names import REFRESH_JOB
from datastore.timescale_policies import PolicyError
from mds_client import (
    KINDS,
    MDS,
    Bar,
    ConfigurationError,
    MDSError,
    RetryableError,
    SeriesConflict,
    UnknownSeries,
    sql,
)
from mds_client.models import Row
from mds_client.reading import lazy, packed
from tests.clients.test_columnstore import compress
from tests.conftest import Store, odd_rows
from tests.control.cold_faults import Traffic, worked

NOW: Final = datetime(2024, 6, 15, 12, tzinfo=UTC)
AGE: Final = timedelta(days=30)
FENCE: Final = datetime(2024, 5, 1, tzinfo=UTC)
ALL: Final = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
SEAM: Final = (datetime(2024, 4, 20, tzinfo=UTC), datetime(2024, 5, 10, tzinfo=UTC))
MODES: Final = ("replace", "keep", "fill")
ROLLUPS: Final = ("5m", "1h", "4h", "1d", "1w", "1mo")


tables_and_columnstore = pytest.mark.engines("postgres", "timescale")
"""For tests of what plain tables and the columnstore differ in. The Apache edition has chunks and no columnstore: tests
that run on every engine move rows out of its chunks and back."""


def bars(symbols: str = "AB", hours: int | None = None) -> list[Bar]:
    """Bars of 1m, some of them in one interval, with missing values: two in seven hours, or few from January to May."""
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    hours, step = (200, 17) if hours is None else (hours, 7)
    return [
        Bar(vendor="v", symbol=symbol, timeframe="1m", ts=begin + timedelta(hours=step * n // 2, minutes=n % 3),
            open_price=1.5 + n, high_price=9 + n, low_price=0.5, close_price=2 + n if n % 5 else None,
            volume=None if n % 11 == 0 else 100 * n + (0.25 if n % 4 == 0 else 0), trade_count=n or None,
            vwap=None if n % 9 == 0 else 1e120 if n % 50 == 0 else 1 + n / 3,
            id="dddddddd-0000-4000-8000-000000000004" if n % 7 == 0 else None)
        for symbol in symbols
        for n in range(2 * hours)
    ]  # fmt: skip


def bar(ts: datetime, price: float | None, symbol: str = "A", **more: Any) -> Bar:
    return Bar(vendor="v", symbol=symbol, timeframe="1m", ts=ts, close_price=price, **more)


def scanned(client: MDS, kind: str, span: tuple[datetime, ...] = (), **how: Any) -> Any:
    """The rows of a scan by series. In each series they come by time; the series of two files are not put together."""
    frame: polars.DataFrame = client.scan(kind, *span, **how).collect()
    return tuples(frame.sort([name for name in KINDS[kind].series if name in frame.columns], maintain_order=True))


def listed(client: MDS, kind: str) -> Any:
    """The rows of a stream of models by series, in whose order streams come: that in which they were created.

    It is not the same for both. A series that has lost all rows is created again, but not if files may have its name.
    """
    rows = [row for batch in client.iter_rows(kind) for row in batch]
    return rows_of(sorted(rows, key=lambda row: [str(getattr(row, name)) for name in KINDS[kind].series]))


def streamed(client: MDS, kind: str, *span: datetime, **how: Any) -> Any:
    """The same of a stream of Arrow batches."""
    made = [polars.DataFrame(batch) for batch in client.iter_rows(kind, *span, as_="arrow", **how)]
    return tuples(*(polars.concat(made).sort(KINDS[kind].series, maintain_order=True) for _ in made[:1]))


def related(client: MDS, span: tuple[datetime, datetime], **how: Any) -> Any:
    """The rows of a scan for DuckDB, which come in no particular order."""
    return sorted(client.scan("bars", *span, as_="duckdb", **how).fetchall(), key=str)


class Pair:
    """The tenant whose rows move, and the one whose rows do not."""

    kind = "bars"

    def __init__(self, store: Store, url: str) -> None:
        self.store, self.url = store, url
        self.a = MDS(dsn=store.dsn, tenant_id=store.tenant_a, cold_url=url)
        self.b = MDS(dsn=store.dsn, tenant_id=store.tenant_b)

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        self.a.close()
        self.b.close()

    def upsert(self, rows: Sequence[Row], **how: Any) -> None:
        for client in (self.a, self.b):
            client.upsert(self.kind, rows, **how)

    def move(self, now: datetime = NOW, **how: Any) -> list[exporting.Moved]:
        """Move the rows, from the columnstore where there is one."""
        compress(self.store)
        cold.set_age(self.store.admin_dsn, UUID(self.store.tenant_a), self.kind, AGE)
        return list(exporting.run(self.store.admin_dsn, self.url, now=now, **how))

    def delete(self, symbol: str | None = None, start: Any = None, end: Any = None, **how: Any) -> list[Any]:
        """What both say that they have deleted, or would."""

        def deleted(client: MDS) -> Any:
            try:
                done = client.delete(self.kind, vendor="v", symbol=symbol, start=start, end=end, **how)
            except UnknownSeries:
                return 0, []
            return done.rows, done.series

        # A series that has lost all its rows stays here, because files may still have its name.
        mine, others = deleted(self.a), deleted(self.b)
        assert mine == others
        return [mine[0], *mine[1]]

    def fold(self, **how: Any) -> list[folding.Folded]:
        return list(folding.fold(self.store.admin_dsn, self.url, **how))

    def compact(self) -> list[compacting.Compacted]:
        return list(compacting.compact(self.store.admin_dsn, self.url))

    def restore(self, since: datetime = ALL[0]) -> list[folding.Restored]:
        tenant = UUID(self.store.tenant_a)
        cold.set_age(self.store.admin_dsn, tenant, self.kind, None)
        return list(folding.restore(self.store.admin_dsn, self.url, tenant=tenant, kind=self.kind, since=since))

    def same(self, read: Callable[[MDS], Any]) -> Any:
        """What both answer, which is the same."""
        mine, others = read(self.a), read(self.b)
        assert mine == others
        return mine

    def maintain(self, what: str, how: Any) -> None:
        """Do one of the random steps that write no rows."""
        if what == "move":
            self.move(datetime(2024, how, 20, tzinfo=UTC))
        elif what == "fold":
            self.fold()
        elif what == "compact":
            self.move(datetime(2025, 3, 20, tzinfo=UTC))
            assert all(one.files > 1 for one in self.compact())
        elif what == "restore":
            self.restore(datetime(2024, how - 2, 1, tzinfo=UTC))
        elif what == "sweep":
            keeping.sweep(self.store.admin_dsn, self.url, older_than=timedelta(0))
        else:
            assert what == "delete"
            symbol, since, months = how
            begin = datetime(2024, 1 + since, 1, tzinfo=UTC)
            end = datetime(2024, 1 + since + months // 2, 2, tzinfo=UTC)
            self.delete(symbol, begin, end)

    def everything(self, client: MDS) -> Any:
        """All rows, as models."""
        return rows_of(client.bars_window(["A", "B"], "1m", *ALL, "v", missing="ignore"))

    def reads(self) -> list[Callable[[MDS], Any]]:
        """Reads of rows, in every form."""
        return [
            *(partial(window, span=span) for span in (ALL, SEAM)),
            *(partial(frame, as_=as_) for as_ in ("arrow", "polars")),
            partial(listed, kind="bars"),
            partial(streamed, kind="bars"),
            lambda client: scanned(client, "bars"),
            lambda client: scanned(client, "bars", SEAM, symbols=["A"], connections=1),
            joined,
            partial(joined, span=SEAM, symbols=["A"], columns=("close_price", "symbol")),
            lambda client: [row.model_dump() for row in client.coverage("bars")],
        ]

    def computed(self) -> list[Callable[[MDS], Any]]:
        """Reads of what the server computes of rows."""
        # The weights are read although they are not asked for.
        weights = partial(rolled, timeframe="1h", as_="polars", columns=("ts", "symbol", "vwap"))
        return [*(partial(rolled, timeframe=timeframe) for timeframe in ROLLUPS), weights]

    def same_everywhere(self) -> None:
        """Every read of every form is the same."""
        if not self.same(self.everything):
            return
        for read in self.reads():
            self.same(read)
        aggregates.refresh(self.store.admin_dsn)
        for read in self.computed():
            self.same(read)

    def same_after(self, step: int) -> None:
        """All rows are the same, and each third form of reading them; other ones after the next step."""
        if self.same(self.everything):
            for read in self.reads()[step % 3 :: 3]:
                self.same(read)


def joined(client: MDS, span: tuple[datetime, datetime] | None = None, kind: str = "bars", **how: Any) -> Any:
    """The rows of a scan's parts, each part read as another process does."""
    parts = [pickle.loads(pickle.dumps(part)) for part in client.scan_parts(kind, *(span or ()), **how)]
    assert all(one.end <= other.start for one, other in pairwise(parts))
    found = []
    for part in parts:
        frame = part.scan().collect()
        assert "ts" not in frame.columns or frame["ts"].is_between(part.start, part.end, closed="left").all()
        found.append(frame)
    return polars.concat(found).sort(found[0].columns).rows() if found else []


def window(client: MDS, span: tuple[datetime, datetime]) -> Any:
    return rows_of(client.bars_window("A", "1m", *span, "v", missing="ignore"))


def frame(client: MDS, as_: Any, symbols: tuple[str, ...] = ("B", "A")) -> Any:
    return tuples(client.bars_window(symbols, "1m", *ALL, "v", as_=as_, missing="ignore"))


def rolled(client: MDS, timeframe: str, **how: Any) -> Any:
    """A rollup, with means to 12 digits: the order in which floats are added is not the server's."""
    found = client.rollup(["A", "B"], timeframe, *ALL, "v", missing="ignore", **how)
    rows = found.to_dicts() if how else rows_of(found)
    return [{**row, "vwap": None if row["vwap"] is None else float(f"{row['vwap']:.12g}")} for row in rows]


def rows_of(rows: Any) -> list[dict[str, Any]]:
    return [{**vars(row), "tenant_id": None} for row in rows]


def tuples(*frames: Any) -> list[tuple[Any, ...]]:
    """The names of the columns, and the rows. Dictionaries would take ten times as long to make and to compare."""
    made: list[Any] = [one if isinstance(one, polars.DataFrame) else polars.from_arrow(one) for one in frames]
    return [*({tuple(one.columns) for one in made}), *(row for one in made for row in one.rows())]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "cold")


@pytest.fixture
def pair(store: Store, url: str) -> Iterator[Pair]:
    with Pair(store, url) as pair:
        yield pair


@pytest.mark.every_engine
def test_moving_months_into_files_changes_no_read_result(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars())
    moved = pair.move()
    assert [one.start.month for one in moved] == [1, 2, 3, 4]
    assert store.rows("SELECT count(*) FROM store.bars WHERE ts < %s AND series_id >> 40 = 1", FENCE) == [(0,)]
    assert not [one for one in keeping.verify(store.admin_dsn, url) if one.problem]
    pair.same_everywhere()
    assert pair.move() == []
    assert (
        pair.a.bars_window("A", "1m", FENCE, ALL[1], "v")
        == pair.a.bars_window("A", "1m", *ALL, "v")[-len(pair.a.bars_window("A", "1m", FENCE, ALL[1], "v")) :]
    )


@odd_rows
def test_late_rows_can_be_written_in_each_mode_and_read_at_once(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    there, absent = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
    for number, mode in enumerate(("replace", "keep", "fill", "replace", "fill", "keep")):
        for ts in (there, absent, absent + timedelta(days=number)):
            pair.upsert([bar(ts, 100.0 + number, volume=number or None)], on_conflict=mode)
            pair.upsert([bar(ts, None, symbol="NEW", trade_count=number or None)], on_conflict=mode)
            pair.same(partial(frame, as_="arrow", symbols=("A", "NEW")))
        pair.same_after(number)
    # Old and new rows in one batch, by each way of writing.
    for mode in ("values", "copy", "executemany"):
        with MDS(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode) as other:
            other.upsert_bars([bar(there, 7.5), bar(SEAM[1], 8.5), bar(absent, 9.5, symbol="B")])
        with MDS(dsn=store.dsn, tenant_id=store.tenant_b, write_mode=mode) as other:
            other.upsert_bars([bar(there, 7.5), bar(SEAM[1], 8.5), bar(absent, 9.5, symbol="B")])
    pair.same_everywhere()
    assert pair.fold()
    assert store.rows("SELECT count(*) FROM store.late_bars") == [(0,)]
    pair.same_everywhere()


def test_a_stream_that_splits_a_series_includes_its_rows_in_files(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.upsert(bars())
    pair.move()
    # A late row before the first file.
    pair.upsert([bar(datetime(2023, 5, 1, tzinfo=UTC), 7.0)])
    monkeypatch.setattr(packed, "TARGET", 20)
    monkeypatch.setattr(packed, "MOST", 40)
    pair.same_everywhere()


def test_rewriting_rows_that_are_in_files_stores_nothing(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    for mode in ("replace", "keep", "fill"):
        pair.upsert(bars(), on_conflict=mode)
    assert store.rows("SELECT count(*) FROM store.late_bars") == [(0,)]
    pair.same_everywhere()


def test_latest_prices_stay_correct_when_their_bars_are_in_files(pair: Pair) -> None:
    pair.upsert([row for row in bars("A") if row.ts < FENCE])
    pair.move()
    pair.same(lambda client: [row.price for row in client.latest_prices(["A"], "v")])
    old = datetime(2024, 1, 5, tzinfo=UTC)
    pair.upsert([bar(old, 5)], on_conflict="keep")
    (price,) = pair.same(lambda client: [row.price for row in client.latest_prices(["A"], "v")])
    assert price is not None
    (newest,) = [row.price_timestamp for row in pair.b.latest_prices(["A"], "v")]
    pair.upsert([bar(newest, 123.5)])
    assert pair.same(lambda client: [row.price for row in client.latest_prices(["A"], "v")]) == [123.5]


def test_a_lazy_frame_reads_files_without_late_rows_with_polars(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.upsert(bars())
    moved = pair.move()
    late = moved[1].start + timedelta(days=2)
    pair.upsert([bar(late, 99)])
    # One row group after the other, and a scan that begins and ends within a file.
    monkeypatch.setattr(lazy, "TOGETHER", 1)
    read: list[str] = []
    by_polars = lazy._frames_of

    def watched(file: Any, *more: Any) -> Iterator[Any]:
        read.append(file.path)
        return by_polars(file, *more)

    monkeypatch.setattr(lazy, "_frames_of", watched)
    col = polars.col
    for span, files in ((ALL, (0, 2, 3)), ((ALL[0] + timedelta(days=3), moved[2].start + timedelta(days=3)), (0, 2))):
        for how in ({}, {"vendor": "v"}, {"symbols": ["A"], "timeframe": "1m"}, {"columns": ["close_price", "symbol"]}):
            read.clear()
            pair.same(partial(scanned, kind="bars", span=span, **how))
            assert read == [moved[at].path for at in files]
            read.clear()
            pair.same(partial(related, span=span, **how))
            assert read == [moved[at].path for at in files]
    with monkeypatch.context() as without:
        without.setattr(lazy, "by_polars", lambda _: False)
        read.clear()
        pair.same(partial(related, span=ALL))
        assert read == []
    frame = pair.a.scan("bars")
    by_symbol = frame.group_by("symbol", "timeframe").agg(col("ts").is_sorted()).collect()
    assert by_symbol["ts"].all()
    for query in (
        lambda client: (
            client.scan("bars").filter(col("symbol") == "B", col("ts") >= late).select("ts").collect().rows()
        ),
        lambda client: client.scan("bars").select(polars.len(), col("close_price").sum()).collect().rows(),
        lambda client: client.scan("bars").filter(col("symbol") == "nobody").collect().rows(),
        lambda client: client.scan("bars", vendor="v", symbols=["A"]).head(5).collect().rows(),
        lambda client: client.scan("bars").head(5).filter(col("ts") > late).collect().rows(),
        lambda client: client.scan("bars", moved[0].start, moved[0].end, symbols=["nobody"]).collect().rows(),
        lambda client: client.scan("bars", late, late).collect().rows(),
    ):
        assert pair.same(query) is not None


def test_a_scan_merges_only_the_series_that_have_late_rows(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.upsert(bars("ABCDEFGH"))
    moved = pair.move()
    begin = moved[1].start + timedelta(days=2)
    there = next(row.ts for row in bars("A") if row.ts > begin)
    for mode in ("replace", "fill", "keep"):
        for number, ts in enumerate((there, begin + timedelta(seconds=1), moved[2].start)):
            pair.upsert([bar(ts, 99.0 + number, volume=7)], on_conflict=mode)
    pair.upsert([bar(begin, 5, symbol="NEW"), bar(begin, 6, symbol="Z")])
    pair.delete("H", moved[3].start + timedelta(days=1), moved[3].start + timedelta(days=9))
    # Row groups that a series with late rows shares with others, and a scan that begins and ends within a file.
    monkeypatch.setattr(lazy, "TOGETHER", 2)
    read: list[Any] = []
    by_polars = lazy._frames_of

    def watched(file: Any, *more: Any) -> Iterator[Any]:
        read.append((file.path, sorted(name[1] for name in file.touched.values())))
        return by_polars(file, *more)

    monkeypatch.setattr(lazy, "_frames_of", watched)
    late: tuple[list[str], ...] = ([], ["A", "NEW", "Z"], ["A"], ["H"])
    # Three of ten series in the second file are not few.
    expected = [(one.path, some) for one, some in zip(moved, late, strict=True) if len(some) < 3]
    inside = (ALL[0] + timedelta(days=3), moved[3].start + timedelta(days=5))
    for span in (ALL, inside):
        for how in ({}, {"vendor": "v"}, {"columns": ["close_price", "symbol"]}):
            read.clear()
            pair.same(partial(scanned, kind="bars", span=span, **how))
            pair.same(partial(related, span=span, **how))
            assert read == expected * 2
    col = polars.col
    by_symbol = pair.a.scan("bars").group_by("symbol", "timeframe").agg(col("ts").is_sorted()).collect()
    assert by_symbol["ts"].all()
    for query in (
        lambda client: client.scan("bars").filter(col("close_price") > 90).sort("symbol", "ts").collect().rows(),
        lambda client: client.scan("bars").filter(col("symbol") == "A").collect().rows(),
        lambda client: client.scan("bars", vendor="v").select(polars.len(), col("volume").sum()).collect().rows(),
    ):
        assert pair.same(query)
    pair.fold()
    read.clear()
    pair.same(partial(scanned, kind="bars", span=ALL))
    assert read == [(one, []) for one, *_ in sorted(read)] != []


def test_a_scan_of_rows_in_files_can_have_the_tenants_column(pair: Pair, store: Store) -> None:
    pair.upsert(bars("ABCD"))
    pair.move()
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 5)])
    asked: Any = {"columns": ["symbol", "tenant_id", "close_price"]}
    whole = pair.a.scan("bars", columns=["symbol", "close_price"]).collect()
    expected = sorted(((symbol, store.tenant_a, price) for symbol, price in whole.rows()), key=str)
    frame = pair.a.scan("bars", **asked)
    assert sorted(frame.collect().rows(), key=str) == expected
    assert sorted(related(pair.a, ALL, **asked), key=str) == expected
    assert sorted(joined(pair.a, **asked), key=str) == expected
    mine = polars.col("tenant_id") == store.tenant_a
    assert frame.filter(mine).select(polars.len()).collect().item() == len(expected)
    assert frame.filter(~mine).collect().is_empty()
    assert frame.select("tenant_id").collect().rows() == [(store.tenant_a,)] * len(expected)


@pytest.mark.every_engine
def test_restore_returns_rows_from_files_including_late_rows(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    pair.upsert([bar(datetime(2024, 3, 3, tzinfo=UTC), 77)])
    assert [one.start.month for one in pair.restore(datetime(2024, 3, 5, tzinfo=UTC))] == [4, 3]
    pair.same_everywhere()
    pair.upsert([bar(datetime(2024, 3, 3, tzinfo=UTC), 78), bar(datetime(2024, 1, 3, tzinfo=UTC), 79)])
    pair.same_everywhere()
    assert len(pair.restore()) == 2
    everything = "SELECT {} FROM store.bars AS b JOIN store.series AS s USING (series_id) WHERE series_id >> 40 = %s"
    columns = "symbol, ts, open_price, high_price, close_price, volume, volume_fraction, trade_count, b.id::text"
    mine, others = ({*store.rows(everything.format(columns), no)} for no in (1, 2))
    assert mine == others
    assert store.rows("SELECT cold_before FROM store.cold_fences") == [(None,)]
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    pair.same_everywhere()
    assert len(pair.move()) == 4
    pair.same_everywhere()


@tables_and_columnstore
def test_restored_rows_are_in_rollups_at_once(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    aggregates.refresh(store.admin_dsn)
    pair.move()
    # As the server's own job does: it sees that rows are gone.
    aggregates.refresh(store.admin_dsn)
    pair.upsert([bar(datetime(2024, 3, 3, tzinfo=UTC), 77)])
    aggregates.refresh(store.admin_dsn)
    pair.restore()
    assert store.rows("SELECT cold_before FROM store.cold_fences") == [(None,)]
    # A process that is stopped before it has refreshed them leaves that to the worker.
    waiting = store.rows("SELECT payload FROM store.jobs WHERE job_type = %s ORDER BY id", REFRESH_JOB)
    begins = [begin for payload in waiting if (begin := RefreshOrder.model_validate(*payload).start)]
    assert [begin.month for begin in begins] == ([4, 3, 2, 1] if store.engine == "timescale" else [])
    # A client that has known a fence would compute them from rows.
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as other:
        for timeframe in ROLLUPS:
            assert rolled(other, timeframe) == rolled(pair.b, timeframe)


@tables_and_columnstore
def test_rows_are_moved_from_the_columnstore_and_back_into_it(pair: Pair, store: Store) -> None:
    pair.upsert(bars(hours=300))
    chunks = compress(store)
    # Some outside of it, in the same chunks.
    pair.upsert([bar(datetime(2024, 1, 3, 0, 30, tzinfo=UTC), 5), bar(datetime(2024, 1, 1, tzinfo=UTC), 6)])
    assert pair.move()
    pair.same_everywhere()
    # What is left of the tenant b is in the columnstore as before.
    assert compress(store) == chunks
    pair.same_everywhere()
    pair.restore()
    pair.same_everywhere()
    assert pair.move()
    pair.same_everywhere()


def test_a_client_without_access_to_files_raises_and_still_reads_the_table(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as other:
        reads: list[Callable[[], Any]] = [
            lambda: other.bars_window("A", "1m", *ALL, "v"),
            lambda: other.bars_window(["A"], "1m", *ALL, "v", as_="polars"),
            lambda: other.rollup("A", "1h", *ALL, "v"),
            lambda: next(iter(other.iter_rows("bars"))),
            lambda: next(iter(other.iter_rollup("A", "1h", *ALL, "v"))),
            lambda: other.scan("bars").collect(),
            lambda: other.coverage("bars"),
        ]
        for read in reads:
            with pytest.raises(Exception, match="kept in files, and this client was not told where: set MDS_COLD_URL"):
                read()
        assert other.bars_window("A", "1m", FENCE, ALL[1], "v") == pair.a.bars_window("A", "1m", FENCE, ALL[1], "v")
        # It writes late rows all the same.
        pair.b.upsert_bars([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
        other.upsert_bars([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    pair.same_everywhere()


def test_a_transaction_reads_and_writes_rows_in_files_after_one_retry(pair: Pair) -> None:
    pair.upsert(bars())
    pair.move()
    with pair.a.transaction() as both, pytest.raises(RetryableError):
        both.bars_window("A", "1m", *ALL, "v")
    with pair.a.transaction() as both:
        both.upsert_bars([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
        inside = rows_of(both.bars_window("A", "1m", *ALL, "v"))
        assert rows_of([row for batch in both.iter_rows("bars", symbols=["A"]) for row in batch]) == inside
    pair.b.upsert_bars([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    assert inside == rows_of(pair.b.bars_window("A", "1m", *ALL, "v"))


@pytest.mark.every_engine
def test_rollup_sums_of_rows_in_files_may_exceed_the_largest_volume(pair: Pair) -> None:
    begin = datetime(2024, 1, 2, tzinfo=UTC)
    pair.upsert([bar(begin + timedelta(hours=n), 1, volume=2**63 - 1024, trade_count=2**63 - 1) for n in range(3)])
    pair.upsert([bar(begin + timedelta(days=9, hours=n), 1, volume=n + 0.5, trade_count=n) for n in range(3)])
    pair.move()
    pair.same_everywhere()


def test_a_series_with_rows_in_files_can_be_renamed_only_after_a_restore(pair: Pair) -> None:
    pair.upsert(bars())
    pair.move()
    for dry_run in (True, False):
        with pytest.raises(SeriesConflict, match=r"bars from before 2024.* under the names .*datastore cold restore"):
            pair.a.rename(vendor="v", symbol="A", to_symbol="C", dry_run=dry_run)
    pair.restore()
    for one in (pair.a, pair.b):
        one.rename(vendor="v", symbol="A", to_symbol="C")
        one.rename(vendor="v", symbol="B", to_symbol="A")
        one.rename(vendor="v", symbol="C", to_symbol="B")
    pair.same_everywhere()
    pair.move()
    pair.same_everywhere()


def test_a_missing_or_replaced_file_is_an_error_rather_than_a_gap(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars())
    first, second, *_ = pair.move()
    (Path(url) / first.path).write_bytes(b"PAR1 and something else")
    (Path(url) / second.path).unlink()
    problems = [one.problem for one in keeping.verify(store.admin_dsn, url)]
    assert problems[0] is not None
    assert "bytes are others" in problems[0]
    assert problems[1] is not None
    assert problems[2:] == [None, None]
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, cold_url=url, max_attempts=1) as other:
        other.bars_window("A", "1m", FENCE, ALL[1], "v")
        for _ in range(2):
            with pytest.raises(MDSError):
                other.bars_window("A", "1m", *ALL, "v")
            for path, begin in ((first.path, ALL[0]), (second.path, first.end)):
                with pytest.raises(Exception, match=f"{re.escape(path)} cannot be read"):
                    other.scan("bars", begin).collect()


@pytest.mark.every_engine
def test_a_policy_that_would_lose_rows_is_refused(store: Store, url: str) -> None:
    dsn = store.admin_dsn
    timescale_policies.set_policy(dsn, "bars", "retention_after", timedelta(days=400))
    with pytest.raises(PolicyError, match="switch retention_after off first"):
        timescale_policies.set_policy(dsn, "bars", "cold_after", AGE)
    with pytest.raises(PolicyError, match="switch retention_after off first"):
        cold.set_age(dsn, UUID(store.tenant_a), "bars", AGE)
    timescale_policies.unset_policy(dsn, "bars", "retention_after")
    timescale_policies.set_policy(dsn, "bars", "cold_after", AGE)
    with pytest.raises(PolicyError, match="nothing of them is removed"):
        timescale_policies.set_policy(dsn, "bars", "retention_after", timedelta(days=400))
    # Also if the table says otherwise.
    store.execute("INSERT INTO store.policies VALUES ('bars', 'retention_after', '400d')")
    with pytest.raises(PolicyError, match="switch their retention_after off"):
        timescale_policies.expire(dsn, "bars")
    with pytest.raises(PolicyError, match="has no policy 'cold_after'"):
        timescale_policies.set_policy(dsn, "news", "cold_after", AGE)
    with pytest.raises(ControlError, match="news cannot be kept in files"):
        cold.set_age(dsn, UUID(store.tenant_a), "news", AGE)


def test_a_gap_check_over_rows_in_files_is_rejected_without_access_to_them(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    with pytest.raises(ControlError, match="set DATASTORE_COLD_URL to their place, or begin the range at that time"):
        gaps.check(store.admin_dsn, tenant="a", vendor="v", timeframe="1m", start=ALL[0], end=NOW, calendar="24/7")


def test_a_bulk_load_writes_old_rows_as_late_rows(pair: Pair, store: Store, tmp_path: Path) -> None:
    from datastore import load

    pair.upsert(bars())
    pair.move()
    rows = [bar(datetime(2024, 1, 3, tzinfo=UTC), 80), bar(SEAM[1], 81, symbol="C")]
    file = tmp_path / "rows.ndjson"
    file.write_text("\n".join(row.model_dump_json(exclude={"tenant_id"}) for row in rows))
    for name in ("a", "b"):
        load.load(store.admin_dsn, name, "bars", str(file))
    pair.same_everywhere()


def test_the_cold_commands_move_show_verify_and_restore(
    pair: Pair, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    pair.upsert(bars())

    def run(*words: str) -> Any:
        done = CliRunner().invoke(command_line(), [*words, "--dsn", store.admin_dsn, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    run("policies", "set", "bars", "cold_after", "30d", "--tenant", "a")
    assert run("cold", "run")
    assert run("cold", "status")
    assert run("cold", "verify")
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    assert run("cold", "fold")
    assert run("cold", "sweep") == []
    run("policies", "set", "bars", "cold_after", "off", "--tenant", "a")
    assert run("cold", "restore", "a", "bars", "--since", "2024-01-01")
    pair.same_everywhere()


def test_sweep_removes_only_unlisted_and_replaced_files(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars())
    pair.move()
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    pair.fold()
    folder = Path(url) / store.tenant_a / "bars"
    orphan = folder / f"2024-01.{uuid4().hex}.parquet"
    others = [Path(url) / "README", Path(url) / "mine.parquet", folder / "2024-01.parquet"]
    for file in (orphan, *others):
        file.write_bytes(b"")
    assert keeping.sweep(store.admin_dsn, url) == []
    swept = keeping.sweep(store.admin_dsn, url, older_than=timedelta(0))
    assert sorted(one.why for one in swept) == ["on no list", "replaced"]
    assert not orphan.exists()
    assert all(other.exists() for other in others)
    assert not [one for one in keeping.verify(store.admin_dsn, url) if one.problem]
    pair.same_everywhere()


def test_a_tenant_whose_month_cannot_be_moved_does_not_stop_the_others(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars(hours=100))
    pair.move()
    store.execute(
        "INSERT INTO store.bars (series_id, ts, close_price) SELECT min(s.series_id), '2024-01-01T00:00:30Z', 1"
        " FROM store.series AS s JOIN store.tenants AS t ON t.no = s.series_id >> 40 WHERE t.id = %s::uuid",
        store.tenant_a,
    )
    cold.set_age(store.admin_dsn, UUID(store.tenant_b), "bars", AGE)
    moved: list[exporting.Moved] = []
    with pytest.raises(ControlError, match="someone has written past the doors"):
        moved.extend(exporting.run(store.admin_dsn, url, now=NOW))
    assert {one.tenant for one in moved} == {UUID(store.tenant_b)}


def test_late_rows_are_written_while_the_files_cannot_be_read(pair: Pair, url: str) -> None:
    pair.upsert(bars(hours=100))
    pair.move()
    away = Path(url).rename(f"{url}-away")
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 80.0)])
    away.rename(url)
    pair.same_everywhere()


def test_a_month_is_moved_only_after_transactions_that_may_write_into_it(pair: Pair, store: Store) -> None:
    pair.upsert(bars(hours=300))
    old = bar(datetime(2024, 1, 1, 5, tzinfo=UTC), 7.0)
    pair.b.upsert_bars([old])
    steps: list[str] = []
    waits: list[None] = []
    waited = threading.Event()

    def check() -> None:
        # It is called again and again while transactions are waited for, and once before each month.
        if steps == ["fenced"]:
            waits.append(None)
        if len(waits) == 3:
            waited.set()

    with ThreadPoolExecutor(1) as pool:
        with pair.a.transaction() as transaction:
            transaction.upsert_bars([old])
            moving = pool.submit(pair.move, reached=steps.append, check=check)
            moving.add_done_callback(lambda _: waited.set())
            assert waited.wait(60)
        assert moving.result()
    left = "SELECT count(*) FROM store.bars AS b JOIN store.tenants AS t ON t.no = b.series_id >> 40"
    assert store.rows(f"{left} WHERE t.id = %s::uuid AND b.ts < %s", store.tenant_a, FENCE) == [(0,)]
    pair.same_everywhere()


@pytest.mark.every_engine
@pytest.mark.many_sessions
def test_rows_changed_directly_during_a_move_stay_in_the_table(pair: Pair, store: Store) -> None:
    pair.upsert(bars(hours=100))
    before = store.rows("SELECT count(*) FROM store.bars")

    def tamper(step: str) -> None:
        if step == "verified":
            store.execute("UPDATE store.bars SET close_price = 1 WHERE ts < %s", FENCE)

    with pytest.raises(ControlError, match="have changed while they were moved"):
        pair.move(reached=tamper)
    assert store.rows("SELECT count(*) FROM store.bars") == before
    assert store.rows("SELECT count(*) FROM store.cold_periods") == [(0,)]
    assert not list(Path(pair.url).rglob("*.parquet"))


def test_late_rows_of_an_unmoved_month_are_folded_after_its_move(pair: Pair) -> None:
    pair.upsert(bars(hours=100))

    def stop(step: str) -> None:
        if step == "fenced":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pair.move(reached=stop)
    pair.upsert([bar(datetime(2024, 1, 1, tzinfo=UTC), 7.0)])
    assert pair.fold() == []
    pair.same_everywhere()
    assert pair.move()
    assert [one.late for one in pair.fold()] == [1]
    pair.same_everywhere()


@pytest.mark.engines("postgres")
def test_a_read_is_repeated_if_its_rows_move_between_its_statements(pair: Pair, store: Store) -> None:
    pair.upsert(bars(hours=300))
    pair.move()
    before = window(pair.a, ALL)
    own = "series_id IN (SELECT series_id FROM store.series JOIN store.tenants ON no = series_id >> 40 WHERE id = %s)"
    february = "ts >= '2024-02-01Z' AND ts < '2024-03-01Z'"
    columns = sql.table_columns(KINDS["bars"])[1:]
    # February is in the table again, and its file is on no list.
    store.execute(
        f"INSERT INTO store.bars (series_id, {', '.join(columns)}) SELECT own.series_id, {', '.join(columns)}"
        " FROM store.bars AS r JOIN store.series AS s USING (series_id)"
        f" JOIN store.series AS own USING (symbol) WHERE {february} AND own.{own}",
        store.tenant_a,
    )
    store.execute("UPDATE store.cold_periods SET replaced_at = now() WHERE period_start = '2024-02-01Z'")
    assert window(pair.a, ALL) == before
    with ThreadPoolExecutor(1) as pool, psycopg.connect(store.superuser_dsn) as moving:
        moving.execute("LOCK TABLE store.bars IN ACCESS EXCLUSIVE MODE")
        moving.execute(f"DELETE FROM store.bars WHERE {february} AND {own}", (store.tenant_a,))
        moving.execute("UPDATE store.cold_periods SET replaced_at = NULL WHERE period_start = '2024-02-01Z'")
        # It has read the list, and waits to read the rows.
        reading = pool.submit(window, pair.a, ALL)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'store.bars'::regclass"
        while store.rows(waiting) != [(1,)]:
            assert not reading.done()
        moving.commit()
        assert reading.result() == before


def test_other_programs_read_the_files_that_a_client_lists(pair: Pair) -> None:
    pair.upsert(bars(hours=300))
    pair.move()
    files = pair.a.cold_files("bars")
    assert len(files) == len(pair.a.cold_files("bars", "2024-01-01", "2024-02-01")) + len(
        pair.a.cold_files("bars", "2024-02-01")
    )
    with duckdb.connect() as engine:
        found = engine.execute("SELECT count(*), sum(open_price) FROM read_parquet(?)", [files]).fetchone()
    rows = pair.b.bars_window(["A", "B"], "1m", ALL[0], FENCE, "v")
    assert found == (len(rows), sum(row.open_price or 0 for row in rows))
    with MDS(dsn=pair.store.dsn, tenant_id=pair.store.tenant_b, cold_url=pair.url) as other:
        assert other.cold_files() == []
    with pytest.raises(ConfigurationError, match="set MDS_COLD_URL"):
        pair.b.cold_files()


def test_a_folder_with_the_files_of_another_store_is_neither_written_nor_swept(
    pair: Pair, store: Store, url: str
) -> None:
    pair.upsert(bars())
    pair.move()
    mark = Path(url) / MARK
    mark.write_text("7000000000000000000/5", encoding="utf-8")
    for moving in (lambda: keeping.sweep(store.admin_dsn, url, older_than=timedelta(0)), pair.move, pair.fold):
        with pytest.raises(ControlError, match="keeps the files of another database"):
            moving()
    mark.unlink()
    assert keeping.sweep(store.admin_dsn, url, older_than=timedelta(0)) == []
    pair.same_everywhere()


def test_a_tenant_accesses_only_its_own_files_and_late_rows(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    old = datetime(2024, 1, 3, tzinfo=UTC)
    pair.a.upsert_bars([bar(old, 80)])
    ((series,),) = store.rows("SELECT DISTINCT series_id FROM store.late_bars")
    # The other tenant has a fence of its own.
    cold.set_age(store.admin_dsn, UUID(store.tenant_b), "bars", AGE)
    list(exporting.run(store.admin_dsn, pair.url, tenant=UUID(store.tenant_b), now=NOW))
    pair.b.upsert_bars([bar(old, 81)])
    for tenant, numbers in ((store.tenant_a, 1), (store.tenant_b, 1), (None, 0)):
        with psycopg.connect(store.dsn) as connection:
            if tenant is not None:
                connection.execute("SELECT mds.use_tenant(%s)", (tenant,))
            files = connection.execute("SELECT path FROM mds.cold_files").fetchall()
            assert [path for (path,) in files if tenant is None or not path.startswith(f"{tenant}/")] == []
            assert len(files) == 4 * numbers
            assert connection.execute("SELECT count(*) FROM mds.cold_fences").fetchone() == (numbers,)
            assert connection.execute("SELECT count(*) FROM mds.late_bars").fetchone() == (numbers,)
    insert = "INSERT INTO mds.bars_late (series_id, ts, close_price, mode) VALUES (%s, %s, 1, 'replace')"
    for statement in (
        insert,
        "UPDATE mds.late_bars SET close_price = 1 WHERE series_id = %s AND ts = %s",
        "DELETE FROM mds.late_bars WHERE series_id = %s AND ts = %s",
        "UPDATE mds.cold_files SET path = 'x' WHERE rows > %s AND period_start < %s",
    ):
        with psycopg.connect(store.dsn) as connection:
            connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_b,))
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(cast("Any", statement), (series, old))
            assert refused.value.sqlstate == ("44000" if statement == insert else "42501")
    assert store.rows("SELECT close_price FROM store.late_bars WHERE series_id = %s", series) == [(80,)]


@pytest.mark.engines("postgres")
@pytest.mark.directly("it kills processes that move rows")
def test_killing_a_process_at_any_step_neither_loses_nor_duplicates_rows(store: Store, url: str) -> None:
    traffic = Traffic(store.dsn, store.tenant_a, url)
    traffic.begin()
    with traffic.running():
        for what, steps in (
            ("export", ("named", "deleted")),
            ("fold", ("deleted",)),
            ("restore", ("deleted",)),
            ("compact", ("deleted",)),
        ):
            for step in steps:
                assert worked(store.admin_dsn, url, store.tenant_a, what, step) == -signal.SIGKILL, (what, step)
            # What was stopped is finished: while rows are brought back, nobody writes late ones.
            assert worked(store.admin_dsn, url, store.tenant_a, what, None) == 0
    assert traffic.looks > 5
    assert traffic.writes > 5
    traffic.check()
    swept = keeping.sweep(store.admin_dsn, url, older_than=timedelta(0))
    assert "on no list" in [one.why for one in swept]
    assert not [one for one in keeping.verify(store.admin_dsn, url) if one.problem]
    traffic.check()


STEPS: Final = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(("replace", "keep", "fill")),
            st.lists(
                st.tuples(
                    st.sampled_from("AB"),
                    st.integers(0, 6),
                    st.one_of(st.none(), st.integers(1, 3)),
                    st.one_of(st.none(), st.sampled_from((0, 1, 2.5))),
                ),
                min_size=1,
                max_size=6,
            ),
        ),
        st.tuples(st.sampled_from(("move", "fold", "compact", "restore", "sweep")), st.integers(3, 8)),
        st.tuples(st.just("delete"), st.tuples(st.sampled_from("AB"), st.integers(0, 6), st.integers(1, 7))),
    ),
    min_size=3,
    max_size=10,
)


@tables_and_columnstore
@odd_rows
def test_random_writes_moves_folds_and_restores_read_like_a_store_without_files(pair: Pair, store: Store) -> None:
    @few_examples(store)
    @given(steps=STEPS)
    def agree(steps: Any) -> None:
        _emptied(pair, store)
        for number, (what, how) in enumerate(steps):
            if what not in MODES:
                pair.maintain(what, how)
            else:
                rows = {
                    (symbol, month): bar(datetime(2024, 1 + month, 31 if month in (0, 2) else 1, tzinfo=UTC), price,
                                         symbol, volume=volume)
                    for symbol, month, price, volume in how
                }  # fmt: skip
                pair.upsert(list(rows.values()), on_conflict=what)
            pair.same_after(number)
        pair.same_everywhere()

    agree()


def few_examples(store: Store) -> settings:
    """As many examples as an engine does in a few seconds."""
    return settings(
        max_examples=6 if store.engine == "postgres" else 3,
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def _emptied(pair: Pair, store: Store) -> None:
    for table in ("bars", "late_bars", "cold_fences", "cold_periods", "series"):
        store.execute(f"DELETE FROM store.{table}")
    pair.a.close()
    pair.b.close()
    pair.__init__(store, pair.url)  # type: ignore[misc]
