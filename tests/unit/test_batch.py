"""What a processor decides, without a server: the core is driven by hand, with a clock of its own."""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mds_client import AMDS, KINDS, MDS, Bar, ConfigurationError, InvalidRow, Kind, MDSError, Row, models
from mds_client import batch as module
from mds_client.batch import AsyncBatchProcessor, BatchProcessor
from mds_client.batching.core import BatchConfig, Core
from mds_client.batching.rejects import Reject, about_content
from mds_client.batching.sizes import WIDTHS, sizing
from mds_client.errors import (
    ConstraintViolation,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
    SchemaMismatch,
    ServerUnreachable,
    TimeoutExceeded,
)
from mds_client.protocol.operations import Observer
from mds_client.schema import SqlType, kind

HOUR = 3_600_000


def bar(number: int = 0, **fields: Any) -> Bar:
    settled = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": datetime(2024, 1, 2, tzinfo=UTC), **fields}
    return Bar(volume=number, **settled)


def number(row: Row) -> int:
    assert isinstance(row, Bar)
    assert isinstance(row.volume, int)
    return row.volume


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def core(
    config: BatchConfig | None = None,
    sink: Callable[[Reject], None] | None = None,
    clock: Clock | None = None,
) -> Core:
    return Core(config or BatchConfig(max_rows=3, max_ms=HOUR), "replace", sink, clock or Clock())


def put(subject: Core, *rows: Row) -> list[bool]:
    return [subject.put(subject.measured(row, None, None)) for row in rows]


Outcome = Callable[[list[Row]], Exception | None]


def write(subject: Core, outcome: Outcome = lambda _: None) -> list[list[int]]:
    """Write one batch: each operation's rows end as `outcome` says; gives those rows' numbers, operation by operation.

    A reject reaches the sink, which may fail.
    """
    asked: list[list[int]] = []
    talk = subject.write()
    said: Exception | None = None
    while True:
        try:
            step = talk.send(said)
        except StopIteration:
            return asked
        said = None
        if isinstance(step, Reject):
            try:
                subject.refuse(step)
            except OSError as error:
                said = error
        else:
            assert isinstance(step, partial)
            rows = step.args[1]
            asked.append([number(row) for row in rows])
            said = outcome(rows)


@contextmanager
def declared(name: str, singular: str, **options: Any) -> Iterator[type[Row]]:
    """A kind that is there for the length of a test."""

    @kind(name, singular=singular, time="ts", series=("vendor",), **options)
    class Note(models.Row):
        ts: models.Instant
        text: models.Text | None = None
        day: models.Day | None = None
        volume: models.Count | None = None

    yield Note
    KINDS.remove(name)


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_rows", "max_ms", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, None])
def test_a_limit_that_is_not_a_positive_integer_is_rejected_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        BatchConfig(**{name: value})


def test_an_invalid_on_conflict_is_rejected_before_any_row_is_added() -> None:
    with pytest.raises(ConfigurationError, match="on_conflict"):
        Core(BatchConfig(), cast("Any", "merge"), None)


def test_an_asynchronous_reject_sink_is_rejected() -> None:
    async def sink(_: Reject) -> None: ...

    with pytest.raises(ConfigurationError, match="not awaited"):
        BatchProcessor(idle_client(), on_reject=cast("Any", sink))


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_every_column_type_has_a_width() -> None:
    assert set(WIDTHS) == set(get_args(SqlType))


def test_a_row_has_the_size_of_its_binary_copy() -> None:
    size = sizing(KINDS["bars"])
    columns = len(KINDS["bars"].columns)
    assert size(Bar(vendor="v", symbol="A", timeframe="1m", ts=datetime(2024, 1, 1, tzinfo=UTC))) == (
        2 + (4 + 8) + 4 * columns + 8
    )
    full = bar(1, open_price=1, high_price=1, low_price=1, close_price=1, id="0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11")
    assert size(full) == 2 + (4 + 8) + 4 * columns + 8 + 4 * 8 + 8 + 16


