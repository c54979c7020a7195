"""Batch processors on a real server, written once for both; what only one of them can do stands at the end."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
from psycopg.copy import LibpqWriter

from mds_client import AMDS, KINDS, Bar, ConstraintViolation, RLSDenied, models
from mds_client.batch import AsyncBatchProcessor, BatchConfig, BatchProcessor, BatchStats, Reject
from mds_client.batching.sizes import sizing
from mds_client.schema import kind, stored
from tests.conftest import Client, Store, Waiting

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
HOUR = 3_600_000
REFUSE = "ALTER TABLE store.bars ADD CONSTRAINT no_thirteen CHECK (close_price <> 13)"
REVOKE = "REVOKE INSERT ON mds.bars_replace FROM mds_app"
GRANT = "GRANT INSERT ON mds.bars_replace TO mds_app"


def bar(minute: int = 0, close: float | None = None, **fields: Any) -> Bar:
    settled = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": NOON + timedelta(minutes=minute), **fields}
    return Bar(close_price=float(minute) if close is None else close, **settled)


def closes(store: Store) -> list[float]:
    return [close for (close,) in store.rows("SELECT close_price FROM store.bars ORDER BY series_id, ts")]


def eventually(probe: Callable[[], Any], seconds: float = 20) -> Any:
    """What the probe answers, once that is true."""
    until, pause = monotonic() + seconds, threading.Event()
    while not (answer := probe()):
        assert monotonic() < until, f"not within {seconds} s"
        pause.wait(0.003)
    return answer


class Driven:
    """Either processor, called without await."""

    def __init__(self, client: Any, config: BatchConfig, **options: Any) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._processor: Any
        if isinstance(client, Waiting):
            self._loop = client._loop
            self._processor = AsyncBatchProcessor(client._client, config, **options)
            self.close = partial(self._call, "aclose")
        else:
            self._processor = BatchProcessor(client, config, **options)
            self.close = partial(self._call, "close")

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self._loop is None:
            return getattr(self._processor, name)(*arguments, **options)

        async def call() -> Any:
            answer = getattr(self._processor, name)(*arguments, **options)
            return await answer if asyncio.iscoroutine(answer) else answer

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name)

    def stats(self) -> BatchStats:
        stats: BatchStats = self._call("stats")
        assert stats.added == stats.written + stats.rejected + stats.pending
        return stats

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call("__exit__" if self._loop is None else "__aexit__", kind, error, trace)


def block(processor: Driven, *rows: Bar, then: BaseException | None = None) -> None:
    """A block that adds rows, each with its line as origin, and then ends or fails."""
    with processor:
        for line, row in enumerate(rows, start=1):
            processor.add(row, origin=f"line {line}")
        if then is not None:
            raise then


@contextmanager
def locked(store: Store) -> Iterator[psycopg.Connection[Any]]:
    """Nobody writes a bar as long as this lasts."""
    with psycopg.connect(store.superuser_dsn) as connection:
        connection.execute("LOCK TABLE store.bars IN ACCESS EXCLUSIVE MODE")
        yield connection


def blocked(store: Store) -> int | None:
    """The server's process that waits for that lock."""
    rows = store.rows(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'mds_client' AND wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    return rows[0][0] if rows else None


# -- when a batch is written ------------------------------------------------------------------------------------------


def test_a_batch_is_written_once_it_reaches_max_rows(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_rows=3, max_ms=HOUR)) as processor:
        for minute in range(5):
            processor.add_bar(bar(minute))
        eventually(lambda: processor.stats().written == 3)
        assert closes(store) == [0, 1, 2]
        assert processor.stats().pending == 2
        assert processor.pending_rows() == [bar(3), bar(4)]


