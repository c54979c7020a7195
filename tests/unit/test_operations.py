"""What the client would send: operations driven by hand, and the text of every statement."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from mds_client import KINDS, Bar, Config, ConfigurationError, InvalidRow, RetryableError, RLSDenied, sql
from mds_client.columns.arrays import Packed, array
from mds_client.errors import ConstraintViolation, MDSOperationalError
from mds_client.protocol import server
from mds_client.protocol.operations import (
    CopyIn,
    CopyOut,
    Execute,
    ExecuteMany,
    Group,
    Known,
    Latest,
    Operation,
    Results,
    Session,
    StaleSeries,
)
from mds_client.reading.listings import symbols
from mds_client.reading.reads import bars_window, latest_prices, news_window
from mds_client.reading.rollups import iter_rollup, rollup
from mds_client.reading.streams import iter_rows
from mds_client.schema import Kind, OnConflict
from mds_client.writing.upserts import last_values, upsert
from tests.conftest import odd_rows

upsert_bars = partial(upsert, "bars")

TENANT = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"
OTHER = "ffffffff-5e5b-4b0e-9a6b-0b8f6f3c2d11"
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
BARS = KINDS["bars"]
AAPL = ("bars", ("v", "AAPL", "1m"))


def session(tenant: str | None = TENANT, cached: dict[Any, int] | None = None, **settings: Any) -> Session:
    config = Config.load({"dsn": "host=h", **settings}, environment={})
    known = {name: Known(series) for name, series in (cached or {}).items()}
    return Session(config, known, wanted=tenant, tenant_id=tenant)


def ids(*series: int) -> Packed | list[int]:
    return array("bigint", series)


def kept(series: int, latest: Latest, on_conflict: OnConflict = "replace") -> Execute:
    return last_values(BARS, {series: latest}, on_conflict)


def bar(minute: int = 0, close: float | None = 1.0, **fields: Any) -> Bar:
    return Bar(
        **{
            "vendor": "v",
            "symbol": "AAPL",
            "timeframe": "1m",
            "ts": NOON + timedelta(minutes=minute),
            "close_price": close,
            **fields,
        }
    )


def statement_of(step: Any) -> bytes:
    statement: bytes = step.statement
    return statement


class Played:
    """An operation with the server's part played by the test: `say` answers the last group and gives the next."""

    def __init__(self, operation: Operation[Any], with_: Session) -> None:
        self._talk = operation.talk(with_)
        self.answer: Any = None
        self.ended = False
        self.group = self._go(lambda: next(self._talk))

    def say(self, *results: list[tuple[Any, ...]]) -> Group:
        answers: Results = list(results)
        self.group = self._go(lambda: self._talk.send(answers))
        return self.group

    def fail(self, error: Exception) -> Group:
        self.group = self._go(lambda: self._talk.throw(error))
        return self.group

    def _go(self, step: Any) -> Group:
        try:
            group: Group = step()
        except StopIteration as end:
            self.ended, self.answer = True, end.value
            return Group(())
        return group

    @property
    def statements(self) -> list[bytes]:
        return [statement_of(step) for step in self.group.steps]


def test_symbols_are_queried_distinct_without_fetching_series() -> None:
    played = Played(symbols("bars", vendor="v"), session())
    (step,) = played.group.steps
    assert isinstance(step, Execute)
    assert step.statement.startswith(b"SELECT DISTINCT symbol FROM mds.series WHERE kind = %s AND vendor = %s")
    played.say([("b",), ("B",)])
    assert played.answer == ["B", "b"]


def test_news_of_a_vendor_look_up_only_that_vendor() -> None:
    played = Played(news_window(NOON, NOON, vendor="v"), session())
    listed, _ = played.group.steps
    assert isinstance(listed, Execute)
    assert b"vendor = %s" in listed.statement
    assert listed.parameters == ("news", "v", TENANT)


SOME = ["close_price", "symbol"]