def test_text_is_measured_in_encoded_bytes() -> None:
    with declared("notes", "note") as note:
        size = sizing(KINDS["notes"])
        nothing = size(note(vendor="v", ts="2024-01-01"))  # type: ignore[call-arg]
        assert nothing == 2 + (4 + 8) + (4 + 8) + 4 + 4 + 4
        for text in ("", "plain", "Ünï", "日本", "🙂"):
            row = note(vendor="v", ts="2024-01-01", text=text, day=date(2024, 1, 1))  # type: ignore[call-arg]
            assert size(row) == nothing + len(text.encode()) + 4


# -- when -------------------------------------------------------------------------------------------------------------


def test_an_empty_buffer_is_not_due() -> None:
    assert core().due_in() is None


def test_the_first_row_and_the_last_of_a_batch_wake_the_writer() -> None:
    assert put(core(), bar(0), bar(1), bar(2)) == [True, False, True]


def test_a_batch_is_due_once_it_reaches_max_rows() -> None:
    subject = core()
    put(subject, bar(0), bar(1))
    assert subject.due_in() == HOUR / 1000
    put(subject, bar(2))
    assert subject.due_in() == 0


def test_a_batch_is_due_once_it_reaches_max_bytes() -> None:
    one = sizing(KINDS["bars"])(bar())
    subject = core(BatchConfig(max_rows=100, max_ms=HOUR, max_bytes=2 * one))
    assert put(subject, bar(0), bar(1)) == [True, True]
    assert subject.due_in() == 0
    assert write(subject) == [[0, 1]]


def test_a_batch_exceeds_its_limits_only_with_a_single_row() -> None:
    with declared("notes", "note") as note:
        subject = core(BatchConfig(max_rows=3, max_ms=HOUR, max_bytes=100))
        for row, text in enumerate(("", "x" * 500, "", "", "")):
            subject.put(
                subject.measured(note(vendor="v", ts="2024-01-01", text=text, volume=row), None, None)  # type: ignore[call-arg]
            )
        sizes = []
        while subject.pending:
            subject.demand()
            talk = subject.write()
            step = next(talk)
            assert isinstance(step, partial)
            sizes.append(len(step.args[1]))
            with pytest.raises(StopIteration):
                talk.send(None)
        assert sizes == [1, 1, 2, 1]


def test_the_oldest_row_decides_when_a_batch_is_due_by_time() -> None:
    clock = Clock()
    subject = core(BatchConfig(max_rows=2, max_ms=500), clock=clock)
    put(subject, bar(0))
    clock.now += 0.2
    assert subject.due_in() == pytest.approx(0.3)
    put(subject, bar(1))
    clock.now += 0.1
    put(subject, bar(2))
    write(subject)
    clock.now += 0.1
    assert subject.due_in() == pytest.approx(0.4)
    clock.now += 1
    assert subject.due_in() == 0


def test_a_flush_demand_makes_all_rows_pending_at_that_time_due() -> None:
    subject = core()
    put(subject, *map(bar, range(4)))
    demand = subject.demand()
    write(subject)
    assert subject.due_in() == 0
    assert not subject.fulfilled(demand)
    put(subject, bar(4))
    write(subject)
    assert subject.fulfilled(demand)
    put(subject, bar(5))
    assert subject.due_in() == HOUR / 1000


def test_producers_are_blocked_while_two_batches_are_pending() -> None:
    subject = core()
    put(subject, *map(bar, range(5)))
    assert not subject.obstructed
    put(subject, bar(5))
    assert subject.obstructed
    talk = subject.write()
    next(talk)
    assert subject.obstructed  # taken is not written
    with pytest.raises(StopIteration):
        talk.send(None)
    assert not subject.obstructed


def test_producers_are_blocked_at_twice_max_bytes() -> None:
    one = sizing(KINDS["bars"])(bar())
    subject = core(BatchConfig(max_rows=100, max_ms=HOUR, max_bytes=2 * one))
    put(subject, *map(bar, range(3)))
    assert not subject.obstructed
    put(subject, bar(3))
    assert subject.obstructed


