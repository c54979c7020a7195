"""Old rows in an object store: as in a folder, and behind its access control, and while it fails."""

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import polars
import pytest

from datastore.cold import keeping, publishing
from datastore.cold.owning import MARK
from datastore.errors import ControlError
from mds_client import MDS, ConfigurationError, MDSError
from mds_client.cold.places import FileMissing, PlaceUnavailable, objects, place
from mds_client.reading import lazy, parts
from tests.conftest import Store
from tests.control.test_cold import ALL, FENCE, NOW, Pair, bar, bars, window
from tests.objects import BUCKET, ObjectStore, User

pytestmark = [
    pytest.mark.engines("postgres"),
    # polars says that planning would be faster with another package.
    pytest.mark.filterwarnings("ignore:Iceberg scan planning"),
]

AT_ONCE: Final = timedelta(0)


@pytest.fixture(scope="module")
def stored() -> Iterator[ObjectStore]:
    with ObjectStore() as made:
        yield made


@pytest.fixture(scope="module")
def operator(stored: ObjectStore) -> User:
    return stored.operator()


@pytest.fixture
def prefix() -> str:
    return f"cold/{uuid4().hex}"


@pytest.fixture
def pair(
    store: Store, stored: ObjectStore, operator: User, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pair]:
    with stored.acting_as(operator, monkeypatch), Pair(store, f"s3://{BUCKET}/{prefix}") as made:
        yield made


def parquet(stored: ObjectStore, prefix: str) -> list[str]:
    return [name for name in stored.keys(f"{prefix}/") if name.endswith(".parquet")]


def test_moving_months_to_an_object_store_and_back_changes_no_read_result(
    pair: Pair, store: Store, stored: ObjectStore, operator: User, prefix: str
) -> None:
    pair.upsert(bars(hours=300))
    moved = pair.move()
    assert len(moved) >= 3
    pair.upsert([bar(row.start, 7.25) for row in moved])
    pair.same_everywhere()
    pair.fold()
    pair.same_everywhere()

    listed = pair.a.cold_files()
    assert listed[0].startswith(f"s3://{BUCKET}/{prefix}/{store.tenant_a}/bars/2024-01.")
    settings = {name.lower(): value for name, value in stored.environment(operator).items()}
    frame = polars.scan_parquet(listed, storage_options=settings).select(polars.len(), polars.col("ts").max()).collect()
    whole = pair.b.scan("bars", *ALL).filter(polars.col("ts") < FENCE)
    assert frame.rows() == whole.select(polars.len(), polars.col("ts").max()).collect().rows()

    # An Iceberg table over them, whose metadata are objects, too, is read with the same settings.
    (published,) = publishing.publish(store.admin_dsn, pair.url)
    iceberg = polars.scan_iceberg(published.metadata, storage_options=settings | stored.pyiceberg())
    found = iceberg.select(polars.len(), polars.col("ts").max()).collect()
    assert found.rows() == frame.rows()

    assert [one.problem for one in keeping.verify(store.admin_dsn, pair.url)] == [None] * len(moved)
    stored.put(f"{prefix}/notes.txt", b"of somebody else")
    swept = keeping.sweep(store.admin_dsn, pair.url, older_than=AT_ONCE)
    assert {one.why for one in swept} == {"replaced"}
    left = [name for name in stored.keys(f"{prefix}/") if "/iceberg/" not in name]
    assert sorted(left) == sorted([MARK, "notes.txt", *(one.partition(f"{prefix}/")[2] for one in pair.a.cold_files())])
    pair.restore()
    pair.same_everywhere()
    assert pair.a.cold_files() == []


