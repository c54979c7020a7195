"""Old snapshots of options in files: what `test_cold` shows of bars, for a kind whose key has more than the time."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from datastore import load
from datastore.cli import command_line
from datastore.cold import keeping
from mds_client import KINDS, MDS, OptionSnap, RetryableError, SeriesConflict
from mds_client.reading import packed
from mds_client.schema import OnConflict
from tests.conftest import Store, odd_rows
from tests.control.test_cold import (
    ALL,
    FENCE,
    MODES,
    NOW,
    SEAM,
    Pair,
    few_examples,
    joined,
    listed,
    rows_of,
    scanned,
    streamed,
    tables_and_columnstore,
    tuples,
)

BEGIN: Final = datetime(2024, 1, 2, 21, tzinfo=UTC)
A_OF_V: Final[dict[str, Any]] = {"symbols": ["A"], "vendor": "v"}
EXPIRIES: Final = (date(2024, 3, 15), date(2024, 6, 21))


def option(ts: datetime, iv: float | None, symbol: str = "A", **more: Any) -> OptionSnap:
    contract = {"expiry": EXPIRIES[1], "option_type": "C", "strike": 100, **more}
    return OptionSnap(vendor="v", symbol=symbol, ts=ts, iv=iv, **contract)


def options(symbols: str = "AB", days: int = 150) -> list[OptionSnap]:
    """Snapshots from January to May of several contracts at one time, some of which are not in each."""
    contracts = [(expiry, side, strike) for expiry in EXPIRIES for side in "CP" for strike in (-1.5, 0, 100)]
    return [
        option(BEGIN + timedelta(days=n), None if at % 5 == 0 else n + at / 8, symbol, expiry=expiry, option_type=side,
               strike=strike, root=f"{symbol}W" if n % 4 == 1 else symbol, oi=n or None, bid=at if n % 3 else None,
               volume=None if n % 11 == 0 else 100 * n + (0.25 if n % 4 == 0 else 0), multiplier=100,
               id="dddddddd-0000-4000-8000-000000000004" if n % 7 == 0 else None)
        for symbol in symbols
        for n in range(0, days, 3)
        for at, (expiry, side, strike) in enumerate(contracts)
        if (n + at) % 4
    ]  # fmt: skip


class Options(Pair):
    """The tenant whose snapshots move, and the one whose snapshots do not."""

    kind = "options"

    def everything(self, client: MDS) -> Any:
        return listed(client, "options")

    def reads(self) -> list[Callable[[MDS], Any]]:
        return [
            *(lambda client, span=span: streamed(client, "options", *span, **A_OF_V) for span in (ALL, SEAM)),
            lambda client: scanned(client, "options"),
            lambda client: scanned(client, "options", SEAM, symbols=["A"], connections=1),
            lambda client: scanned(client, "options", columns=[*KINDS["options"].series, "iv"]),
            partial(joined, kind="options"),
            partial(joined, span=SEAM, kind="options", symbols=["A"], columns=("iv", "strike")),
            lambda client: [row.model_dump() for row in client.coverage("options")],
            *(
                partial(chain, at=at, **within)
                for at in (NOW, FENCE + timedelta(days=2), datetime(2024, 3, 12, tzinfo=UTC), BEGIN)
                for within in ({}, {"within": timedelta(days=100)})
            ),
            partial(chain, at=SEAM[0], symbol="A", within=timedelta(days=40)),
            *(
                partial(chain, at=SEAM[1], as_=as_, columns=columns, within=timedelta(days=30))
                for as_ in ("arrow", "polars")
                for columns in (None, ("iv", "strike"))
            ),
        ]

    def computed(self) -> list[Callable[[MDS], Any]]:
        return []


def chain(client: Any, at: datetime, symbol: Any = ("B", "A"), **how: Any) -> Any:
    found = client.option_chain(symbol, at, "v", missing="ignore", **how)
    return tuples(found) if "as_" in how else rows_of(found)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "cold")


@pytest.fixture
def pair(store: Store, url: str) -> Iterator[Options]:
    pair = Options(store, url)
    with pair:
        yield pair


@pytest.mark.every_engine
@odd_rows
def test_snapshots_move_into_files_and_back_and_every_read_answers_as_before(
    pair: Options, store: Store, url: str
) -> None:
    pair.upsert(options())
    moved = pair.move()
    assert [(one.kind, one.start.month) for one in moved] == [("options", month) for month in (1, 2, 3, 4)]
    assert store.rows("SELECT count(*) FROM store.options WHERE ts < %s AND series_id >> 40 = 1", FENCE) == [(0,)]
    assert not [one for one in keeping.verify(store.admin_dsn, url) if one.problem]
    pair.same_everywhere()
    assert pair.move() == []
    assert len(pair.a.cold_files("options")) == 4
    assert pair.a.cold_files("bars") == []
    pair.move(datetime(2025, 2, 15, tzinfo=UTC))
    (made,) = pair.compact()
    assert made.files == 5
    pair.same_everywhere()
    assert len(pair.restore()) == 1
    pair.same_everywhere()
    everything = "SELECT {} FROM store.options AS o JOIN store.series AS s USING (series_id) WHERE series_id >> 40 = %s"
    columns = "symbol, root, ts, expiry, option_type, strike, iv, bid, oi, volume, volume_fraction, o.id::text"
    mine, others = ({*store.rows(everything.format(columns), no)} for no in (1, 2))
    assert mine == others


def test_a_stream_that_splits_a_series_includes_its_snapshots_in_files(
    pair: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.upsert(options())
    pair.move()
    monkeypatch.setattr(packed, "TARGET", 20)
    monkeypatch.setattr(packed, "MOST", 40)
    pair.same_everywhere()


@odd_rows
def test_late_snapshots_change_their_contract_only_in_each_mode_and_are_folded(pair: Options, store: Store) -> None:
    pair.upsert(options())
    pair.move()
    there, absent = BEGIN + timedelta(days=6), datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
    for number, mode in enumerate(("replace", "keep", "fill", "replace", "fill", "keep")):
        for ts in (there, absent, absent + timedelta(days=number)):
            pair.upsert(
                [
                    option(ts, 100.0 + number, volume=number or None),
                    option(ts, None, option_type="P", oi=number or None),
                ],
                on_conflict=mode,
            )
            pair.upsert([option(ts, None, symbol="NEW", bid=number or None)], on_conflict=mode)
        pair.same_after(number)
    # Old and new rows in one batch, by each way of writing.
    for way in ("values", "copy", "executemany"):
        for tenant in (store.tenant_a, store.tenant_b):
            with MDS(dsn=store.dsn, tenant_id=tenant, write_mode=way) as other:
                rows = [option(there, 7.5, strike=0), option(SEAM[1], 8.5), option(absent, 9.5, symbol="B")]
                other.upsert_options(rows)
    pair.same_everywhere()
    assert pair.fold()
    assert store.rows("SELECT count(*) FROM store.late_options") == [(0,)]
    pair.same_everywhere()
    modes: tuple[OnConflict, ...] = ("replace", "keep", "fill")
    for mode in modes:
        again = [row for batch in pair.b.iter_rows("options") for row in batch if row.ts < FENCE]
        pair.a.upsert_options([row.model_copy(update={"tenant_id": None}) for row in again], on_conflict=mode)
    assert store.rows("SELECT count(*) FROM store.late_options") == [(0,)]


def test_snapshots_in_files_are_deleted_counted_and_gone_from_every_read(pair: Options, store: Store) -> None:
    pair.upsert(options())
    pair.move()
    span = datetime(2024, 2, 10, tzinfo=UTC), datetime(2024, 3, 20, tzinfo=UTC)
    would = pair.delete("A", *span, dry_run=True)
    assert pair.delete("A", *span, step_rows=50) == would
    # One for each month and root.
    assert store.rows("SELECT count(*), count(strike) FROM store.late_options WHERE mode = 'delete'") == [(4, 0)]
    pair.same_everywhere()
    assert pair.delete("A", *span) == [0]
    for mode in ("keep", "fill", "replace"):
        pair.upsert([option(span[0] + timedelta(hours=5), 80), option(span[0], None, oi=3)], on_conflict=mode)
    pair.same_everywhere()
    pair.delete("A", span[0], span[0] + timedelta(hours=1))
    pair.same_everywhere()
    assert pair.fold()
    pair.same_everywhere()
    pair.delete("B", FENCE)
    pair.same_everywhere()
    pair.delete()
    pair.same_everywhere()
    assert {one.path for one in pair.fold()} == {None}


def test_a_late_snapshot_names_its_contract(pair: Options, store: Store) -> None:
    pair.upsert(options())
    pair.move()
    ((series,),) = store.rows(
        "SELECT series_id FROM store.series WHERE root IS NULL AND symbol = 'A' AND series_id >> 40 = 1"
    )
    insert = "INSERT INTO mds.options_late (series_id, ts, iv, mode) VALUES (%s, %s, 1, 'replace')"
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(insert, (series, BEGIN))


def test_a_client_that_cannot_read_files_says_so_and_answers_newer_chains(pair: Options, store: Store) -> None:
    pair.upsert(options())
    pair.move()
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as other:
        for read in (
            lambda: chain(other, FENCE + timedelta(days=2)),
            lambda: chain(other, BEGIN, as_="polars"),
            lambda: other.scan("options").collect(),
            lambda: next(iter(other.iter_rows("options"))),
        ):
            with pytest.raises(Exception, match=r"options from before .* set MDS_COLD_URL"):
                read()
        later = FENCE + timedelta(days=10)
        assert chain(other, later) == chain(pair.b, later) != []
        with pytest.raises(SeriesConflict, match=r"options from before 2024.* under the names"):
            other.rename(vendor="v", symbol="A", to_symbol="C", kind="options")
    with pair.b.transaction() as both:
        expected = chain(both, FENCE + timedelta(days=2))
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, cold_url=pair.url) as other:
        with other.transaction() as both, pytest.raises(RetryableError):
            chain(both, FENCE + timedelta(days=2))
        with other.transaction() as both:
            assert chain(both, FENCE + timedelta(days=2)) == expected


def test_the_commands_load_move_fold_and_export_snapshots(
    pair: Options, store: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    pair.upsert(options())

    def run(*words: str) -> Any:
        done = CliRunner().invoke(command_line(), [*words, "--dsn", store.admin_dsn, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    run("policies", "set", "options", "cold_after", "30d", "--tenant", "a")
    assert {one["kind"] for one in run("cold", "run", "--kind", "options")} == {"options"}
    late = [option(BEGIN, 80), option(SEAM[1], 81, symbol="C")]
    file = tmp_path / "rows.ndjson"
    file.write_text("\n".join(row.model_dump_json(exclude={"tenant_id"}) for row in late))
    for name in ("a", "b"):
        load.load(store.admin_dsn, name, "options", str(file))
    (state,) = [one for one in run("cold", "status") if one["kind"] == "options"]
    assert state["late"] == 2
    assert run("cold", "fold")
    assert [one["problem"] for one in run("cold", "verify")] == [None] * state["files"]
    pair.same_everywhere()


STEPS: Final = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(("replace", "keep", "fill")),
            st.lists(
                st.tuples(
                    st.sampled_from("AB"),
                    st.integers(0, 6),
                    st.sampled_from("CP"),
                    st.sampled_from((-1, 0, 1.5)),
                    st.one_of(st.none(), st.integers(1, 3)),
                    st.one_of(st.none(), st.sampled_from((0, 1, 2.5))),
                ),
                min_size=1,
                max_size=8,
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
def test_any_writes_moves_folds_and_restores_of_snapshots_read_as_a_store_without_files(
    pair: Options, store: Store
) -> None:
    @few_examples(store)
    @given(steps=STEPS)
    def agree(steps: Any) -> None:
        for table in ("options", "late_options", "cold_fences", "cold_periods", "series"):
            store.execute(f"DELETE FROM store.{table}")
        fresh = Options(store, pair.url)
        with fresh:
            for number, (what, how) in enumerate(steps):
                if what not in MODES:
                    fresh.maintain(what, how)
                else:
                    fresh.upsert(written(how), on_conflict=what)
                fresh.same_after(number)
            fresh.same_everywhere()

    agree()


def written(how: Sequence[Any]) -> list[OptionSnap]:
    rows = {}
    for symbol, month, side, strike, iv, volume in how:
        ts = datetime(2024, 1 + month, 31 if month in (0, 2) else 1, tzinfo=UTC)
        rows[symbol, month, side, strike] = option(
            ts, iv, symbol, option_type=side, strike=strike, volume=volume, root=f"{symbol}W" if strike == 0 else symbol
        )
    return list(rows.values())
