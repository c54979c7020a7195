"""The tenant in a DSN's options: quoting, replacing, reading back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client import ConfigurationError, rls
from mds_client.rls import dsn_with_tenant, tenant_of_dsn

TENANT = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"
OTHER = "ffffffff-5e5b-4b0e-9a6b-0b8f6f3c2d11"

# What can be in a value: no NUL, and nothing that libpq's own key=value text could not hold.
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
options = st.lists(st.tuples(st.sampled_from(["work_mem", "app.note", "search_path"]), values), max_size=4)


def escaped(value: str) -> str:
    """As the server reads its options: words between white space, a backslash before what is meant as it is."""
    return "".join(f"\\{character}" if character.isspace() or character == "\\" else character for character in value)


def read(dsn: str) -> list[str]:
    return rls._options(conninfo_to_dict(dsn).get("options"))


@given(options)
def test_setting_a_tenant_keeps_other_options_in_order(kept: list[tuple[str, str]]) -> None:
    text = " ".join(f"-c {escaped(f'{name}={value}')}" for name, value in kept)
    dsn = dsn_with_tenant(make_conninfo("host=h", options=text), TENANT)
    assert read(dsn) == [*(f"{name}={value}" for name, value in kept), f"app.tenant_id={TENANT}"]
    assert tenant_of_dsn(dsn) == TENANT


@given(options)
def test_setting_a_tenant_twice_equals_setting_only_the_second(kept: list[tuple[str, str]]) -> None:
    text = " ".join(f"-c {escaped(f'{name}={value}')}" for name, value in kept)
    dsn = make_conninfo("host=h", options=text)
    assert dsn_with_tenant(dsn_with_tenant(dsn, OTHER), TENANT) == dsn_with_tenant(dsn, TENANT)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", []),
        ("  ", []),
        ("-c a=1", ["a=1"]),
        ("-ca=1", ["a=1"]),
        ("--a=1", ["a=1"]),
        ("--work-mem=1MB", ["work_mem=1MB"]),
        ("-c a=1 --b=2\t-cc=3", ["a=1", "b=2", "c=3"]),
        (r"-c a=one\ two", ["a=one two"]),
        (r"-c a=back\\slash", [r"a=back\slash"]),
        (r"-c a=\ ", ["a= "]),
    ],
)
def test_every_form_of_an_option_is_read(text: str, settings: list[str]) -> None:
    assert rls._options(text) == settings


@pytest.mark.parametrize("form", ["-c app.tenant_id={}", "-capp.tenant_id={}", "--app.tenant_id={}"])
def test_a_tenant_in_any_form_is_read_and_replaced(form: str) -> None:
    dsn = make_conninfo("host=h", options=form.format(OTHER))
    assert tenant_of_dsn(dsn) == OTHER
    assert read(dsn_with_tenant(dsn, TENANT)) == [f"app.tenant_id={TENANT}"]


def test_the_last_of_several_tenants_wins_as_on_the_server() -> None:
    text = f"-c app.tenant_id={OTHER} -c app.tenant_id={TENANT}"
    assert tenant_of_dsn(make_conninfo("host=h", options=text)) == TENANT


def test_the_setting_name_is_case_insensitive_as_on_the_server() -> None:
    dsn = make_conninfo("host=h", options=f"-c APP.Tenant_Id={OTHER}")
    assert tenant_of_dsn(dsn) == OTHER
    assert tenant_of_dsn(dsn_with_tenant(dsn, TENANT)) == TENANT
    assert OTHER not in dsn_with_tenant(dsn, TENANT)


@pytest.mark.parametrize("text", ["-d 5", "work_mem=1MB", "-B", "-c"])
def test_an_option_that_is_not_a_setting_is_rejected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="which is not -c name=value"):
        dsn_with_tenant(make_conninfo("host=h", options=text), TENANT)


@pytest.mark.parametrize("tenant", ["", "me", "0e0bc1a6", f"{TENANT} -c role=postgres", f"{TENANT}'", None])
def test_a_tenant_that_is_not_a_uuid_is_rejected(tenant: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a uuid"):
        dsn_with_tenant("host=h", tenant)


def test_a_malformed_tenant_in_a_dsn_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'me' is not a uuid"):
        tenant_of_dsn("host=h options='-c app.tenant_id=me'")


@pytest.mark.parametrize("dsn", ["postgresql://u:p%40ss@h:5433/db?sslmode=require", "host=h user=u password='p w'"])
def test_setting_a_tenant_keeps_the_rest_of_the_dsn(dsn: str) -> None:
    before, after = conninfo_to_dict(dsn), conninfo_to_dict(dsn_with_tenant(dsn, TENANT))
    assert {key: value for key, value in after.items() if key != "options"} == before


def test_a_tenant_is_written_in_its_canonical_form() -> None:
    assert tenant_of_dsn(dsn_with_tenant("host=h", "{" + TENANT.upper() + "}")) == TENANT