def test_the_credentials_of_a_tenant_read_only_its_own_files(
    pair: Pair, store: Store, stored: ObjectStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.upsert(bars("A", hours=100))
    pair.move()
    rows = window(pair.b, ALL)
    (own, *_) = parquet(stored, prefix)
    for tenant, reads in ((store.tenant_a, True), (store.tenant_b, False)):
        user = stored.reader(f"{prefix}/{tenant}")
        with (
            stored.acting_as(user, monkeypatch),
            MDS(dsn=store.dsn, tenant_id=store.tenant_a, cold_url=pair.url) as mds,
        ):
            if reads:
                assert window(mds, ALL) == rows
            else:
                with pytest.raises(FileMissing, match=r"2024-01.*403 Forbidden.*AccessDenied"):
                    window(mds, ALL)
            denied = place(pair.url)
            for forbidden in (
                partial(denied.create, f"{tenant}/bars/mine", b""),
                partial(denied.remove, own),
                lambda where=denied: list(where.every()),
            ):
                with pytest.raises(PlaceUnavailable, match=r"Access ?Denied"):
                    forbidden()
    assert own in parquet(stored, prefix)


def test_a_prefix_with_the_files_of_another_store_is_neither_written_nor_swept(
    pair: Pair, store: Store, stored: ObjectStore, prefix: str
) -> None:
    pair.upsert(bars("A", hours=100))
    stored.put(f"{prefix}/{MARK}", b"another/1")
    for work in (pair.move, lambda: keeping.sweep(store.admin_dsn, pair.url)):
        with pytest.raises(ControlError, match=rf"another database.*remove s3://{BUCKET}/{prefix}/{MARK}"):
            work()
    assert stored.keys(f"{prefix}/") == [MARK]


def test_an_object_whose_write_was_not_acknowledged_is_unlisted_and_swept(
    pair: Pair, store: Store, stored: ObjectStore, prefix: str
) -> None:
    pair.upsert(bars("A", hours=100))

    def lose(step: str) -> None:
        # Later requests are answered again: one of this month was stored, and nobody knows.
        if step == "written":
            troubles.append(stored.trouble("lost answers"))
            troubles[-1].__enter__()

    troubles: list[Any] = []
    with pytest.raises(PlaceUnavailable, match="2024-01"):
        pair.move(reached=lose)
    for trouble in troubles:
        trouble.__exit__(None, None, None)
    (orphan,) = parquet(stored, prefix)
    assert pair.a.cold_files() == []
    pair.same_everywhere()

    pair.move()
    (swept,) = keeping.sweep(store.admin_dsn, pair.url, older_than=AT_ONCE)
    assert (swept.path, swept.why) == (orphan, "on no list")
    assert len(parquet(stored, prefix)) == len(pair.a.cold_files())
    pair.same_everywhere()


def _tried_once(options: Callable[[str], dict[str, str] | None], name: str) -> dict[str, Any]:
    return {**(options(name) or {}), "max_retries": 0}


@pytest.mark.parametrize(("trouble", "reason"), [("away", "error sending"), ("503", "SlowDown"), ("silent", "error")])
def test_object_store_failures_are_reported_and_work_continues_afterwards(
    trouble: str, reason: str, pair: Pair, store: Store, stored: ObjectStore, operator: User, prefix: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    pair.upsert(bars("A"))
    assert len(pair.move(NOW - timedelta(days=60))) == 2
    recent = (FENCE, ALL[1])
    monkeypatch.setenv("AWS_TIMEOUT", "200ms")
    # polars would try for half a minute. What ends each try of a silent store is the time limit of our own options.
    for module in (lazy, parts):
        monkeypatch.setattr(module, "polars_options", partial(_tried_once, module.polars_options))
    failures: list[Any] = []
    with stored.acting_as(operator, monkeypatch), caplog.at_level(logging.DEBUG):
        # Now the metadata of the files are known, so that polars is the first to meet the failure.
        pair.a.scan("bars").collect()
        part = pair.a.scan_parts("bars")[0]
        with stored.trouble(trouble):
            # Both at once, because each takes its time.
            with ThreadPoolExecutor() as threads:
                scans = [threads.submit(lazy.collect) for lazy in (pair.a.scan("bars"), part.scan())]
            failures += [str(scan.exception()) for scan in scans]
            assert re.search(r"2024-01.*cannot be read", failures[0])
            assert re.search(r"2024-01", failures[1])
            with pytest.raises((MDSError, ControlError), match=f"{prefix}.*{reason}") as failure:
                pair.move()
            failures.append(failure.value)
            with pytest.raises(FileMissing, match=rf"2024-01.*{prefix}.*{reason}") as missing:
                window(pair.a, ALL)
            failures.append(missing.value)
            # What is in the table is read, and corrections of rows in files are taken.
            assert window(pair.a, recent) == window(pair.b, recent)
            pair.upsert([bar(ALL[0] + timedelta(days=20), 3.5)])
            problems = {str(one.problem) for one in keeping.verify(store.admin_dsn, pair.url)}
    said = "\n".join(
        [*map(str, failures), *problems, caplog.text, *map(str, store.rows("SELECT * FROM store.cold_periods"))]
    )
    assert operator.secret not in said
    assert operator.key not in said

    monkeypatch.delenv("AWS_TIMEOUT")
    place.cache_clear()
    assert len(pair.move()) >= 1
    assert len(pair.fold()) == 1
    pair.same_everywhere()


def test_a_slow_object_store_is_waited_for(pair: Pair, stored: ObjectStore) -> None:
    pair.upsert(bars("A"))
    pair.move(NOW - timedelta(days=60))
    pair.upsert([bar(ALL[0] + timedelta(days=20), 3.5)])
    with stored.trouble("slow"):
        pair.same_after(0)
        assert len(pair.move()) >= 1
        assert len(pair.fold()) == 1
    pair.same_everywhere()


def test_an_object_is_never_overwritten_and_a_large_one_is_sent_in_parts(
    stored: ObjectStore, operator: User, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored.acting_as(operator, monkeypatch):
        where = place(f"s3://{BUCKET}/{prefix}")

        def write(path: str, content: bytes) -> None:
            with where.writing(path) as file:
                file.write(content)

        for _ in range(2):
            write("one", b"first")
        with pytest.raises(PlaceUnavailable, match="another object has this name"):
            write("one", b"second")
        monkeypatch.setattr(objects, "ONE_REQUEST", 1000)
        large = bytes(range(256)) * 1000
        write("large", large)
        with where.open("large") as file:
            assert file.read() == large
            assert [file.seek(-256_000, 2), file.read(3), file.seek(1000), file.read(2), file.read(2)] == [
                0, large[:3], 1000, large[1000:1002], large[1002:1004],
            ]  # fmt: skip
        with where.open("one") as file:
            assert file.read() == b"first"


@pytest.mark.parametrize(
    "url", ["s3://key:hidden@bucket/cold", "s3://bucket/cold?secret=hidden", "ftp://there/x", "s3:///x"]
)
def test_a_url_that_is_not_a_bucket_is_refused_without_repeating_a_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix") as refused:
        place(url)
    assert "hidden" not in str(refused.value)