def test_a_batch_is_written_once_it_reaches_max_bytes(client: Client, store: Store) -> None:
    one = sizing(KINDS["bars"])(bar())
    with Driven(client, BatchConfig(max_ms=HOUR, max_bytes=4 * one)) as processor:
        for minute in range(6):
            processor.add(bar(minute))
        eventually(lambda: processor.stats().written == 4)
        stats = processor.stats()
        assert (stats.pending, stats.bytes, stats.batches) == (2, 4 * one, 1)
    assert processor.stats().bytes == 6 * one


def test_a_batch_is_written_after_max_ms_even_if_no_row_is_added(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_ms=150)) as processor:
        began = monotonic()
        processor.add(bar(1))
        assert processor.stats().written == 0
        eventually(lambda: closes(store) == [1])
        assert monotonic() - began >= 0.15
        processor.add(bar(2))  # and again, after it was idle
        eventually(lambda: closes(store) == [1, 2])
        eventually(lambda: processor.stats().batches == 2)


def test_flush_writes_the_pending_rows_and_waits_for_them(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_rows=4, max_ms=HOUR)) as processor:
        processor.flush_all()
        for minute in range(7):
            processor.add(bar(minute))
        processor.flush()
        assert closes(store) == list(range(7))
        assert processor.stats().pending == 0


def test_leaving_the_block_writes_the_pending_rows_and_keeps_the_client_open(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_ms=HOUR)) as processor:
        processor.add(bar(1))
        assert closes(store) == []
    assert closes(store) == [1]
    assert client.health()
    assert client.upsert_bars([bar(2)]) == 1


def test_a_processor_writes_with_its_on_conflict_setting(client: Client, store: Store) -> None:
    for on_conflict, left in (("replace", [1]), ("keep", [1]), ("replace", [3])):
        with Driven(client, BatchConfig(max_rows=1, max_ms=HOUR), on_conflict=on_conflict) as processor:
            processor.add(bar(0, left[0] if on_conflict == "replace" else 2.0))
        assert closes(store) == left


def test_stats_count_added_written_rejected_and_pending_rows(client: Client, store: Store) -> None:
    store.execute(REFUSE)
    one = sizing(KINDS["bars"])(bar())
    with Driven(client, BatchConfig(max_rows=10, max_ms=HOUR), on_reject=lambda _: None) as processor:
        for minute in range(25):
            processor.add(bar(minute))
        processor.add({"vendor": ""}, "bars")
    stats = processor.stats()
    assert processor.get_stats() == stats
    assert (stats.added, stats.written, stats.rejected, stats.pending) == (26, 24, 2, 0)
    assert (stats.batches, stats.failures, stats.bytes, stats.last_error) == (3, 0, 24 * one, None)
    assert 0 < stats.write_seconds < 60


# -- order and room ---------------------------------------------------------------------------------------------------


def test_rows_of_one_key_are_written_in_the_order_several_producers_add_them(client: Client, store: Store) -> None:
    store.execute("CREATE TABLE store.seen (n serial, series_id bigint, close float8)")
    store.execute(
        "CREATE FUNCTION store.see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        " INSERT INTO store.seen (series_id, close) VALUES (NEW.series_id, NEW.close_price); RETURN NEW; END $$"
    )
    store.execute("CREATE TRIGGER see AFTER INSERT OR UPDATE ON store.bars FOR EACH ROW EXECUTE FUNCTION store.see()")
    with Driven(client, BatchConfig(max_rows=7, max_ms=20)) as processor:

        def produce(symbol: str) -> None:
            for close in range(60):
                processor.add_bar(bar(0, close, symbol=symbol))

        producers = [threading.Thread(target=produce, args=(f"S{n}",)) for n in range(4)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
    assert processor.stats().written == 240
    assert closes(store) == [59] * 4
    seen = store.rows("SELECT series_id, close FROM store.seen ORDER BY n")
    assert len(seen) >= 240 / 7  # every batch has changed a row at least
    for series_id in {series_id for series_id, _ in seen}:
        of_series = [close for other, close in seen if other == series_id]
        assert of_series == sorted(set(of_series))


@pytest.mark.many_sessions
def test_producers_block_while_two_full_batches_are_pending(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_rows=5, max_ms=HOUR)) as processor:
        most, done = [0], threading.Event()

        def produce() -> None:
            for minute in range(60):
                processor.add(bar(minute))
                most.append(processor.stats().pending)
            done.set()

        producer = threading.Thread(target=produce)
        with locked(store):
            producer.start()
            eventually(lambda: processor.stats().pending == 10 and blocked(store))
            assert not done.wait(0.05)
            assert processor.stats().pending == 10
        assert done.wait(20)
        producer.join()
        assert max(most) == 10
    assert closes(store) == list(range(60))