# -- what an outcome means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "content"),
    [
        (InvalidRow("row 0: …"), True),
        (ConstraintViolation("check", sqlstate="23514"), True),
        (MDSOperationalError("out of range", sqlstate="22003"), True),
        (RLSDenied("row 0 is of tenant …"), True),
        (RLSDenied("check option", sqlstate="44000"), True),
        (RLSDenied("permission denied", sqlstate="42501"), False),
        (RetryableError("deadlock", sqlstate="40P01"), False),
        (ServerUnreachable("no"), False),
        (TimeoutExceeded("slow", sqlstate="57014"), False),
        (MDSOperationalError("out of shared memory", sqlstate="53200"), False),
        (SchemaMismatch("no table", sqlstate="42P01"), False),
        (MDSOperationalError("password", sqlstate="28P01"), False),
        (MDSOperationalError("the client is closed"), False),
        (TypeError("a mistake in the program"), False),
    ],
)
def test_only_errors_about_content_split_a_batch(error: Exception, content: bool) -> None:
    assert about_content(error) is content
    subject = core(sink=lambda _: None)
    put(subject, bar(0), bar(1))
    asked = write(subject, lambda _: error)
    assert asked == ([[0, 1], [0], [1]] if content else [[0, 1]])
    assert subject.pending == (0 if content else 2)


def test_a_failed_batch_keeps_its_rows_first_and_in_order() -> None:
    subject = core()
    put(subject, *map(bar, range(3)))
    talk = subject.write()
    next(talk)
    put(subject, bar(3))
    with pytest.raises(StopIteration):
        talk.send(RetryableError("lost"))
    assert list(map(number, subject.rows())) == [0, 1, 2, 3]
    assert write(subject) == [[0, 1, 2]]


def test_an_aborted_write_keeps_its_rows_and_is_not_counted_as_a_failure() -> None:
    subject = core()
    put(subject, *map(bar, range(3)))
    talk = subject.write()
    next(talk)
    put(subject, bar(3))
    talk.close()
    assert list(map(number, subject.rows())) == [0, 1, 2, 3]
    assert subject.stats().failures == 0
    assert write(subject) == [[0, 1, 2]]


def test_a_failed_batch_is_retried_after_max_ms_or_on_demand() -> None:
    clock = Clock()
    subject = core(BatchConfig(max_rows=1, max_ms=200), clock=clock)
    put(subject, bar())
    write(subject, lambda _: RetryableError("lost"))
    assert subject.due_in() == pytest.approx(0.2)
    subject.demand()
    assert subject.due_in() == 0
    write(subject, lambda _: RetryableError("lost"))
    assert subject.due_in() == pytest.approx(0.2)
    clock.now += 0.2
    assert subject.due_in() == 0


def test_a_failure_is_raised_once_with_the_number_of_pending_rows() -> None:
    subject = core()
    put(subject, bar(0), bar(1))
    write(subject, lambda _: RetryableError("lost"))
    assert subject.obstructed
    with pytest.raises(RetryableError, match="lost") as caught:
        subject.check()
    assert caught.value.__notes__ == ["nothing is dropped: 2 rows are pending"]
    assert not subject.obstructed
    subject.check()
    assert subject.stats().last_error == "RetryableError: lost"


def test_a_failure_is_cleared_once_its_rows_are_written() -> None:
    subject = core()
    put(subject, bar())
    write(subject, lambda _: RetryableError("lost"))
    write(subject)
    assert not subject.obstructed
    subject.check()
    assert subject.stats().failures == 1