@pytest.mark.parametrize(
    "read",
    [
        lambda start, end: bars_window("AAPL", "1m", start, end, "v", as_="arrow", columns=SOME),
        lambda start, end: bars_window(["AAPL"], "1m", start, end, "v", as_="arrow", columns=SOME),
        lambda start, end: rollup("AAPL", "1h", start, end, "v", as_="arrow", columns=SOME),
        lambda start, end: rollup(["AAPL"], "4h", start, end, "v", as_="arrow", columns=SOME),
        lambda start, end: iter_rows("bars", start, end, as_="arrow", columns=SOME).operation,
        lambda start, end: iter_rollup("AAPL", "4h", start, end, "v", as_="arrow", columns=SOME).operation,
    ],
)
def test_only_requested_columns_are_fetched(read: Callable[..., Operation[Any]]) -> None:
    played = Played(read(NOON, NOON + timedelta(days=1)), session())
    if isinstance(played.group.steps[0], Execute):
        by_name = played.group.steps[0].statement == sql.find_series(BARS)
        played.say([(1, 0, None, "v", "AAPL", "1m") if by_name else (1, "v", "AAPL", "1m", "1m")])
    (step,) = played.group.steps
    if step == Execute(sql.COLD_FENCES, (TENANT,)):
        played.say([])
        (step,) = played.group.steps
    assert isinstance(step, CopyOut)
    selected = step.statement.partition(b" FROM mds.")[0].partition(b' FROM "mds"."')[0]
    assert b'"close_price"' in selected
    for name in BARS.column_names:
        # That of a rollup orders its values by time, and gives none.
        assert f'"{name}"'.encode() not in re.sub(rb'ORDER BY "ts"', b"", selected) or name == "close_price"


def test_an_empty_batch_sends_nothing_to_the_server() -> None:
    played = Played(upsert_bars([]), session())
    assert (played.ended, played.answer) == (True, 0)


def test_an_uncached_series_is_looked_up_and_not_created_if_it_exists() -> None:
    played = Played(upsert_bars([bar()]), session())
    assert played.group == Group((Execute(sql.find_series(BARS), [["v"], ["AAPL"], ["1m"], TENANT]),))
    played.say([(7, 0, None, "v", "AAPL", "1m")])
    assert played.statements == [sql.upsert_row(BARS, "replace"), sql.last_values(BARS)]


def test_a_missing_series_is_created_and_looked_up_in_one_round_trip() -> None:
    played = Played(upsert_bars([bar(), bar(symbol="B")]), session())
    played.say([(7, 0, None, "v", "AAPL", "1m")])
    assert played.group == Group(
        (
            Execute(sql.create_series(BARS), [["v"], ["B"], ["1m"], TENANT]),
            Execute(sql.find_series(BARS), [["v"], ["B"], ["1m"], TENANT]),
        )
    )


def test_a_series_that_was_not_requested_is_not_cached() -> None:
    # The look-up is for every combination of the names, and finds more than was asked for.
    known = session()
    played = Played(upsert_bars([bar(symbol="A"), bar(symbol="B", timeframe="1d")]), known)
    played.say([(7, 0, None, "v", "A", "1m"), (8, 0, None, "v", "A", "1d"), (9, 0, None, "v", "B", "1d")])
    assert known.learned == {("bars", ("v", "A", "1m")): (7, 0), ("bars", ("v", "B", "1d")): (9, 0)}


def test_a_series_whose_creation_was_rolled_back_raises_a_retryable_error() -> None:
    played = Played(upsert_bars([bar()]), session())
    played.say([])
    with pytest.raises(RetryableError, match="1 series were being created by another session"):
        played.say([], [])


def test_a_small_batch_of_a_cached_series_takes_one_round_trip() -> None:
    known = session(cached={AAPL: 7}, values_min_rows=3)
    played = Played(upsert_bars([bar(0), bar(1)]), known)
    upsert, first, last = sql.upsert_row(BARS, "replace"), NOON, NOON + timedelta(minutes=1)
    assert played.group == Group(
        (
            Execute(upsert, (7, first, None, None, None, 1.0, *[None] * 4)),
            Execute(upsert, (7, last, None, None, None, 1.0, *[None] * 4)),
            kept(7, Latest(first, last, last, 1.0, has_unpriced=False)),
        ),
        commit=True,
    )
    played.say([], [], [(None,)])
    assert (played.ended, played.answer, known.learned) == (True, 2, {})


