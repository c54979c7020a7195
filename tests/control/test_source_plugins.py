"""A source of somebody else's package: found by its entry point, used by a backfill, and named where it is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datastore import backfill, sources
from datastore.backfill import BackfillSpec, filling
from datastore.config import Settings
from datastore.jobs import JobContext, list_jobs
from datastore.sources import SourceError, base
from mds_client import MDS, vendors
from tests.conftest import Store

MODULE = """
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel

from datastore.sources import Malformed


class Frames(BaseModel):
    type: Literal["acme"]
    highest: list[float]

    def fetch(self, spans):
        for span in spans:
            stamps = [span.start] * len(self.highest)
            yield pa.table({
                "vendor": [span.vendor] * len(stamps), "symbol": [span.symbol] * len(stamps),
                "timeframe": [span.timeframe] * len(stamps),
                "ts": [stamp.replace(minute=stamp.minute + number) for number, stamp in enumerate(stamps)],
                "close_price": pa.array(self.highest, pa.float64()),
            })
            yield [Malformed("somewhere", "for some reason")]


class NoSource(BaseModel):
    pass
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with three entry points."""
    (tmp_path / "acme_sources.py").write_text(MODULE)
    about = tmp_path / "acme_sources-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-sources\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[datastore.sources]\nacme = acme_sources:Frames\nbad = acme_sources:NoSource\ngone = acme_missing:Frames\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    base._entry_points.cache_clear()
    yield
    base._entry_points.cache_clear()


def test_sources_of_a_package_are_listed_with_the_built_in_ones() -> None:
    assert sources.names() == sorted(["acme", "bad", "files", "gone", "http", *vendors.vendors()])
    with pytest.raises(SourceError, match=f"there are: {', '.join(sources.names())}"):
        sources.make({"type": "other"}, Settings())


def test_a_broken_source_plugin_raises_an_error_with_the_reason() -> None:
    with pytest.raises(SourceError, match="source 'acme': highest: Field required"):
        sources.make({"type": "acme"}, Settings())
    with pytest.raises(
        SourceError, match=r"'bad' \(acme_sources:NoSource\) is not a pydantic model with a method fetch"
    ):
        sources.make({"type": "bad"}, Settings())
    with pytest.raises(SourceError, match="'gone' needs the package acme_missing"):
        sources.make({"type": "gone"}, Settings())


@pytest.mark.parametrize(("highest", "rows", "rejected"), [(["1", "2", "3"], 3, 1), (["1", "inf", "3"], 2, 2)])
def test_frames_of_a_plugin_are_written_and_invalid_rows_are_counted(
    store: Store, highest: list[str], rows: int, rejected: int
) -> None:
    asked: dict[str, Any] = {"tenant": "a", "vendor": "v", "timeframe": "1m", "start": "2024-03-08", "symbols": ["S"],
                             "end": "2024-03-09", "calendar": "XNYS"}  # fmt: skip
    spec = BackfillSpec(**asked, source={"type": "acme", "highest": highest})
    backfill.start(store.admin_dsn, spec, idempotency_key="k")
    (job,) = list_jobs(store.admin_dsn).items
    result = filling.run(JobContext(job, store.admin_dsn), backfill.ChunkJob.model_validate(job.payload))
    assert (result["rows"], result["rejected"], result["missing"]) == (rows, rejected, 390 - rows)
    assert result["rejects"][-1] == {"where": "somewhere", "why": "for some reason"}
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        (last,) = client.latest_prices(["S"], "v")
    assert last.price == 3.0