def test_a_flush_raises_only_failures_of_attempts_started_after_it() -> None:
    subject = core()
    put(subject, bar(0))
    talk = subject.write()
    next(talk)
    demand = subject.demand()
    with pytest.raises(StopIteration):
        talk.send(RetryableError("the attempt before"))
    assert not subject.fulfilled(demand)
    assert subject.due_in() == 0
    write(subject, lambda _: RetryableError("its own attempt"))
    with pytest.raises(RetryableError, match="its own attempt"):
        subject.fulfilled(demand)


def test_without_a_sink_rows_before_an_invalid_row_are_written_and_the_rest_waits() -> None:
    subject = core(BatchConfig(max_rows=8, max_ms=HOUR))
    put(subject, *map(bar, range(8)))

    def outcome(rows: list[Row]) -> Exception | None:
        return ConstraintViolation("five") if 5 in map(number, rows) else None

    write(subject, outcome)
    assert list(map(number, subject.rows())) == [5, 6, 7]
    with pytest.raises(ConstraintViolation, match="five") as caught:
        subject.check()
    assert any("volume=5" in note for note in caught.value.__notes__)


def test_a_sink_that_fails_keeps_the_row() -> None:
    def sink(_: Reject) -> None:
        raise OSError("disk full")

    subject = core(sink=sink)
    put(subject, bar(0))
    write(subject, lambda _: ConstraintViolation("bad"))
    assert subject.pending == 1
    with pytest.raises(OSError, match="disk full"):
        subject.check()


def test_kinds_are_written_separately_and_in_order() -> None:
    with declared("notes", "note") as note:
        subject = core(BatchConfig(max_rows=4, max_ms=HOUR))
        notes = [note(vendor="v", ts="2024-01-01", volume=volume) for volume in (1, 3)]  # type: ignore[call-arg]
        put(subject, bar(0), notes[0], bar(2), notes[1])
        talk = subject.write()
        kinds, said = [], None
        for _ in range(2):
            step = talk.send(said)
            assert isinstance(step, partial)
            kinds.append((step.args[0].name, [row.volume for row in step.args[1]]))
        assert kinds == [("bars", [0, 2]), ("notes", [1, 3])]
        with pytest.raises(StopIteration):
            talk.send(RetryableError("lost"))
        assert subject.rows() == notes


@given(
    rows=st.integers(1, 40),
    bad=st.sets(st.integers(0, 39)),
    lost=st.sets(st.integers(0, 30)),
    max_rows=st.integers(1, 12),
)
def test_every_row_is_written_or_rejected_once_and_in_order_despite_failures(
    rows: int, bad: set[int], lost: set[int], max_rows: int
) -> None:
    rejected: list[int] = []
    written: list[int] = []
    calls = 0

    def outcome(part: list[Row]) -> Exception | None:
        nonlocal calls
        calls += 1
        if calls in lost:
            return RetryableError("lost")
        if bad & set(map(number, part)):
            return ConstraintViolation("bad")
        written.extend(map(number, part))
        return None

    subject = core(BatchConfig(max_rows=max_rows, max_ms=HOUR), sink=lambda reject: rejected.append(number(reject.row)))
    for row in range(rows):
        if subject.failure:
            with pytest.raises(RetryableError):
                subject.check()
        while subject.obstructed:
            write(subject, outcome)
            if subject.failure:
                with pytest.raises(RetryableError):
                    subject.check()
        put(subject, bar(row))
        assert subject.pending <= 2 * max_rows
    while subject.pending:
        write(subject, outcome)
        stats = subject.stats()
        assert stats.added == stats.written + stats.rejected + stats.pending
    assert written == [row for row in range(rows) if row not in bad]
    assert rejected == [row for row in range(rows) if row in bad]
    assert subject.stats().bytes == sum(sizing(KINDS["bars"])(bar(row)) for row in written)


# -- rows -------------------------------------------------------------------------------------------------------------


def idle_client(answer: Callable[[], int] = lambda: 0) -> MDS:
    """A client that takes everything and does nothing."""

    def run(operation: Any) -> int:
        return answer()

    return cast("MDS", SimpleNamespace(config=SimpleNamespace(statement_timeout_ms=1000), run=run, observer=Observer()))