@odd_rows
def test_a_batch_sends_the_newest_priced_row_of_each_series() -> None:
    rows = [bar(2, None), bar(1, 2.5), bar(0, None, symbol="B"), bar(0, 1.5)]
    played = Played(upsert_bars(rows), session(cached={AAPL: 7, ("bars", ("v", "B", "1m")): 9}))
    one, two = (NOON + timedelta(minutes=minute) for minute in (1, 2))
    assert played.group.steps[-1] == Execute(
        sql.last_values(BARS),
        [
            ids(7, 9),
            array("timestamptz", [NOON, NOON]),
            array("timestamptz", [two, NOON]),
            array("timestamptz", [one, None]),
            array("double precision", [2.5, None]),
            array("boolean", [True, True]),
            "replace",
            0,
        ],
    )


def test_a_kind_without_a_price_sends_only_the_newest_times() -> None:
    kind = KINDS["options"]
    step = last_values(kind, {7: Latest(NOON, NOON, None, None, has_unpriced=True)}, "keep")
    assert step == Execute(sql.last_values(kind), [ids(7), array("timestamptz", [NOON]), "keep", 0])


@pytest.mark.parametrize("on_conflict", ["replace", "keep", "fill"])
def test_each_mode_sends_its_own_statements(on_conflict: Any) -> None:
    rows = [bar(minute) for minute in range(5)]
    narrow = [(7, NOON + timedelta(minutes=minute), None, None, None, 1.0, *[None] * 4) for minute in range(5)]

    def first(mode: str) -> Played:
        with_ = session(cached={AAPL: 7}, write_mode=mode, values_page_size=2)
        return Played(upsert_bars(reversed(rows), on_conflict=on_conflict), with_)

    many = first("executemany")
    assert many.group.steps[:-1] == (ExecuteMany(sql.upsert_row(BARS, on_conflict), narrow),)

    values = first("values")
    assert values.statements[:-1] == [sql.upsert_arrays(BARS, on_conflict)] * 3
    pages = [step.parameters for step in values.group.steps[:-1] if isinstance(step, Execute)]
    types = [column.type for column in sql.stored_columns(BARS)]
    assert pages == [list(map(array, types, zip(*page, strict=True))) for page in (narrow[:2], narrow[2:4], narrow[4:])]

    copy = first("copy")
    find = Execute(sql.find_series(BARS), [["v"], ["AAPL"], ["1m"], TENANT])
    assert copy.group == Group((Execute(sql.create_stage(BARS)), Execute(sql.clear_stage(BARS)), find))
    there = (7, 0, NOON + timedelta(days=1), "v", "AAPL", "1m")
    assert copy.say([], [], [there]) == Group((CopyIn(sql.copy_stage(BARS), tuple(types), narrow),))
    latest = Latest(NOON, NOON + timedelta(minutes=4), NOON + timedelta(minutes=4), 1.0, has_unpriced=False)
    merge = Execute(sql.merge_stage(BARS, on_conflict))
    assert copy.say([]) == Group((merge, kept(7, latest, on_conflict)), commit=True)


def test_rows_newer_than_their_series_are_appended_and_merged_on_conflict() -> None:
    played = Played(upsert_bars([bar(1), bar(2)]), session(write_mode="copy"))
    played.say([], [], [(7, 0, NOON, "v", "AAPL", "1m")])
    first, last = (NOON + timedelta(minutes=minute) for minute in (1, 2))
    keep = kept(7, Latest(first, last, last, 1.0, has_unpriced=False))
    append = Execute(sql.merge_stage(BARS, "append"))
    # What is skipped after an error is not prepared.
    behind = (Execute(sql.RELEASE, prepare=False), replace(keep, prepare=False))
    assert played.say([]) == Group((Execute(sql.SAVEPOINT), append, *behind), commit=True)
    assert played.fail(MDSOperationalError("there", sqlstate="23505")) == Group((Execute(sql.ROLLBACK_TO),))
    assert played.say([]) == Group((Execute(sql.merge_stage(BARS, "replace")), keep), commit=True)