# -- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.many_sessions
@pytest.mark.every_engine
def test_a_connection_killed_during_a_batch_neither_loses_nor_duplicates_rows(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_rows=10, max_ms=HOUR)) as processor:
        with locked(store):
            for minute in range(15):
                processor.add(bar(minute))
            victim = eventually(lambda: blocked(store))
            store.execute("SELECT pg_terminate_backend(%s)", victim)
            eventually(lambda: blocked(store) not in (None, victim))
        processor.flush()
        stats = processor.stats()
        assert (stats.written, stats.failures) == (15, 0)
    assert closes(store) == list(range(15))


def test_the_next_add_raises_a_background_failure_and_adds_no_row(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_rows=2, max_ms=HOUR)) as processor:
        store.execute(REVOKE)
        processor.add(bar(0))
        processor.add(bar(1))
        eventually(lambda: processor.stats().failures == 1)
        with pytest.raises(RLSDenied, match="permission denied") as caught:
            processor.add(bar(2))
        assert caught.value.__notes__ == ["nothing is dropped: 2 rows are pending"]
        assert processor.stats().added == 2
        processor.add(bar(2))  # it has been told, once
        with pytest.raises(RLSDenied, match="permission denied"):
            processor.flush()
        assert processor.pending_rows() == [bar(0), bar(1), bar(2)]
        assert "permission denied" in str(processor.stats().last_error)
        store.execute(GRANT)
        processor.flush()
        assert closes(store) == [0, 1, 2]
    assert processor.stats().failures == 2


def test_a_failed_batch_is_retried_after_max_ms(client: Client, store: Store) -> None:
    with Driven(client, BatchConfig(max_ms=20)) as processor:
        store.execute(REVOKE)
        processor.add(bar(0))
        eventually(lambda: processor.stats().failures >= 2)
        assert closes(store) == []
        store.execute(GRANT)
        eventually(lambda: closes(store) == [0])
        eventually(lambda: processor.stats().written == 1)
        processor.add(bar(1))  # the failure is over: there is nothing to raise


def test_leaving_the_block_raises_a_write_failure_and_keeps_its_rows(client: Client, store: Store) -> None:
    store.execute(REVOKE)
    processor = Driven(client, BatchConfig(max_ms=HOUR))
    with pytest.raises(RLSDenied, match="permission denied") as caught:
        block(processor, bar(0), bar(1))
    assert "2 rows are not written; they are in pending_rows()" in caught.value.__notes__
    assert processor.pending_rows() == [bar(0), bar(1)]
    store.execute(GRANT)
    processor.close()
    assert closes(store) == [0, 1]
    assert processor.pending_rows() == []


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt("mine")])
def test_an_exception_in_the_block_propagates_and_the_rows_are_written(
    client: Client, store: Store, error: BaseException
) -> None:
    processor = Driven(client, BatchConfig(max_ms=HOUR))
    with pytest.raises(type(error), match="mine") as caught:
        block(processor, bar(0), then=error)
    assert closes(store) == [0]
    assert not hasattr(caught.value, "__notes__")


