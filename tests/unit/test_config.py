"""Settings: explicit before environment before default, and messages that name the key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mds_client import Config, ConfigurationError

DSN = "postgresql://u:hunter2@h/db"
TENANT = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"

OTHERS: dict[str, tuple[str, Any]] = {
    "dsn": ("postgresql://elsewhere/db", "postgresql://elsewhere/db"),
    "tenant_id": (TENANT.upper(), TENANT),
    "app_name": ("loader", "loader"),
    "connect_timeout": ("2.5", 2.5),
    "statement_timeout_ms": ("0", 0),
    "pool_min": ("0", 0),
    "pool_max": ("3", 3),
    "write_mode": ("copy", "copy"),
    "values_min_rows": ("7", 7),
    "values_page_size": ("8", 8),
    "copy_min_rows": ("9", 9),
    "max_attempts": ("1", 1),
    "retry_base_ms": ("1.5", 1.5),
    "retry_max_ms": ("0", 0.0),
    "prepare_threshold": ("none", None),
    "cold_url": ("/srv/cold", "/srv/cold"),
}


def load(environment: dict[str, str] | None = None, **settings: Any) -> Config:
    return Config.load({"dsn": DSN, **settings}, environment=environment or {})


def test_every_setting_has_a_test_value() -> None:
    assert set(OTHERS) == set(Config.model_fields)


@pytest.mark.parametrize("key", OTHERS)
def test_a_setting_is_read_from_its_environment_variable(key: str) -> None:
    text, value = OTHERS[key]
    found = Config.load({} if key == "dsn" else {"dsn": DSN}, environment={f"MDS_{key.upper()}": text})
    assert getattr(found, key) == value


@pytest.mark.parametrize("key", [key for key in OTHERS if key != "prepare_threshold"])
def test_an_explicit_setting_overrides_its_environment_variable(key: str) -> None:
    _, value = OTHERS[key]
    assert getattr(load({f"MDS_{key.upper()}": "not this"}, **{key: value}), key) == value


@pytest.mark.parametrize("key", [key for key in OTHERS if key != "dsn"])
@pytest.mark.parametrize("environment", [{}, {"value": ""}], ids=["unset", "empty"])
def test_a_setting_without_a_value_has_its_default(key: str, environment: dict[str, str]) -> None:
    variables = {f"MDS_{key.upper()}": text for text in environment.values()}
    assert getattr(load(variables), key) == Config.model_fields[key].default


def test_keywords_override_the_mapping_and_none_means_not_given() -> None:
    found = Config.load({"dsn": DSN, "pool_max": 5, "app_name": "a"}, environment={}, pool_max=6, app_name=None)
    assert (found.pool_max, found.app_name) == (6, "a")


def test_a_config_can_be_reused_with_changed_settings() -> None:
    base = load(pool_max=4)
    again = Config.load(base, environment={"MDS_POOL_MAX": "9"}, tenant_id=TENANT)
    assert (again.pool_max, again.tenant_id) == (4, TENANT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dsn": None}, "dsn is missing: pass it or set MDS_DSN"),
        ({"dsnn": "x"}, "'dsnn' is no setting; there are: dsn, tenant_id, app_name"),
        ({"tenant_id": "me"}, "tenant_id: 'me' is not a uuid"),
        ({"app_name": ""}, "app_name: "),
        ({"connect_timeout": 0}, "connect_timeout: "),
        ({"statement_timeout_ms": -1}, "statement_timeout_ms: "),
        ({"statement_timeout_ms": "1 s"}, "statement_timeout_ms: "),
        ({"pool_min": -1}, "pool_min: "),
        ({"pool_min": 3, "pool_max": 2}, r"pool_min \(3\) is larger than pool_max \(2\)"),
        ({"write_mode": "COPY"}, "write_mode: "),
        ({"max_attempts": 0}, "max_attempts: "),
        ({"retry_base_ms": -1}, "retry_base_ms: "),
        ({"prepare_threshold": -1}, "prepare_threshold: "),
        ({"dsn": "host=h password"}, "the DSN cannot be read"),
        ({"dsn": "postgresql://u:hunter2@[h"}, "the DSN cannot be read"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Config.load({"dsn": DSN, **settings}, environment={})
    assert "hunter2" not in f"{caught.value}{caught.value!r}"


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(pool_max=0, max_attempts=0)
    assert "pool_max" in str(caught.value)
    assert "max_attempts" in str(caught.value)


def test_an_invalid_environment_variable_is_named_by_its_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"pool_max: .*integer"):
        load({"MDS_POOL_MAX": "many"})


def test_a_config_does_not_show_its_dsn() -> None:
    assert "hunter2" not in f"{load()!r} {load()}"


@pytest.mark.parametrize("text", ["none", "None", ""])
def test_prepared_statements_can_be_switched_off(text: str) -> None:
    assert load(prepare_threshold=text).prepare_threshold is None


@pytest.mark.parametrize(
    ("rows", "mode"),
    [(1, "executemany"), (2, "values"), (999, "values"), (1000, "copy"), (10**6, "copy")],
)
def test_auto_chooses_the_write_mode_by_batch_size(rows: int, mode: str) -> None:
    assert load().write_mode_for(rows) == mode


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_an_explicit_write_mode_is_used_for_every_batch_size(mode: str) -> None:
    assert {load(write_mode=mode).write_mode_for(rows) for rows in (1, 1000, 10**6)} == {mode}


@given(attempts=st.integers(1, 40), base=st.floats(0, 1e4), longest=st.floats(0, 1e5))
def test_retry_waits_grow_up_to_a_limit_and_are_one_fewer_than_attempts(
    attempts: int, base: float, longest: float
) -> None:
    waits = list(load(max_attempts=attempts, retry_base_ms=base, retry_max_ms=longest).waits())
    assert len(waits) == attempts - 1
    for number, wait in enumerate(waits):
        assert 0 <= wait * 1000 <= min(longest, base * 2**number) * (1 + 1e-9)


def test_retry_waits_are_randomised() -> None:
    config = load(max_attempts=10)
    assert list(config.waits()) != list(config.waits())


@pytest.mark.parametrize(("seconds", "libpq"), [(0.1, 2), (2, 2), (2.6, 3), (30, 30)])
def test_the_connect_timeout_is_rounded_up_to_whole_seconds_of_at_least_two(seconds: float, libpq: int) -> None:
    assert load(connect_timeout=seconds).connection()["connect_timeout"] == libpq