@odd_rows
def test_rows_are_sent_once_per_key_in_key_order() -> None:
    known = {("bars", ("v", "B", "1m")): 3, ("bars", ("v", "A", "1m")): 9}
    batch = [bar(1, 1.0, symbol="A"), bar(0, 2.0, symbol="A"), bar(1, 3.0, symbol="B"), bar(1, 4.0, symbol="A")]
    played = Played(upsert_bars(batch), session(cached=known, values_min_rows=9))
    *rows, keep = (step.parameters for step in played.group.steps if isinstance(step, Execute))
    assert [(row[0], row[1].minute, row[5]) for row in rows] == [(3, 1, 3.0), (9, 0, 2.0), (9, 1, 4.0)]
    assert keep[0] == ids(3, 9)
    played.say(*([] for _ in rows), [])
    assert played.answer == 4


@pytest.mark.parametrize("sqlstate", ["44000", "42501", "55000"])
def test_a_cached_series_refused_by_the_server_is_evicted_and_the_batch_retried(sqlstate: str) -> None:
    known = session(cached={AAPL: 7, ("bars", ("v", "B", "1m")): 8})
    with pytest.raises(StaleSeries):
        Played(upsert_bars([bar()]), known).fail(MDSOperationalError("not yours", sqlstate=sqlstate))
    assert known.series == {}


def test_a_refusal_of_a_series_that_was_just_looked_up_is_not_retried() -> None:
    played = Played(upsert_bars([bar()]), session())
    played.say([(7, 0, None, "v", "AAPL", "1m")])
    error = RLSDenied("not yours", sqlstate="44000")
    with pytest.raises(RLSDenied) as caught:
        played.fail(error)
    assert caught.value is error


def test_another_server_error_propagates() -> None:
    error = ConstraintViolation("no", sqlstate="23514")
    with pytest.raises(ConstraintViolation) as caught:
        Played(upsert_bars([bar()]), session(cached={AAPL: 7})).fail(error)
    assert caught.value is error


def test_a_cached_series_that_was_removed_is_evicted_and_the_batch_retried() -> None:
    known = session(cached={AAPL: 7})
    with pytest.raises(StaleSeries, match="removed"):
        Played(upsert_bars([bar()]), known).fail(MDSOperationalError("gone", sqlstate=sql.STALE_SERIES))
    assert known.series == {}


def test_a_row_of_another_tenant_is_rejected_before_anything_is_sent() -> None:
    with pytest.raises(RLSDenied, match=f"row 1 is of tenant {OTHER}: this client's tenant is {TENANT}"):
        Played(upsert_bars([bar(tenant_id=TENANT), bar(tenant_id=OTHER)]), session())


def test_without_a_configured_tenant_the_server_is_asked_before_rows_are_sent() -> None:
    with_ = session(None)
    played = Played(upsert_bars([bar(tenant_id=TENANT)]), with_)
    assert played.group == Group(())
    with_.tenant_id = OTHER
    with pytest.raises(RLSDenied, match=f"row 0 is of tenant {TENANT}: this client's tenant is {OTHER}"):
        played.say()
    with_ = session(None)
    played = Played(upsert_bars([bar(tenant_id=TENANT)]), with_)
    with_.tenant_id = TENANT
    played.say()
    assert played.statements == [sql.find_series(BARS)]


def test_rows_are_validated_before_a_connection_is_acquired() -> None:
    with pytest.raises(InvalidRow, match="row 0: ts: "):
        upsert_bars([{"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": "never"}])
    with pytest.raises(ConfigurationError, match="on_conflict"):
        upsert("bars", [], on_conflict="never")  # type: ignore[arg-type]  # that is what is tried


def test_a_window_takes_one_round_trip_and_returns_models_oldest_first() -> None:
    played = Played(bars_window(" aapl ", "1m", NOON.replace(tzinfo=None), NOON, " v "), session())
    ask = sql.window(BARS, ordered=False)
    assert played.group == Group((Execute(ask, ("v", "AAPL", "1m", NOON, NOON, TENANT, NOON)),), commit=True)
    later = NOON + timedelta(minutes=1)
    played.say([(later, *[None] * 8), (NOON, 1.0, None, None, 2.0, 3.0, None, None, None)])
    assert played.answer == [
        bar(close=2.0, open_price=1.0, volume=3, tenant_id=TENANT),
        bar(1, None, tenant_id=TENANT),
    ]