def test_an_exception_from_the_block_carries_a_note_about_unwritten_rows(
    connect: Callable[..., Client], store: Store
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, statement_timeout_ms=300)
    processor = Driven(client, BatchConfig(max_ms=HOUR))
    with locked(store):
        began = monotonic()
        with pytest.raises(ValueError, match="mine") as caught:
            block(processor, bar(0), then=ValueError("mine"))
        assert monotonic() - began < 10
        (note,) = caught.value.__notes__
        assert note.startswith("1 rows are not written")
        assert processor.pending_rows() == [bar(0)]
    processor.flush()
    assert closes(store) == [0]


# -- rows that cannot be written --------------------------------------------------------------------------------------


@pytest.mark.every_engine
def test_one_invalid_row_is_rejected_and_a_thousand_valid_rows_are_written(client: Client, store: Store) -> None:
    store.execute(REFUSE)
    rejects: list[Reject] = []
    with Driven(client, BatchConfig(max_rows=1000, max_ms=HOUR), on_reject=rejects.append) as processor:
        for minute in range(1001):
            processor.add_bar(bar(minute, 13 if minute == 700 else 1), origin=f"line {minute}")
    (reject,) = rejects
    assert (reject.kind, reject.row, reject.origin) == ("bars", bar(700, 13), "line 700")
    assert reject.sqlstate == "23514"
    assert "no_thirteen" in reject.reason
    assert closes(store) == [1] * 1000
    assert processor.stats().failures == 0


@pytest.mark.every_engine
def test_a_row_with_a_value_that_the_server_refuses_is_rejected(client: Client, store: Store) -> None:
    store.execute("ALTER TABLE store.bars ADD CONSTRAINT odd CHECK (1 / (close_price - 13)::int <> 9)")
    rejects: list[Reject] = []
    with Driven(client, BatchConfig(max_ms=HOUR), on_reject=rejects.append) as processor:
        for minute in range(20):
            processor.add(bar(minute))
    assert [(reject.row, reject.sqlstate) for reject in rejects] == [(bar(13), "22012")]
    assert len(closes(store)) == 19


def test_a_row_with_a_value_that_the_driver_cannot_send_is_rejected(client: Client, store: Store) -> None:
    rejects: list[Reject] = []
    huge = bar(1).model_copy(update={"volume": 2**64})
    with Driven(client, BatchConfig(max_ms=HOUR), on_reject=rejects.append) as processor:
        for row in (bar(0), huge, bar(2)):
            processor.add(row)
    assert [reject.row for reject in rejects] == [huge]
    assert closes(store) == [0, 2]


def test_rows_of_another_tenant_are_rejected_to_the_sink(client: Client, store: Store) -> None:
    rejects: list[Reject] = []
    foreign = bar(1, tenant_id=store.tenant_b)
    with Driven(client, BatchConfig(max_ms=HOUR), on_reject=rejects.append) as processor:
        for row in (bar(0), foreign, bar(2, tenant_id=store.tenant_a)):
            processor.add(row)
    assert [reject.row for reject in rejects] == [foreign]
    assert store.tenant_b in rejects[0].reason
    assert closes(store) == [0, 2]


def test_rejects_are_appended_to_a_file_as_lines_of_json(client: Client, store: Store, tmp_path: Path) -> None:
    store.execute(REFUSE)
    path = tmp_path / "rejects.ndjson"
    path.write_text('{"from": "an earlier run"}\n')
    with Driven(client, BatchConfig(max_ms=HOUR), on_reject=path) as processor:
        for line, row in enumerate([bar(0), bar(1, 13, vendor="Ünï"), bar(2)], start=1):
            processor.add(row, origin=line)
        processor.add({"vendor": "v", "close_price": "x"}, "bars", origin=4)
        processor.flush()
        earlier, *lines = [json.loads(line) for line in path.read_text().splitlines()]  # there before the end
    assert earlier == {"from": "an earlier run"}
    at_once, refused = lines
    assert (at_once["origin"], at_once["row"]) == (4, {"vendor": "v", "close_price": "x"})
    assert "close_price" in at_once["reason"]
    assert (refused["kind"], refused["origin"], refused["sqlstate"]) == ("bars", 2, "23514")
    assert "no_thirteen" in refused["reason"]
    assert Bar.model_validate(refused["row"]) == bar(1, 13, vendor="Ünï")


