"""The container kit, as far as it can be checked where no container runs: the SQL is run, the files are read.

`docker/initdb.d` runs through `psql` on every engine's server, in the order and with the options of the image.
"""

import json
import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml
from compose_spec import PyCompose
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datastore import aggregates, config, migration, reads, tenants, timescale_policies
from datastore.cli import command_line
from datastore.connections import head
from datastore.embedded import choose_account, find_binaries
from datastore.jobs import JobContext
from datastore.service import tokens
from mds_client import MDS, Bar
from tests.clients.test_cli import commands
from tests.conftest import Store, plain_postgres
from tests.engines.databases import Place
from tests.service.processes import started

pytestmark = pytest.mark.every_engine

ROOT = Path(__file__).parents[2]
INITDB = sorted((ROOT / "docker/initdb.d").glob("*.sql"))
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PASSWORDS = {"mds_admin_password": "an admin's 'password' \\", "mds_service_password": 'a service\'s "password"'}

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
BUILT_HERE = "market-data-store:local"


# The SQL --------------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name, text in PASSWORDS.items():
        (tmp_path / name).write_text(text + "\n")
    return tmp_path


@pytest.fixture
def logins(bare: Place) -> Iterator[dict[str, str]]:
    """Names for the two logins that no other test uses: roles belong to the whole server, and to other tests."""
    names = {role: f"{role}_{uuid4().hex[:8]}" for role in ("admin_role", "service_role")}
    with psycopg.connect(bare.superuser_dsn, autocommit=True) as connection:
        owner = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'mds_owner'").fetchone()
        yield names
        for name in names.values():
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).rowcount:
                connection.execute(f"DROP OWNED BY {name} CASCADE")
                connection.execute(f"DROP ROLE {name}")
        if owner is not None:
            connection.execute(f"ALTER ROLE mds_owner {'LOGIN' if owner[0] else 'NOLOGIN'}")
        elif connection.execute("SELECT FROM pg_roles WHERE rolname = 'mds_owner'").rowcount:
            # Made here, by a superuser: the tests' own control plane would have made it, and administers it.
            connection.execute("GRANT mds_owner, mds_app TO mds_admin WITH ADMIN OPTION")