def test_latest_prices_take_one_round_trip_and_deduplicate_symbols() -> None:
    played = Played(latest_prices(["b", " a", "A"], " v "), session())
    assert played.group == Group((Execute(sql.latest_prices(BARS), ("v", ["A", "B"], TENANT)),), commit=True)
    played.say([("A", 1.5, NOON)])
    (price,) = played.answer
    assert price.model_dump() == {
        "tenant_id": TENANT,
        "vendor": "v",
        "symbol": "A",
        "price": 1.5,
        "price_timestamp": NOON,
    }


def test_the_opening_statement_sets_the_tenant_and_the_statement_timeout() -> None:
    operation, with_ = upsert_bars([bar()]), session(None, statement_timeout_ms=1234)
    with_.wanted = TENANT
    assert operation.opening(with_) == Execute(sql.OPEN_AS, (TENANT, "1234", []))
    operation.opened(with_, [(None, "1234")])
    assert with_.tenant_id is None
    assert server.health().opening(with_) == Execute(sql.OPEN, ("1234",))


@pytest.mark.parametrize(
    ("extension", "license_", "name"),
    [
        (None, None, "postgres"),
        ("2.28.3", "timescale", "timescale"),
        ("2.19.3", "apache", "timescale-apache"),
        ("2.19.3", None, "timescale-apache"),
    ],
)
def test_health_reports_the_engine(extension: str | None, license_: str | None, name: str) -> None:
    played = Played(server.health(), session())
    assert played.statements == [sql.SERVER, sql.HAS_SCHEMA]
    played.say([("17.1", "me", "db", extension, license_)], [(False,)])
    assert (played.answer.engine, played.answer.engine_version) == (name, extension)
    assert (played.answer.schema_version, bool(played.answer)) == (None, True)


def test_upserts_and_reads_are_idempotent() -> None:
    for operation in (upsert_bars([]), bars_window("A", "1m", NOON, NOON, "v"), latest_prices([], "v")):
        assert operation.idempotent
        assert operation.needs_schema


# The text of the statements -------------------------------------------------------------------------------------------

MODES = ("replace", "keep", "fill")


def statements(kind: Kind) -> list[bytes]:
    found = [
        sql.find_series(kind),
        sql.create_series(kind),
        sql.create_stage(kind),
        sql.copy_stage(kind),
        *(sql.window(kind, ordered=ordered) for ordered in (True, False)),
        *([sql.shared_rows(kind)] if kind.shared else []),
        *(make(kind, mode) for make in (sql.upsert_row, sql.upsert_arrays, sql.merge_stage) for mode in MODES),
    ]
    return [*found, sql.latest_prices(kind)] if kind.price else found


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_statement_quotes_its_columns_and_names_its_schema(kind: Kind) -> None:
    for statement in statements(kind):
        text = statement.decode()
        for name in kind.column_names:
            if name not in ("ts", "id"):  # which are names of the series table and of sub-queries, too
                assert not re.search(rf'(?<!["\w]){name}(?!["\w])', text), text
        places = re.findall(r"(?:INSERT INTO|(?<!DISTINCT )FROM|^UPDATE|JOIN|COPY|NOT EXISTS) (\S+)", text)
        assert places, text
        for place in places:
            assert place.startswith(
                ('"mds".', "mds.", '"pg_temp".', "unnest(", "STDIN", "(SELECT", "(VALUES", "LATERAL")
            ), text


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_statements_contain_no_literal_except_the_name_of_the_kind(kind: Kind) -> None:
    for statement in statements(kind):
        literals = statement.decode().split("'")[1::2]
        assert set(literals) <= {kind.name}, statement


def test_a_staging_table_is_named_after_its_columns() -> None:
    names = {sql.create_stage(kind).split(b" (")[0] for kind in KINDS.values()}
    assert len(names) == len(KINDS)
    assert all(b'"pg_temp"."mds_stage_' in name for name in names)
    assert all(sql.create_stage(kind).endswith(b"ON COMMIT DELETE ROWS") for kind in KINDS.values())