def idle_async_client() -> AMDS:
    """The same for tasks."""

    async def run(operation: Any) -> int:
        return 0

    config = SimpleNamespace(statement_timeout_ms=1000)
    return cast("AMDS", SimpleNamespace(config=config, run=run, observer=Observer()))


GOOD = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": "2024-01-02T12:00:00Z"}


def test_a_mapping_becomes_a_row_of_the_named_kind() -> None:
    with BatchProcessor(idle_client(), BatchConfig(max_ms=HOUR)) as processor:
        processor.add(GOOD, "bars")
        processor.add(GOOD, Bar)
        processor.add_bar(GOOD)
        assert processor.pending_rows() == [Bar.model_validate(GOOD)] * 3


def test_a_mapping_without_a_kind_is_a_usage_error() -> None:
    with BatchProcessor(idle_client(), on_reject=lambda _: None) as processor:
        with pytest.raises(ConfigurationError, match="kind"):
            processor.add(GOOD)
        with pytest.raises(LookupError, match="there is no kind 'nothings'"):
            processor.add(GOOD, "nothings")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**GOOD, "close_price": "much"}, "close_price: .*number"),
        ({**GOOD, "colour": 1}, "colour"),
        (cast("Any", 17), "a Bar or a mapping is needed, not int"),
    ],
)
def test_an_invalid_row_raises_or_is_passed_to_the_reject_sink(row: Mapping[str, Any], reason: str) -> None:
    with BatchProcessor(idle_client()) as processor:
        with pytest.raises(InvalidRow, match=reason):
            processor.add(row, "bars")
        assert processor.stats().added == 0
    rejects: list[Reject] = []
    with BatchProcessor(idle_client(), on_reject=rejects.append) as processor:
        processor.add(row, "bars", origin=12)
        stats = processor.stats()
    (reject,) = rejects
    assert (reject.kind, reject.row, reject.origin) == ("bars", row, 12)
    assert (stats.added, stats.rejected, stats.pending) == (1, 1, 0)


def test_a_model_of_another_kind_is_rejected() -> None:
    with (
        declared("notes", "note") as note,
        BatchProcessor(idle_client()) as processor,
        pytest.raises(InvalidRow, match="a Bar or a mapping is needed, not Note"),
    ):
        processor.add_bar(note(vendor="v", ts="2024-01-01"))  # type: ignore[arg-type, call-arg]


def test_unparsed_input_can_be_rejected_with_its_origin() -> None:
    rejects: list[Reject] = []
    with BatchProcessor(idle_client(), on_reject=rejects.append) as processor:
        processor.reject('{"vendor": ', InvalidRow("no JSON"), "bars", origin="line 3")
        assert processor.stats().rejected == 1
    assert rejects == [Reject("bars", '{"vendor": ', "no JSON", None, "line 3")]
    with BatchProcessor(idle_client()) as processor, pytest.raises(InvalidRow, match="no JSON"):
        processor.reject("", InvalidRow("no JSON"))