def run_psql(
    place: Place, file: Path, secrets: Path | None, logins: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """As the image's entrypoint runs a file."""
    binaries = find_binaries(choose_account(None))
    parts = {key: str(value) for key, value in conninfo_to_dict(place.superuser_dsn).items()}
    password = parts.pop("password", "")
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": password, "PGCLIENTENCODING": "UTF8"}
    return subprocess.run(
        [
            *(binaries.program("psql"), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--no-password"),
            *(part for name, value in logins.items() for part in ("-v", f"{name}={value}")),
            *("--dbname", make_conninfo(**parts), "-f", str(file)),
        ],
        env={**environment, "MDS_SECRETS": str(secrets)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def initialised(place: Place, secrets: Path, logins: dict[str, str]) -> tuple[str, str]:
    """Run every file; the DSNs of the control plane and of an application."""
    for file in INITDB:
        done = run_psql(place, file, secrets, logins)
        assert done.returncode == 0, done.stderr
    admin = make_conninfo(place.superuser_dsn, user=logins["admin_role"], password=PASSWORDS["mds_admin_password"])
    service = make_conninfo(
        place.superuser_dsn, user=logins["service_role"], password=PASSWORDS["mds_service_password"]
    )
    return admin, service


def test_an_initialised_database_is_at_head_and_migrate_leaves_no_drift(
    bare: Place, secrets: Path, logins: dict[str, str], engine: str
) -> None:
    admin, _ = initialised(bare, secrets, logins)
    before = reads.describe(admin)
    assert before.schema_version == head()
    assert before.engine == engine
    done = migration.migrate(admin)
    assert done.before == done.after == head()
    assert migration.check(admin) == []
    assert migration.migrate(admin).objects == []


@plain_postgres
def test_the_two_logins_have_only_the_rights_they_need(bare: Place, secrets: Path, logins: dict[str, str]) -> None:
    admin, service = initialised(bare, secrets, logins)
    migration.migrate(admin)
    tenant = tenants.create_tenant(admin, "a")
    with psycopg.connect(bare.superuser_dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE one_bound_login LOGIN")
        try:
            assert tenants.bind_role(admin, "a", "one_bound_login").roles == ["one_bound_login"]
            with MDS(dsn=service, tenant_id=str(tenant.id), pool_max=1) as client:
                bar = {"vendor": "v", "symbol": "X", "timeframe": "1m", "ts": "2024-01-01T00:00:00Z", "close_price": 1}
                client.upsert_bars([Bar.model_validate(bar)])
                assert client.symbols() == ["X"]
            timescale_policies.apply_policies(admin)
            aggregates.refresh(admin)
            job = tenants.delete_tenant(admin, tenant.id, name="a")
            tenants.run_deletion(JobContext(job, admin), tenants.DeletionOrder.model_validate(job.payload))
            assert tenants.list_tenants(admin) == []
            with psycopg.connect(service) as application, pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute("SELECT FROM store.bars")
            rights = connection.execute(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles"
                " WHERE rolname = ANY(%s)",
                (list(logins.values()),),
            ).fetchall()
            assert rights == [(False,), (False,)]
        finally:
            connection.execute("DROP OWNED BY one_bound_login; DROP ROLE one_bound_login")


def test_the_initialisation_files_can_run_twice(bare: Place, secrets: Path, logins: dict[str, str]) -> None:
    initialised(bare, secrets, logins)
    done = run_psql(bare, INITDB[-1], secrets, logins)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


@plain_postgres
@pytest.mark.parametrize("missing", ["folder", "file", "text"])
def test_no_login_is_created_without_valid_password_files(
    bare: Place, secrets: Path, logins: dict[str, str], missing: str
) -> None:
    if missing == "file":
        (secrets / "mds_service_password").unlink()
    elif missing == "text":
        (secrets / "mds_admin_password").write_text("short\n")
    done = run_psql(bare, INITDB[-1], secrets / "nowhere" if missing == "folder" else secrets, logins)
    assert done.returncode == 3
    assert "files of 16 characters or more" in done.stderr
    with psycopg.connect(bare.superuser_dsn) as connection:
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = ANY(%s)", (list(logins.values()),))
        assert found.rowcount == 0


def test_the_initialisation_files_are_ordered_by_name() -> None:
    assert [file.name for file in INITDB] == ["00_timescale.sql", "10_logins.sql"]


# The secrets ----------------------------------------------------------------------------------------------------


def make_secrets(folder: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", ROOT / "docker/make-secrets.sh", folder], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_secrets_are_created_once_random_and_private(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert len(make_secrets(first).splitlines()) == 9
    made = {file.name: file.read_text() for file in first.iterdir()}
    assert make_secrets(first) == ""
    assert {file.name: file.read_text() for file in first.iterdir()} == made
    make_secrets(second)
    assert not {file.read_text() for file in second.iterdir()} & set(made.values())
    assert all(len(text) >= 64 for text in made.values())
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


def test_generated_secrets_match_what_the_services_expect(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    known = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert known | {"admin_token"} == {file.name for file in tmp_path.iterdir()}
    settings = config.load({"DATABASE_URL_FILE": str(tmp_path / "database_url")})
    parts = conninfo_to_dict(settings.dsn())
    assert (parts["host"], parts["user"], parts["dbname"]) == ("db", "mds_admin", "market")
    assert parts["password"] == (tmp_path / "mds_admin_password").read_text()
    lines = (tmp_path / "tokens").read_text().splitlines()
    for line, name, scope, file in zip(
        lines, ("prometheus", "operator"), ("read", "admin"), ("metrics_token", "admin_token"), strict=True
    ):
        token = (tmp_path / file).read_text()
        assert token.startswith(tokens.PREFIX)
        assert line == f"{name} {scope} sha256:{sha256(token.encode()).hexdigest()}"


@pytest.mark.many_sessions
def test_the_service_can_be_configured_by_files_and_prometheus_can_scrape_it(store: Store, tmp_path: Path) -> None:
    make_secrets(tmp_path)
    dsn = tmp_path / "dsn"
    dsn.write_text(store.admin_dsn)
    environment = {"DATABASE_URL_FILE": str(dsn), "DATASTORE_TOKENS_FILE": str(tmp_path / "tokens")}
    with started("serve", "--port", "0", "--json", **environment) as process:
        url = json.loads(process.line())["url"]
        assert httpx.get(f"{url}/metrics").status_code == 401
        bearer = {"Authorization": f"Bearer {(tmp_path / 'metrics_token').read_text()}"}
        answer = httpx.get(f"{url}/metrics", headers=bearer)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert "datastore_database_up 1.0" in answer.text
        # Reading is all that it may.
        assert httpx.post(f"{url}/tenants", headers=bearer, json={"name": "x"}).status_code == 403
        assert httpx.get(f"{url}/ready").status_code == 200


def test_the_dsn_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://db/market\n")
    named = {"DATABASE_URL_FILE": str(tmp_path / "dsn")}
    assert config.load(named).database_url == "postgresql://db/market"
    assert (
        config.load({**named, "DATABASE_URL": "postgresql://other/market"}).database_url == "postgresql://other/market"
    )
    with pytest.raises(config.SettingsError, match=r"DATABASE_URL_FILE: .* cannot be read"):
        config.load({"DATABASE_URL_FILE": str(tmp_path / "nowhere")})


# The compose file -----------------------------------------------------------------------------------------------


def test_the_compose_file_is_valid_and_references_only_defined_services() -> None:
    """Against the specification: unknown keys, wrong values, and secrets, volumes and services that are not there."""
    plain = {key: value for key, value in yaml.safe_load(COMPOSE).items() if not key.startswith("x-")}
    # With the variables' defaults in place, which the specification's own types do not read.
    found = PyCompose.from_yaml(interpolated(yaml.safe_dump(plain)))
    found.validate()
    assert set(found.service_names()) == {"db", "migrate", "service", "worker", "prometheus", "grafana"}
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_sandboxed_health_checked_and_on_loopback(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert service["image"] == BUILT_HERE or re.fullmatch(r"v?\d+\.\d+\.\d+(-[a-z0-9]+)?", tag)
    assert ("build" in service) == (service["image"] == BUILT_HERE)
    uid, _, gid = service["user"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    health = service["healthcheck"]
    assert health == {"disable": True} if name == "migrate" else health["test"][0] == "CMD"
    for condition in service.get("depends_on", {}).values():
        assert condition["condition"] in ("service_healthy", "service_completed_successfully")


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_passed_only_as_mounted_files(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|DATABASE_URL|KEY", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    for secret in yaml.safe_load(COMPOSE)["secrets"].values():
        assert secret["file"].startswith("./docker/secrets/")
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def interpolated(text: str, **variables: str) -> str:
    """Text as compose reads it: ${A:-b} is b where A is not set or empty, ${A:+b} where it is."""

    def value(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        return (given or found["text"]) if found["sort"] == "-" else (given and found["text"])

    return re.sub(r"\$\{(?P<name>\w+):(?P<sort>[-+])(?P<text>[^}]*)\}", value, text)


@pytest.mark.parametrize("name", ["service", "worker"])
def test_backfill_sources_are_empty_by_default_and_set_by_the_operator(name: str) -> None:
    environment, volumes = SERVICES[name]["environment"], SERVICES[name]["volumes"]

    def settings(**variables: str) -> config.Settings:
        return config.load({key: interpolated(value, **variables) for key, value in environment.items()
                            if key.startswith("DATASTORE_SOURCE")})  # fmt: skip

    assert (settings().source_root, settings().source_urls, settings().source_vendors) == (None, (), ())
    assert settings(DATASTORE_SOURCE_VENDORS="yfinance,ccxt").source_vendors == ("yfinance", "ccxt")
    named = settings(DATASTORE_SOURCE_ROOT="/home/me/vendor", DATASTORE_SOURCE_URLS="https://a, https://b")
    assert (named.source_root, named.source_urls) == (Path("/sources"), ("https://a", "https://b"))
    mounted = [interpolated(volume, DATASTORE_SOURCE_ROOT="/home/me/vendor") for volume in volumes]
    assert "/home/me/vendor:/sources:ro" in mounted


def test_mounted_files_and_volumes_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, target, *options = interpolated(volume).split(":")
            if source.startswith("."):
                assert (ROOT / source).exists()
                assert options == ["ro"]
            else:
                assert source in yaml.safe_load(COMPOSE)["volumes"]
            assert target.startswith("/")
    mounted = [volume for volume in SERVICES["db"]["volumes"] if "initdb.d" in volume]
    assert len(mounted) == len(INITDB)


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service["image"] == BUILT_HERE])
def test_container_commands_and_their_options_exist(name: str) -> None:
    command, *options = SERVICES[name]["command"]
    assert (command,) in set(commands(command_line()))
    known = {option for parameter in command_line().commands[command].params for option in parameter.opts}
    assert {option for option in options if option.startswith("-")} <= known


def test_prometheus_scrapes_the_ports_on_which_services_listen() -> None:
    jobs = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {job["static_configs"][0]["targets"][0] for job in jobs}
    ports = {f"{name}:{SERVICES[name]['command'][-1]}" for name in ("service", "worker")}
    assert targets == ports
    token = jobs[0]["authorization"]["credentials_file"]
    assert token.removeprefix("/run/secrets/") in SERVICES["prometheus"]["secrets"]


# The image ------------------------------------------------------------------------------------------------------


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of the Dockerfile, by stage."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def test_the_image_is_pinned_multi_stage_and_runs_as_an_unprivileged_user() -> None:
    build, final = stages()
    for stage in (build, final):
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+( AS build)?", stage[0][1])
    assert dict(final)["USER"] == "10001:10001"
    after_user = [word for word, _ in final[[word for word, _ in final].index("USER") :]]
    assert "RUN" not in after_user
    assert "COPY" not in after_user
    # No build tool of ours in it: what was built comes from the other stage.
    assert [rest.split()[0] for word, rest in final if word == "COPY"] == ["--from=build"]
    assert not any("pip" in rest or "apt" in rest for word, rest in final if word == "RUN")
    assert dict(final)["ENTRYPOINT"] == '["datastore"]'
    assert "/health" in dict(final)["HEALTHCHECK"]


def test_the_image_has_no_secret_and_copies_only_needed_files() -> None:
    for stage in stages():
        for word, rest in stage:
            assert word != "ARG"
            assert word != "ENV" or not re.search(r"(?i)password|token|secret|database_url", rest)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {part for word, rest in stages()[0] if word == "COPY" for part in rest.split()[:-1]}
    assert copied == allowed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} <= copied
    extras = re.search(r"\.\[([\w,]+)\]", DOCKERFILE)
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
