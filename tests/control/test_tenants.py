"""Tenants and the logins that are bound to them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from datastore import migration, tenants
from datastore.errors import ControlError
from datastore.names import LARGEST_TENANT_NO
from tests.conftest import Store

CHOSEN = UUID("0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11")


@pytest.fixture
def role(store: Store) -> Iterator[str]:
    """A login of its own, gone after the test."""
    store.execute("CREATE ROLE one_login LOGIN PASSWORD 'x'")
    yield "one_login"
    store.execute("DROP OWNED BY one_login; DROP ROLE one_login")


def test_a_new_tenant_gets_its_own_number_and_uuid(store: Store) -> None:
    made = tenants.create_tenant(store.admin_dsn, "desk")
    assert (made.name, made.no, made.disabled_at, made.roles) == ("desk", 3, None, [])
    assert made.created_at.tzinfo is not None
    assert [tenant.name for tenant in tenants.list_tenants(store.admin_dsn)] == ["a", "b", "desk"]
    assert tenants.list_tenants(store.admin_dsn)[-1] == made


def test_a_tenant_can_be_given_its_uuid(store: Store) -> None:
    assert tenants.create_tenant(store.admin_dsn, "desk", id=CHOSEN).id == CHOSEN


@pytest.mark.parametrize("name", ["x" * 1000, "Ünï 'quoted' \"v\"; --", "🦆", " padded "])
def test_a_tenant_name_can_be_any_text(store: Store, name: str) -> None:
    assert tenants.create_tenant(store.admin_dsn, name).name == name


@pytest.mark.parametrize("name", ["", "  ", "\t"])
def test_a_tenant_needs_a_name(store: Store, name: str) -> None:
    with pytest.raises(ControlError, match="a tenant needs a name"):
        tenants.create_tenant(store.admin_dsn, name)


def test_a_tenant_name_or_uuid_in_use_is_rejected(store: Store) -> None:
    with pytest.raises(ControlError, match=f"tenant 'a' \\({store.tenant_a}\\) already exists"):
        tenants.create_tenant(store.admin_dsn, "a")
    with pytest.raises(ControlError, match=r"tenant 'b' .* already exists"):
        tenants.create_tenant(store.admin_dsn, "new", id=UUID(store.tenant_b))


def test_if_absent_returns_the_existing_tenant_unless_it_differs(store: Store) -> None:
    assert str(tenants.create_tenant(store.admin_dsn, "a", if_absent=True).id) == store.tenant_a
    assert (
        str(tenants.create_tenant(store.admin_dsn, "a", id=UUID(store.tenant_a), if_absent=True).id) == store.tenant_a
    )
    with pytest.raises(ControlError, match="already exists"):
        tenants.create_tenant(store.admin_dsn, "a", id=CHOSEN, if_absent=True)
    with pytest.raises(ControlError, match="already exists"):
        tenants.create_tenant(store.admin_dsn, "new", id=UUID(store.tenant_a), if_absent=True)
    assert len(tenants.list_tenants(store.admin_dsn)) == 2


def test_concurrent_creations_of_one_tenant_succeed_once(store: Store) -> None:
    def make(_: int) -> bool:
        try:
            tenants.create_tenant(store.admin_dsn, "contested")
        except ControlError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, range(4)))
    assert made.count(True) == 1
    assert [tenant.name for tenant in tenants.list_tenants(store.admin_dsn)].count("contested") == 1


def test_seeding_twice_makes_each_tenant_once(store: Store) -> None:
    first = tenants.seed(store.admin_dsn, ("a", "new"))
    assert [tenant.name for tenant in first] == ["a", "new"]
    assert tenants.seed(store.admin_dsn, ("a", "new")) == first


def test_seeding_makes_all_of_the_tenants_or_none(store: Store) -> None:
    with pytest.raises(ControlError, match="a tenant needs a name"):
        tenants.seed(store.admin_dsn, ("one", " ", "two"))
    assert [tenant.name for tenant in tenants.list_tenants(store.admin_dsn)] == ["a", "b"]


def test_the_number_of_a_tenant_is_never_used_again(store: Store) -> None:
    made = tenants.create_tenant(store.admin_dsn, "short-lived")
    store.execute("DELETE FROM store.tenants WHERE no = %s", made.no)
    assert tenants.create_tenant(store.admin_dsn, "next").no == made.no + 1


def test_the_largest_tenant_number_works_and_the_next_is_rejected(store: Store) -> None:
    store.execute(f"ALTER TABLE store.tenants ALTER COLUMN no RESTART WITH {LARGEST_TENANT_NO}")
    made = tenants.create_tenant(store.admin_dsn, "last")
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (made.id,))
        connection.execute("INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'v')")
        assert connection.execute("SELECT series_id >> 40, vendor FROM mds.series").fetchall() == [(made.no, "v")]
    with pytest.raises(psycopg.errors.SequenceGeneratorLimitExceeded):
        tenants.create_tenant(store.admin_dsn, "one too many")


@pytest.mark.parametrize("by", ["name", "uuid"])
def test_a_bound_login_acts_as_its_tenant(store: Store, role: str, by: str) -> None:
    bound = tenants.bind_role(store.admin_dsn, "b" if by == "name" else store.tenant_b, role)
    assert (str(bound.id), bound.roles) == (store.tenant_b, [role])
    with psycopg.connect(store.dsn, user=role, password="x") as connection:
        assert connection.execute("SELECT id::text FROM public.tenants").fetchall() == [(store.tenant_b,)]


def test_a_uuid_in_any_spelling_takes_precedence_over_a_name(store: Store, role: str) -> None:
    tenants.create_tenant(store.admin_dsn, store.tenant_b)
    for spelled in (store.tenant_b, store.tenant_b.upper(), f"{{{store.tenant_b}}}"):
        with psycopg.connect(store.admin_dsn) as connection:
            assert tenants.find_tenant(connection, spelled).name == "b"
    bound = tenants.bind_role(store.admin_dsn, store.tenant_b.upper(), role)
    assert (bound.name, bound.roles) == ("b", [role])


def test_times_of_tenants_are_in_utc_in_every_session_time_zone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "America/New_York")
    assert {tenant.created_at.utcoffset() for tenant in tenants.list_tenants(store.admin_dsn)} == {timedelta(0)}


def test_binding_a_role_twice_changes_nothing(store: Store, role: str) -> None:
    first = tenants.bind_role(store.admin_dsn, "a", role)
    assert tenants.bind_role(store.admin_dsn, "a", role) == first


def test_a_login_is_bound_to_one_tenant_only(store: Store, role: str) -> None:
    tenants.bind_role(store.admin_dsn, "a", role)
    with pytest.raises(ControlError, match="role 'one_login' is bound to another tenant"):
        tenants.bind_role(store.admin_dsn, "b", role)
    assert [tenant.roles for tenant in tenants.list_tenants(store.admin_dsn)] == [[role], []]


def test_an_unknown_tenant_or_role_cannot_be_bound(store: Store, role: str) -> None:
    with pytest.raises(ControlError, match="there is no tenant 'nobody'"):
        tenants.bind_role(store.admin_dsn, "nobody", role)
    with pytest.raises(ControlError, match="role 'nobody' does not exist"):
        tenants.bind_role(store.admin_dsn, "a", "nobody")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("ALTER ROLE one_login SUPERUSER", "is a superuser"),
        ("ALTER ROLE one_login BYPASSRLS", "bypasses row security"),
        ("ALTER ROLE one_login CREATEROLE", "may create roles"),
        ("ALTER ROLE one_login REPLICATION", "replicates"),
        ("ALTER ROLE one_login NOLOGIN", "cannot log in"),
        ("GRANT mds_owner TO one_login", "member of mds_owner"),
        ("GRANT mds_admin TO one_login", "member of mds_(admin|owner)"),
        ("GRANT postgres TO one_login", "member of postgres"),
        ("GRANT pg_read_all_data TO one_login", "member of pg_read_all_data"),
        ("GRANT pg_write_all_data TO one_login", "member of pg_write_all_data"),
        ("GRANT pg_monitor TO one_login", "member of pg_monitor"),
        ("GRANT pg_execute_server_program TO one_login", "member of pg_execute_server_program"),
        ("CREATE ROLE between IN ROLE mds_owner; GRANT between TO one_login", "member of mds_owner"),
    ],
)
def test_a_login_that_could_bypass_its_binding_is_rejected(
    store: Store, role: str, statement: str, message: str
) -> None:
    store.execute(statement)
    try:
        with pytest.raises(ControlError, match=message):
            tenants.bind_role(store.admin_dsn, "a", role)
        assert tenants.list_tenants(store.admin_dsn)[0].roles == []
    finally:
        store.execute("DROP ROLE IF EXISTS between")


def test_an_unbound_login_loses_access_to_the_views(store: Store, role: str) -> None:
    tenants.bind_role(store.admin_dsn, "a", role)
    assert tenants.unbind_role(store.admin_dsn, store.tenant_a, role).roles == []
    with psycopg.connect(store.dsn, user=role, password="x", autocommit=True) as connection:
        for statement in ("SET ROLE mds_app", "SELECT count(*) FROM public.bars"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.many_sessions
def test_a_login_cannot_be_unbound_while_it_is_connected(store: Store, role: str) -> None:
    tenants.bind_role(store.admin_dsn, "a", role)
    with psycopg.connect(store.dsn, user=role, password="x", autocommit=True) as connection:
        # What this gives, a session keeps whatever is revoked.
        connection.execute("SET ROLE mds_app")
        with pytest.raises(ControlError, match=r"role 'one_login' .* stays bound while it is logged in: .*1 now"):
            tenants.unbind_role(store.admin_dsn, "a", role)
        connection.execute("SELECT set_config('app.tenant_id', %s, false)", (store.tenant_b,))
        assert connection.execute("SELECT id::text FROM public.tenants").fetchall() == [(store.tenant_a,)]
        with (
            psycopg.connect(store.dsn, user=role, password="x") as another,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            another.execute("SELECT id FROM public.tenants")
    store.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", role)
    assert tenants.unbind_role(store.admin_dsn, "a", role).roles == []
    assert tenants.bind_role(store.admin_dsn, "b", role).roles == [role]


def test_only_a_role_bound_to_the_tenant_can_be_unbound(store: Store, role: str) -> None:
    tenants.bind_role(store.admin_dsn, "a", role)
    with pytest.raises(ControlError, match="role 'one_login' is not bound to tenant 'b'"):
        tenants.unbind_role(store.admin_dsn, "b", role)
    with pytest.raises(ControlError, match="there is no tenant 'nobody'"):
        tenants.unbind_role(store.admin_dsn, "nobody", role)
    store.execute(f"CREATE ROLE team IN ROLE mds_app; GRANT team TO {role}")
    try:
        with pytest.raises(ControlError, match="role 'one_login' is a member of mds_app apart from its binding"):
            tenants.unbind_role(store.admin_dsn, "a", role)
    finally:
        store.execute("DROP ROLE team")
    with psycopg.connect(store.dsn, user=role, password="x") as connection:
        assert connection.execute("SELECT id::text FROM public.tenants").fetchall() == [(store.tenant_a,)]


def test_names_of_roles_are_quoted(store: Store) -> None:
    name = 'odd "role"; --'
    with psycopg.connect(store.superuser_dsn, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        try:
            assert tenants.bind_role(store.admin_dsn, "a", name).roles == [name]
            assert tenants.unbind_role(store.admin_dsn, "a", name).roles == []
        finally:
            connection.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(name)))


def test_an_application_cannot_use_the_control_plane(store: Store, role: str) -> None:
    for call in (
        lambda: tenants.create_tenant(store.dsn, "mine"),
        lambda: tenants.list_tenants(store.dsn),
        lambda: tenants.bind_role(store.dsn, "a", role),
        lambda: migration.migrate(store.dsn),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            call()