def test_without_a_sink_an_invalid_row_raises_and_stays_pending_with_later_rows(client: Client, store: Store) -> None:
    store.execute(REFUSE)
    processor = Driven(client, BatchConfig(max_ms=HOUR))
    with pytest.raises(ConstraintViolation, match="no_thirteen") as caught:
        block(processor, *map(bar, range(11, 15)))
    assert any("line 3" in note for note in caught.value.__notes__)
    assert processor.pending_rows() == [bar(13), bar(14)]
    assert closes(store) == [11, 12]


def test_a_missing_privilege_raises_and_rejects_no_row(client: Client, store: Store) -> None:
    store.execute(REVOKE)
    rejects: list[Reject] = []
    processor = Driven(client, BatchConfig(max_ms=HOUR), on_reject=rejects.append)
    with pytest.raises(RLSDenied, match="permission denied"):
        block(processor, bar(0), bar(1))
    assert rejects == []
    assert processor.stats().pending == 2


def test_a_sink_that_fails_loses_no_row(client: Client, store: Store, tmp_path: Path) -> None:
    store.execute(REFUSE)
    path = tmp_path / "missing" / "rejects.ndjson"
    processor = Driven(client, BatchConfig(max_ms=HOUR), on_reject=path)
    with pytest.raises(FileNotFoundError):
        block(processor, bar(13))
    assert processor.pending_rows() == [bar(13)]
    path.parent.mkdir()
    processor.close()
    assert len(path.read_text().splitlines()) == 1


# -- sizes ------------------------------------------------------------------------------------------------------------