@pytest.mark.parametrize(
    "row", [{"close_price": float("nan")}, {"text": "\ud800"}, {("a", 1): 2}, "text", None, {"at": datetime.now(UTC)}]
)
def test_a_reject_of_any_row_is_one_line_of_json(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "rejects.ndjson"
    with BatchProcessor(idle_client(), on_reject=path) as processor:
        processor.reject(row, InvalidRow("two\nlines"), "bars", origin=1)
        processor.reject(row, InvalidRow("again"), "bars", origin=2)
    lines = path.read_text().splitlines()
    told = [json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is no JSON")) for line in lines]
    assert [line["reason"] for line in told] == ["two\nlines", "again"]
    assert told[0]["kind"] == "bars"


# -- methods of the kinds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processor", [BatchProcessor, AsyncBatchProcessor])
def test_every_kind_of_the_library_has_its_typed_add_method(processor: type) -> None:
    kinds = {f"add_{each.singular}": each for each in KINDS.values() if each.model.__module__ == models.__name__}
    methods = {name: getattr(processor, name) for name in dir(processor) if name.startswith("add_")}
    assert methods.keys() == kinds.keys()
    for name, method in methods.items():
        row = inspect.signature(method).parameters["row"].annotation
        assert kinds[name].model in get_args(row)


def test_a_kind_that_is_declared_later_gets_an_add_method() -> None:
    with BatchProcessor(idle_client()) as processor, declared("notes", "note") as note:
        anything: Any = processor
        anything.add_note({"vendor": "v", "ts": "2024-01-01"}, origin=1)
        assert type(processor.pending_rows()[0]) is note
    with pytest.raises(AttributeError, match="add_note"):
        _ = anything.add_note


# -- the thread -------------------------------------------------------------------------------------------------------


def writers() -> int:
    return sum(thread.name == "mds-batch" for thread in threading.enumerate())


def test_the_thread_ends_with_the_processor() -> None:
    with BatchProcessor(idle_client(), BatchConfig(max_ms=HOUR)) as processor:
        assert writers() == 0
        processor.add(bar())
        assert writers() == 1
    assert writers() == 0
    assert processor.stats().written == 1


def test_the_writer_thread_ends_when_idle_and_restarts_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.001)
    processor = BatchProcessor(idle_client(), BatchConfig(max_ms=HOUR))
    for _ in range(3):
        processor.add(bar())
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "mds-batch")
        processor.flush()
        thread.join(10)
        assert not thread.is_alive()
    assert processor.stats().written == 3


def test_ctrl_c_while_the_thread_starts_leaves_one_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    def started(thread: threading.Thread) -> None:
        monkeypatch.undo()
        start(thread)
        raise KeyboardInterrupt

    for when in (interrupted, started):
        with BatchProcessor(idle_client(), BatchConfig(max_ms=HOUR)) as processor:
            monkeypatch.setattr(threading.Thread, "start", when)
            with pytest.raises(KeyboardInterrupt):
                processor.add(bar())
            processor.add(bar())
            processor.flush()
            assert writers() == 1
            assert processor.stats().written == 2


def test_a_writer_task_cancelled_before_it_starts_is_restarted() -> None:
    async def main() -> None:
        processor = AsyncBatchProcessor(idle_async_client(), BatchConfig(max_ms=HOUR))
        await processor.add(bar())
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await asyncio.wait([task])
        await processor.flush()
        assert processor.stats().written == 1

    asyncio.run(main())


def test_a_closed_processor_accepts_no_rows() -> None:
    processor = BatchProcessor(idle_client())
    processor.close()
    processor.close()
    with pytest.raises(MDSError, match="closed"):
        processor.add(bar())
    assert processor.stats().added == 0


def test_closing_wakes_a_producer_that_waits_for_room() -> None:
    held, waiting = threading.Event(), threading.Event()

    def answer() -> int:
        assert held.wait(10)
        return 0

    processor = BatchProcessor(idle_client(answer), BatchConfig(max_rows=1, max_ms=HOUR))
    caught: list[MDSError] = []

    def produce() -> None:
        processor.add(bar(0))
        processor.add(bar(1))
        waiting.set()
        try:
            processor.add(bar(2))
        except MDSError as error:
            caught.append(error)

    producer = threading.Thread(target=produce)
    producer.start()
    assert waiting.wait(10)
    closer = threading.Thread(target=processor.close)
    closer.start()
    producer.join(10)
    assert str(caught[0]) == "the batch processor is closed"
    held.set()
    closer.join(10)
    assert processor.stats().written == 2


def test_the_size_of_a_row_ignores_series_columns() -> None:
    subject: Kind = KINDS["bars"]
    day = timedelta(days=1)
    other = bar(symbol="x" * 200, vendor="y" * 200, ts=datetime(2024, 1, 2, tzinfo=UTC) + day)
    assert sizing(subject)(other) == sizing(subject)(bar())
