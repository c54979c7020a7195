"""Items of fundamentals: a vendor's figures by the vendor's own names, through every door."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mds_client import KINDS, ConfigurationError, Fundamentals, InvalidRow
from mds_client.cli import main
from mds_client.mapping import Mapping
from mds_client.values.quality import DataQualityWarning
from tests.clients.test_cli import Run, runs, use
from tests.conftest import Client, Store

YEAR: Final = datetime(2023, 12, 31, tzinfo=UTC)
ALWAYS: Final = ("2000-01-01", "2100-01-01")
KIND: Final = KINDS["fundamentals"]


def row(items: Any = None, symbol: str = "A", **fields: Any) -> dict[str, Any]:
    return {"vendor": "v", "symbol": symbol, "asof": YEAR, "items": items, **fields}


def read(client: Client, symbol: str = "A") -> Any:
    (found,) = client.fundamentals_window(symbol, *ALWAYS, "v")
    return found.items


# The model ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ({" free_cash_flow ": "1.5", "Umsatz": 2}, {"free_cash_flow": 1.5, "Umsatz": 2.0}),
        ('{"a": 1e20, "b": null}', {"a": 1e20, "b": None}),
        ([("a", 1), ("b", None)], {"a": 1.0, "b": None}),
        ({}, None),
        ("", None),
        (None, None),
    ],
)
def test_items_are_parsed_as_numbers_with_trimmed_names(given_: Any, kept: Any) -> None:
    found = Fundamentals.model_validate(row(given_)).items
    assert found == kept
    assert found is None or all(value is None or type(value) is float for value in found.values())


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"": 1}, "items"),
        ({" ": 1}, "items"),
        ({"x" * 256: 1}, "items"),
        ({"a\0": 1}, "NUL"),
        ({"a": float("nan")}, "items.a"),
        ({"a": "many"}, "items.a"),
        ({"a": True}, "items.a: a truth value is not a number"),
        ({"a": {"b": 1}}, "items.a"),
        ({"a": 1, "a ": 2}, "the name 'a' comes twice"),
        ('{"a": 1, "a": 2}', "the name 'a' comes twice"),
        ({f"x{number}": 1 for number in range(1001)}, "1,001 names are too many; a row has at most 1,000"),
        ("free cash flow", "not a JSON object"),
        ("[1]", "an object is needed"),
        (7, "an object is needed"),
    ],
)
def test_invalid_items_are_rejected_with_their_row_and_reason(client: Client, given_: Any, reason: str) -> None:
    with pytest.raises(InvalidRow, match=f"row 0: .*{reason}"):
        client.upsert_fundamentals([row(given_)])


def test_a_row_with_items_can_be_in_a_set() -> None:
    rows = [Fundamentals.model_validate(row({"a": 1})) for _ in range(2)]
    assert len(set(rows)) == 1


# Writing ------------------------------------------------------------------------------------------------------------


@pytest.mark.every_engine
@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_a_row_with_only_items_counts_as_a_row_with_values(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_fundamentals([row(None, eps=1.5)])
    client.upsert_fundamentals([row({"a": 1})])
    (found,) = client.fundamentals_window("A", *ALWAYS, "v")
    assert (found.eps, found.items) == (None, {"a": 1.0})
    with pytest.warns(DataQualityWarning, match="no value beside the key"):
        client.upsert_fundamentals([row(None)])
    assert read(client) == {"a": 1.0}


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_items_in_another_order_create_no_new_row_version(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    versions = "SELECT ctid::text, xmin::text FROM store.fundamentals"
    client.upsert_fundamentals([row({"b": 1, "a": 0.1, "c": None})])
    before = store.rows(versions)
    for on_conflict in ("replace", "fill", "keep"):
        client.upsert_fundamentals([row({"c": None, "a": 0.1, "b": 1.0})], on_conflict=on_conflict)
        assert store.rows(versions) == before, on_conflict


def test_rows_of_one_key_warn_only_if_their_items_differ(client: Client) -> None:
    client.upsert_fundamentals([row({"a": 1, "b": 2}), row({"b": 2, "a": 1})])
    with pytest.warns(DataQualityWarning, match="row 0"):
        client.upsert_fundamentals([row({"a": 1}), row({"a": 2})])
    assert read(client) == {"a": 2.0}


numbers = st.none() | st.sampled_from([0.0, 0.1, -1e300, 5e-324, 1.7976931348623157e308]) | st.floats(-1e9, 1e9)
maps = st.none() | st.dictionaries(st.sampled_from(["a", "b", 'c "ü"\\', "d"]), numbers, max_size=4)
writes = st.lists(st.tuples(maps, st.sampled_from(["replace", "keep", "fill"])), max_size=4)


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=writes)
def test_stored_items_match_a_reference_model(
    connect: Callable[..., Client], store: Store, mode: str, batches: list[tuple[Any, str]]
) -> None:
    if (id(connect), mode) not in _clients:
        _clients.clear()
        _clients[id(connect), mode] = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client = _clients[id(connect), mode]
    store.execute("DELETE FROM store.fundamentals")
    expected: dict[str, float | None] | None = None
    for items, on_conflict in [({"first": 1.0}, "replace"), *batches]:
        client.upsert_fundamentals([row(items, currency="USD")], on_conflict=on_conflict)
        items = items or None
        if on_conflict == "replace" or (on_conflict == "fill" and expected is None):
            expected = items
        elif on_conflict == "fill":
            some = {name: value for name, value in (items or {}).items() if value is not None}
            expected = {**(items or {}), **(expected or {}), **some}
    assert read(client) == expected


_clients: dict[Any, Client] = {}

FRAMES: Final[dict[str, Callable[[], Any]]] = {
    "JSON": lambda: pa.table({**NAMES, "items": ['{"a": 1, "n": null}', None, '{"b":0.5}']}),
    "map": lambda: pa.table({
        **NAMES,
        "items": pa.array([[("a", 1.0), ("n", None)], None, [("b", 0.5)]], pa.map_(pa.string(), pa.float64())),
    }),
    "dictionaries": lambda: pd.DataFrame({**NAMES, "items": [{"a": 1, "n": None}, None, {"b": 0.5}]}),
    "structs": lambda: pl.DataFrame({**NAMES, "items": [{"a": 1.0, "b": None}, None, {"a": None, "b": 0.5}]}),
    "pairs": lambda: pl.from_arrow(FRAMES["map"]()),
    "DuckDB": lambda: duckdb.from_arrow(FRAMES["map"]()),
}  # fmt: skip
NAMES: Final[dict[str, Any]] = {
    "vendor": ["v"] * 3, "symbol": ["A", "B", "C"], "asof": [YEAR] * 3, "eps": [1.0] * 3,
}  # fmt: skip


@pytest.mark.parametrize("form", FRAMES)
@pytest.mark.parametrize("mode", ["values", "copy"])
def test_items_can_be_written_from_every_frame_type(
    connect: Callable[..., Client], store: Store, form: str, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    assert client.upsert_fundamentals(FRAMES[form]()) == 3
    found = {one.symbol: one.items for one in client.fundamentals_window(["A", "B", "C"], *ALWAYS, "v")}
    # A struct has every name in every row, so a name without a value is not there.
    assert found.pop("A") in ([{"a": 1.0}] if form in ("dictionaries", "structs") else [{"a": 1.0, "n": None}])
    assert found == {"B": None, "C": {"b": 0.5}}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array(["{}", '{"x": "y"}', '{"x": "y"}']), r"row 1: items: x: .*; 2 rows in all"),
        (pa.array([1, 2, 3]), "row 0: items: an object is needed"),
        (pa.array([[("a", 1.0), ("a", 2.0)], [], []], pa.map_(pa.string(), pa.float64())), "row 0: .*'a' comes twice"),
    ],
)
def test_a_frame_with_invalid_items_is_rejected_with_row_and_name(client: Client, column: Any, reason: str) -> None:
    with pytest.raises(InvalidRow, match=reason):
        client.upsert_fundamentals(pa.table({**NAMES, "items": column}))


@pytest.mark.every_engine
@pytest.mark.parametrize("value", ["[1]", "7", "{}", '{"a": "x"}', '{"a": [1, 2]}', '{"a": {"b": 1}}', '{"a": 1e309}'])
def test_the_database_rejects_items_that_clients_could_not_read(store: Store, client: Client, value: str) -> None:
    client.upsert_fundamentals([row({"a": 1})])
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        statement = "INSERT INTO mds.fundamentals_{} (series_id, asof, items) SELECT series_id, {}, %s FROM mds.series"
        for way, moment in (("replace", "last_ts"), ("fill", "last_ts"), ("append", "now()")):
            with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
                connection.execute(statement.format(way, moment).encode(), (value,))
    assert read(client) == {"a": 1.0}


# Reading ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(client: Client) -> Client:
    client.upsert_fundamentals([row({"free_cash_flow": 1.5e9, "none": None}, eps=1), row(None, "B", eps=2)])
    return client


def test_frames_contain_items_as_json_text_and_can_be_written_back(
    filled: Client, store: Store, tmp_path: Path
) -> None:
    other = filled.for_tenant(store.tenant_b)
    for as_ in ("arrow", "pandas", "polars"):
        frame = filled.fundamentals_window(["A", "B"], *ALWAYS, "v", as_=as_)
        texts = list(frame["items"].to_pylist() if as_ == "arrow" else frame["items"])
        assert json.loads(texts[0]) == {"free_cash_flow": 1.5e9, "none": None}
        assert texts[1] is None or pd.isna(texts[1])
        other.upsert_fundamentals(frame)
        assert (read(other), read(other, "B")) == ({"free_cash_flow": 1.5e9, "none": None}, None), as_
        other.delete("fundamentals", vendor="v", dry_run=False)
    only = filled.fundamentals_window("A", *ALWAYS, "v", as_="arrow", columns=["items"])
    assert only.column_names == ["items"]
    path = tmp_path / "f.parquet"
    filled.export("fundamentals", str(path), connections=1)
    assert parquet.read_schema(path).field("items").type == pa.string()
    assert other.upsert_fundamentals(parquet.read_table(path)) == 2
    assert read(other) == {"free_cash_flow": 1.5e9, "none": None}
    assert [one.items for batch in other.iter_rows("fundamentals") for one in batch] == [read(other), None]


def test_sql_finds_an_item_by_its_name(filled: Client, store: Store) -> None:
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        found = connection.execute(
            "SELECT symbol, (items ->> 'free_cash_flow')::float8 FROM public.fundamentals ORDER BY symbol"
        ).fetchall()
        (said,) = connection.execute(
            "SELECT col_description('public.fundamentals'::regclass, attnum) FROM pg_attribute"
            " WHERE attrelid = 'public.fundamentals'::regclass AND attname = 'items'"
        ).fetchone() or ("",)
    assert found == [("A", 1.5e9), ("B", None)]
    assert said == Fundamentals.model_fields["items"].description


# Further columns ----------------------------------------------------------------------------------------------------

FURTHER: Final = {**NAMES, "fcf": [1.5, None, 2.5], "Net Debt": [7, 8, None]}
EXPECTED: Final = {"A": {"fcf": 1.5, "Net Debt": 7.0}, "B": {"Net Debt": 8.0}, "C": {"fcf": 2.5}}


def by_symbol(client: Client) -> dict[str, Any]:
    return {one.symbol: one.items for batch in client.iter_rows("fundamentals") for one in batch}


@pytest.mark.parametrize(
    "made",
    [
        pa.table,
        pd.DataFrame,
        lambda columns: pd.DataFrame(columns).query("eps > 0").iloc[::-1],
        pl.DataFrame,
        lambda columns: pl.DataFrame(columns).lazy(),
        lambda columns: pl.DataFrame(columns).to_dicts(),
        lambda columns: iter(pl.DataFrame(columns).to_dicts()),
        lambda columns: pa.table(columns).to_reader(max_chunksize=1),
    ],
)
def test_further_columns_become_items(client: Client, made: Callable[[Any], Any]) -> None:
    assert client.upsert("fundamentals", made(FURTHER), extra="items") == 3
    assert by_symbol(client) == EXPECTED


def test_extra_columns_are_merged_with_given_items_and_duplicates_are_rejected(client: Client) -> None:
    given_ = {**NAMES, "items": ['{"x": 1}', None, '{"y": null}'], "fcf": [1, 2, 3]}
    client.upsert_fundamentals(pa.table(given_), extra="items")
    expected = {"A": {"x": 1.0, "fcf": 1.0}, "B": {"fcf": 2.0}, "C": {"y": None, "fcf": 3.0}}
    assert by_symbol(client) == expected
    client.upsert_fundamentals(pl.DataFrame(given_).to_dicts(), extra="items")
    assert by_symbol(client) == expected
    twice = {**given_, "x": [1, 1, 1]}
    for rows in (pa.table(twice), pl.DataFrame(twice).to_dicts()):
        with pytest.raises(InvalidRow, match="items: the name 'x' comes twice"):
            client.upsert_fundamentals(rows, extra="items")


@pytest.mark.parametrize(
    "values", [["Tech", "Oil", None], [True, False, True], [YEAR] * 3, [b"x"] * 3, [float("nan")] * 3]
)
def test_an_extra_column_that_is_not_numeric_is_rejected_by_name(client: Client, values: Any) -> None:
    columns = {**NAMES, "sector": values}
    for rows in (
        pa.table(columns),
        [dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)],
    ):
        with pytest.raises(InvalidRow, match=r"sector: .*(is not a number|are not numbers)"):
            client.upsert_fundamentals(rows, extra="items")
    leaving_out = Mapping(skip=frozenset(["sector"]), extra="items")
    assert client.upsert_fundamentals(pa.table(columns), mapping=leaving_out) == 3
    assert by_symbol(client) == {"A": None, "B": None, "C": None}


def test_without_extra_items_extra_columns_are_rejected_and_the_option_is_named(client: Client) -> None:
    for rows in (pa.table(FURTHER), iter(pl.DataFrame(FURTHER).to_dicts())):
        with pytest.raises(InvalidRow, match="fcf"):
            client.upsert_fundamentals(rows)
    with pytest.raises(InvalidRow, match=r"extra='items' \(--extra items\) keeps numbers as items"):
        client.upsert_fundamentals(pa.table(FURTHER))
    with pytest.raises(InvalidRow) as refused:
        client.upsert("bars", pa.table({**NAMES, "timeframe": ["1d"] * 3}))
    assert "extra='items'" not in str(refused.value)


@pytest.mark.parametrize("kind", sorted(kind.name for kind in KINDS.values() if not kind.maps))
def test_another_kind_refuses_items_with_the_reason(client: Client, kind: str) -> None:
    for how in ({"extra": "items"}, {"mapping": Mapping(extra="items")}):
        with pytest.raises(ConfigurationError, match=f"{kind} have no items"):
            client.upsert(kind, [], **how)
    with pytest.raises(ConfigurationError, match="extra is error or ignore or items, not 'all'"):
        client.upsert(kind, [], extra="all")


# Commands -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


@pytest.fixture
def one(mds: Run, connect: Callable[..., Client], store: Store) -> Client:
    return connect(dsn=store.dsn, tenant_id=store.tenant_a)


def test_import_stores_extra_columns_of_a_file_as_items(mds: Run, one: Client, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(
        "ticker;date;eps;Free Cash Flow;Net Debt\n"
        "A;2023-12-31;1,5;1.500.000,25;-\nB;2023-12-31;2,5;;7,5\nC;2023-12-31;2,5;n.a.;7,5\n"
    )
    how = ("--vendor", "v", "--map", "symbol=ticker", "--map", "asof=date", "--extra", "items", "--time-zone", "UTC")
    done = mds("import", "fundamentals", path, *how)
    assert done.code == 3, done.err
    assert "columns that become items: Free Cash Flow, Net Debt" in done.out + done.err
    assert by_symbol(one) == {"A": {"Free Cash Flow": 1500000.25}, "B": {"Net Debt": 7.5}}
    (rejected,) = [json.loads(line) for line in Path(f"{path}.rejects.ndjson").read_text().splitlines()]
    assert (rejected["line"], "Free Cash Flow: 'n.a.' is not a number" in rejected["reason"]) == (4, True)

    path.write_text("symbol,asof,eps,sector\nA,2023-12-31,1.5,Tech\nB,2023-12-31,1.5,Oil\n")
    done = mds("import", "fundamentals", path, "--vendor", "v", "--extra", "items")
    assert (done.code, "sector: 'Tech' is not a number" in done.err) == (3, True), done.err
    path.write_text("symbol,ts,close_price,x\nA,2023-12-31,1.5,1\n")
    done = mds("import", "bars", path, "--vendor", "v", "--timeframe", "1d", "--extra", "items")
    assert (done.code, "bars have no items" in done.err) == (2, True), done.err


def test_ingest_stores_extra_fields_of_a_line_as_items(mds: Run, one: Client, tmp_path: Path) -> None:
    path = tmp_path / "f.ndjson"
    lines: list[dict[str, Any]] = [
        {"symbol": "A", "items": {"x": 1, "none": None}, "fcf": 1.5},
        {"symbol": "B", "fcf": None, "eps": 1},
        {"symbol": "C", "fcf": {"USD": 1}},
    ]
    path.write_text("".join(json.dumps({"vendor": "v", "asof": "2023-12-31", **line}) + "\n" for line in lines))
    done = mds("ingest-ndjson", "fundamentals", path, "--extra", "items")
    assert done.code == 3, done.err
    assert by_symbol(one) == {"A": {"x": 1.0, "none": None, "fcf": 1.5}, "B": None}
    done = mds("ingest-ndjson", "bars", path, "--extra", "items")
    assert (done.code, "bars have no items" in done.err) == (1, True)


def test_commands_write_and_print_items(mds: Run, one: Client, tmp_path: Path) -> None:
    what = ("--vendor", "v", "--symbol", "A", "--asof", "2023-12-31")
    assert mds("write-fundamental", *what, "--items", '{"fcf": 1.5, "none": null}').code == 0
    assert read(one) == {"fcf": 1.5, "none": None}
    assert "fcf 1.5, none -" in mds("fundamentals").out
    for ending in ("csv", "ndjson", "parquet"):
        path = tmp_path / f"f.{ending}"
        assert mds("fundamentals", "--output", path).code == 0
        one.delete("fundamentals", vendor="v", dry_run=False)
        done = mds("import", "fundamentals", path)
        assert done.code == 0, (ending, done.err)
        assert read(one) == {"fcf": 1.5, "none": None}, ending


def test_rows_with_many_items_are_written_and_read(client: Client) -> None:
    rows = [
        row(
            {f"figure {number}": number / 7 for number in range(40)},
            symbol=f"S{at % 50}",
            asof=YEAR + timedelta(days=at),
        )
        for at in range(1500)
    ]
    assert client.upsert_fundamentals(rows) == 1500
    found = [one for batch in client.iter_rows("fundamentals") for one in batch]
    assert len(found) == 1500
    assert all(one.items == rows[0]["items"] for one in found)