class Counting(LibpqWriter):
    """Counts what the driver sends."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        super().__init__(cursor)
        self.bytes = 0

    def write(self, data: Any) -> None:
        self.bytes += len(data)
        super().write(data)


def test_the_size_of_a_row_equals_the_bytes_that_the_driver_sends(store: Store) -> None:
    @kind("specimens", singular="specimen", time="ts", series=("vendor",), key=("label",))
    class Specimen(models.Row):
        ts: models.Instant
        label: models.Name
        text: models.Text | None = None
        day: models.Day | None = None
        price: models.Number | None = None
        size: models.Count | None = None
        ident: models.UuidText | None = None

    specimens = KINDS["specimens"]
    KINDS.remove("specimens")
    ident = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"
    rows: list[models.Row] = [
        bar(0, close=1.5, volume=2**62, id=ident, open_price=-0.0),
        bar(1).model_copy(update={"close_price": None}),
        bar(2, symbol="x" * 99, vendor="Ünï"),
        Specimen(vendor="v", ts=NOON, label="a"),
        Specimen(vendor="v", ts=NOON, label="日本", text="", day=date(1970, 1, 1), price=1e300, size=0, ident=ident),
        Specimen(vendor="v", ts=NOON, label="x" * 255, text="🙂 Ünï\n\t\\N" * 1000, size=7),
    ]
    with psycopg.connect(store.superuser_dsn) as connection:
        for row in rows:
            declared = specimens if isinstance(row, Specimen) else KINDS["bars"]
            columns = ", ".join(f"{column.name} {column.type}" for column in declared.columns)
            connection.execute(f"CREATE TEMP TABLE t (series_id bigint, {columns})".encode())
            cursor = connection.cursor()
            writer = Counting(cursor)
            with cursor.copy("COPY t FROM STDIN (FORMAT binary)", writer=writer) as copying:
                copying.set_types(["bigint", *(column.type for column in declared.columns)])
                copying.write_row(
                    [1 << 40, *(stored(getattr(row, column.name), column) for column in declared.columns)]
                )
            signature, flags, extension, end = 11, 4, 4, 2
            assert sizing(declared)(row) == writer.bytes - signature - flags - extension - end
            connection.execute("DROP TABLE t")


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_cancelling_a_task_in_the_block_writes_the_pending_rows(store: Store) -> None:
    async def main() -> BatchStats:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds:
            processor = AsyncBatchProcessor(amds, BatchConfig(max_ms=HOUR))
            inside = asyncio.Event()

            async def produce() -> None:
                async with processor:
                    await processor.add_bar(bar(0))
                    inside.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(produce())
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return processor.stats()

    assert asyncio.run(main()).written == 1
    assert closes(store) == [0]


@pytest.mark.many_sessions
@pytest.mark.parametrize("cancelled_in_block", [True, False])
def test_cancelling_again_during_the_write_reports_exactly_the_unwritten_rows(
    store: Store, cancelled_in_block: bool
) -> None:
    async def main() -> None:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds:
            processor = AsyncBatchProcessor(amds, BatchConfig(max_rows=2, max_ms=HOUR))
            inside = asyncio.Event()
            notes: list[str] = []

            async def produce() -> None:
                try:
                    async with processor:
                        for minute in range(3):
                            await processor.add(bar(minute))
                        inside.set()
                        if cancelled_in_block:
                            await asyncio.Event().wait()
                except asyncio.CancelledError as error:
                    notes.extend(error.__notes__)
                    raise

            with locked(store):
                task = asyncio.create_task(produce())
                await inside.wait()
                for _ in range(2):
                    while not await asyncio.to_thread(blocked, store):
                        pass
                    task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert notes == [
                    "3 rows are not written, 2 of them in a write that is under way; they are in pending_rows()"
                ]
                assert processor.pending_rows() == [bar(0), bar(1), bar(2)]
            await processor.flush()

    asyncio.run(main())
    assert closes(store) == [0, 1, 2]


@pytest.mark.many_sessions
def test_cancelling_a_flush_does_not_cancel_the_write(store: Store) -> None:
    async def main() -> None:
        async with (
            AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds,
            AsyncBatchProcessor(amds, BatchConfig(max_ms=HOUR)) as processor,
        ):
            await processor.add(bar(0))
            with locked(store):
                flush = asyncio.create_task(processor.flush())
                while not (first := await asyncio.to_thread(blocked, store)):
                    pass
                flush.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await flush
                assert await asyncio.to_thread(blocked, store) == first
            await processor.flush()
            stats = processor.stats()
            assert (stats.written, stats.batches, stats.failures) == (1, 1, 0)

    asyncio.run(main())
    assert closes(store) == [0]


def test_leaving_the_block_with_a_blocked_write_ends_it_and_leaves_no_task(store: Store) -> None:
    async def main() -> None:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds:
            processor = AsyncBatchProcessor(amds, BatchConfig(max_ms=HOUR))
            processor._grace = 0.1

            async def leave() -> None:
                async with processor:
                    await processor.add(bar(0))
                    raise ValueError("mine")

            with locked(store):
                with pytest.raises(ValueError, match="mine") as caught:
                    await leave()
                assert caught.value.__notes__ == ["1 rows are not written; they are in pending_rows()"]
                assert [task for task in asyncio.all_tasks() if task.get_name() == "mds-batch"] == []
            assert processor.pending_rows() == [bar(0)]

    asyncio.run(main())
    assert closes(store) == []


def test_many_tasks_may_add_rows(store: Store) -> None:
    async def main() -> BatchStats:
        async with (
            AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds,
            AsyncBatchProcessor(amds, BatchConfig(max_rows=50, max_ms=HOUR)) as processor,
        ):

            async def produce(symbol: str) -> None:
                for minute in range(200):
                    await processor.add_bar(bar(minute, symbol=symbol))
                    assert processor.stats().pending <= 100

            await asyncio.gather(*(produce(f"S{n}") for n in range(10)))
        return processor.stats()

    stats = asyncio.run(main())
    assert (stats.added, stats.written, stats.batches) == (2000, 2000, 40)
    assert Counter(closes(store)) == dict.fromkeys(range(200), 10)
