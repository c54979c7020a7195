"""The test servers themselves: what every other suite relies on when it runs on them."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datastore.embedded import EmbeddedServer
from tests.engines import (
    ApacheServer,
    CommunityServer,
    EngineServer,
    EngineUnavailable,
    GivenServer,
    given_postgres,
    must_have,
    server,
)
from tests.engines.apache import RECIPE
from tests.engines.base import cache_folder
from tests.engines.debian import COMPLETE, Swap, choose, works

Connection = psycopg.Connection[tuple[object, ...]]


def started(engine: EngineServer) -> EngineServer:
    try:
        engine.start()
    except EngineUnavailable as reason:
        (pytest.fail if must_have() else pytest.skip)(f"{engine.name}: {reason}")
    return engine


@pytest.fixture(scope="module")
def apache() -> Iterator[ApacheServer]:
    engine = ApacheServer()
    started(engine)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def community_process() -> Iterator[CommunityServer]:
    """The Community server as the test before left it, which is all that a test of the protocol needs."""
    engine = CommunityServer()
    started(engine)
    yield engine
    engine.stop()


@pytest.fixture
def community(community_process: CommunityServer) -> CommunityServer:
    """The Community server with an empty database."""
    community_process.reset(to_base=True)
    return community_process


def connect(engine: EngineServer, user: str | None = None, **more: str) -> Connection:
    dsn = make_conninfo(engine.superuser_dsn(), user=user, **more)
    return psycopg.connect(dsn, autocommit=True, connect_timeout=60)


def one(connection: Connection, sql: LiteralString) -> tuple[object, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return row


# Two tenants' bars in a private table, behind a view that shows and takes the first tenant's only.
BARS: LiteralString = """
CREATE EXTENSION IF NOT EXISTS timescaledb;
CREATE ROLE app LOGIN PASSWORD 'app';
CREATE SCHEMA store;
CREATE TABLE store.bars (series_id bigint, ts timestamptz, close float8, PRIMARY KEY (series_id, ts));
INSERT INTO store.bars
  SELECT s, timestamptz '2024-01-01Z' + m * interval '1 minute', s + m
  FROM unnest(ARRAY[1, 2, 101]) s, generate_series(0, 2879) m;
SELECT create_hypertable('store.bars', by_range('ts', interval '1 day'), migrate_data => true);
CREATE VIEW bars WITH (security_barrier) AS
  SELECT * FROM store.bars WHERE series_id >= (SELECT 0) AND series_id < (SELECT 100)
  WITH CASCADED CHECK OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE ON bars TO app;
"""
UPSERT: LiteralString = """
INSERT INTO bars VALUES (1, '2024-01-01 00:01Z', -1), (1, '2024-01-01 12:00:30Z', -2)
ON CONFLICT (series_id, ts) DO UPDATE SET close = excluded.close
"""


@pytest.fixture(scope="module")
def bars(apache: ApacheServer) -> Iterator[Connection]:
    """The application role's connection to the bars on the Apache server."""
    with connect(apache) as admin:
        admin.execute(BARS)
    with connect(apache, user="app", password="app") as app:
        yield app


class TestApache:
    def test_a_table_with_data_becomes_a_hypertable(self, apache: ApacheServer, bars: Connection) -> None:
        with connect(apache) as admin:
            assert one(admin, "SELECT count(*) FROM show_chunks('store.bars')") == (2,)
            assert one(admin, "SELECT count(*) FROM store.bars") == (3 * 2880,)

    def test_an_upsert_works_through_a_security_barrier_view(self, bars: Connection) -> None:
        assert bars.execute(UPSERT).rowcount == 2
        assert one(bars, "SELECT count(*), sum(close) FILTER (WHERE close < 0) FROM bars") == (5761, -3)

    def test_rows_of_others_and_chunks_are_inaccessible(self, apache: ApacheServer, bars: Connection) -> None:
        with pytest.raises(errors.WithCheckOptionViolation):
            bars.execute("INSERT INTO bars VALUES (101, '2024-01-01 00:00:30Z', 0)")
        with connect(apache) as admin:
            chunk = one(admin, "SELECT show_chunks('store.bars')::text LIMIT 1")[0]
        with pytest.raises(errors.InsufficientPrivilege):
            bars.execute(psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.SQL(str(chunk))))

    def test_features_outside_the_apache_licence_are_rejected(self, apache: ApacheServer, bars: Connection) -> None:
        with connect(apache) as admin:
            assert one(admin, "SHOW timescaledb.license") == ("apache",)
            with pytest.raises(errors.FeatureNotSupported, match='"apache" license'):
                admin.execute("ALTER TABLE store.bars SET (timescaledb.enable_columnstore)")

    def test_connections_are_served_concurrently(self, apache: ApacheServer, bars: Connection) -> None:
        with connect(apache) as first, connect(apache, options="-c lock_timeout=50ms") as second:
            first.execute("BEGIN; LOCK TABLE store.bars")
            with pytest.raises(errors.LockNotAvailable):
                second.execute("SELECT count(*) FROM store.bars")

    def test_a_wrong_password_is_refused(self, apache: ApacheServer) -> None:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(apache, password="wrong")

    def test_the_server_accepts_unix_socket_connections(self, apache: ApacheServer) -> None:
        with psycopg.connect(apache.superuser_dsn(unix_socket=True)) as connection:
            assert connection.info.hostaddr == ""
            assert one(connection, "SELECT inet_server_addr()") == (None,)

    def test_the_version_is_reported(self, apache: ApacheServer) -> None:
        assert apache.version.startswith("TimescaleDB 2.")

    def test_stopping_it_removes_its_data(self) -> None:
        engine = ApacheServer()
        started(engine)
        dsn = engine.superuser_dsn(unix_socket=True)
        folder = Path(str(conninfo_to_dict(dsn)["host"]))
        assert folder.exists()
        engine.stop()
        assert not folder.exists()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn)


class TestCommunity:
    def test_compressed_rows_are_restored_by_a_reset(self, community: CommunityServer) -> None:
        compress(community)
        community.snapshot()
        with connect(community) as admin:
            admin.execute("DROP TABLE store.bars CASCADE")
        community.reset()
        with connect(community, user="app") as app:
            assert one(app, "SELECT count(*), sum(close) FROM bars") == (5760, 8300160)
            assert app.execute(UPSERT).rowcount == 2

    def test_a_session_has_the_real_role_of_the_client(self, community: CommunityServer) -> None:
        with connect(community) as admin:
            admin.execute("""
                CREATE ROLE app LOGIN; CREATE SCHEMA store; GRANT USAGE ON SCHEMA store TO app;
                CREATE FUNCTION store.who() RETURNS text[] LANGUAGE sql SECURITY DEFINER SET search_path = ''
                AS 'SELECT ARRAY[session_user, current_user]'""")
        with connect(community, user="app") as app:
            for statement in ("RESET ALL", "RESET SESSION AUTHORIZATION", "RESET ROLE", "DISCARD ALL"):
                app.execute(statement)
                assert one(app, "SELECT store.who(), current_user") == (["app", "postgres"], "app")
            for forbidden in ("SET ROLE postgres", "CREATE ROLE other", "SELECT * FROM pg_authid"):
                with pytest.raises(errors.InsufficientPrivilege):
                    app.execute(forbidden)
            assert app.info.parameter_status("is_superuser") == "off"

    def test_settings_of_role_and_dsn_are_session_defaults(self, community: CommunityServer) -> None:
        with connect(community) as admin:
            admin.execute("CREATE ROLE app LOGIN; ALTER ROLE app SET app.of_role = 'r'")
        options = r"-c app.tenant_id=a\ b --statement-timeout=7s"
        shown: LiteralString = """SELECT current_setting('app.of_role'), current_setting('app.tenant_id'),
            current_setting('statement_timeout'), current_setting('application_name')"""
        with connect(community, user="app", options=options, application_name="mine") as app:
            assert one(app, shown) == ("r", "a b", "7s", "mine")
            app.execute("SET app.tenant_id = 'other'")
            app.execute("DISCARD ALL")
            assert one(app, shown) == ("r", "a b", "7s", "mine")
        with connect(community) as admin:
            assert one(
                admin,
                """SELECT current_setting('app.of_role'), current_setting('app.tenant_id'),
                          current_setting('statement_timeout'), session_user""",
            ) == ("", "", "0", "postgres")

    def test_a_session_starts_with_the_settings_of_a_real_server(self, community_process: CommunityServer) -> None:
        with connect(community_process) as admin:
            assert one(
                admin,
                """SELECT current_setting('search_path'), current_setting('enable_seqscan'),
                          current_setting('allow_system_table_mods'), current_setting('TimeZone')""",
            ) == ('"$user", public', "on", "off", "GMT")
            assert admin.info.server_version >= 170000
            assert admin.info.encoding == "utf-8"

    @pytest.mark.parametrize(
        ("parameters", "reason"),
        [
            ({"user": "nobody"}, 'role "nobody" does not exist'),
            ({"user": "pg_monitor"}, 'role "pg_monitor" is not permitted to log in'),
            ({"dbname": "other"}, 'database "other" does not exist'),
            ({"options": "-c work_mem=much"}, 'invalid value for parameter "work_mem"'),
        ],
    )
    def test_a_login_is_refused_as_a_real_server_would(
        self, community_process: CommunityServer, parameters: dict[str, str], reason: str
    ) -> None:
        with pytest.raises(psycopg.OperationalError, match=reason):
            connect(community_process, **parameters)

    def test_a_binary_copy_of_megabytes_is_read_back_unchanged(self, community_process: CommunityServer) -> None:
        with connect(community_process) as connection:
            connection.execute("CREATE TEMP TABLE t (n int4, s text)")
            rows = [(n, "x" * (n % 97)) for n in range(60_000)]
            with connection.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                for row in rows:
                    copy.write_row(row)
            with connection.cursor().copy("COPY (TABLE t ORDER BY n) TO STDOUT (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                assert list(copy.rows()) == rows

    def test_an_invalid_copy_row_is_an_error_and_keeps_the_connection(self, community_process: CommunityServer) -> None:
        with connect(community_process) as connection:
            connection.execute("CREATE TEMP TABLE t (n int4)")
            with (
                pytest.raises(errors.InvalidTextRepresentation),
                connection.cursor().copy("COPY t FROM STDIN") as copy,
            ):
                copy.write("1\nx\n" * 100_000)
            assert one(connection, "SELECT count(*) FROM t") == (0,)

    def test_a_pipeline_answers_in_order_and_an_error_skips_the_rest(self, community_process: CommunityServer) -> None:
        with connect(community_process) as connection:
            with connection.pipeline():
                answers = [connection.execute("SELECT %s::int", [n]) for n in range(300)]
                assert [answer.fetchone() for answer in answers] == [(n,) for n in range(300)]
            connection.execute("CREATE TEMP TABLE t (n int PRIMARY KEY)")
            with pytest.raises(errors.UniqueViolation):
                insert_in_a_pipeline(connection, 1, 1, 2)
            assert one(connection, "SELECT count(*) FROM t") == (0,)
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO t VALUES (%s)", [(n,) for n in range(5000)])
            assert one(connection, "SELECT count(*) FROM t") == (5000,)

    def test_a_disconnected_client_leaves_no_session_state_for_the_next(
        self, community_process: CommunityServer
    ) -> None:
        with connect(community_process) as admin:
            admin.execute("CREATE TABLE visited (n int)")
        first = connect(community_process)
        first.execute("SET work_mem = '9MB'; CREATE TEMP TABLE mine (n int); PREPARE mine AS SELECT 1")
        first.execute("SELECT pg_advisory_lock(1); BEGIN; INSERT INTO visited VALUES (1)")
        first.close()
        with connect(community_process) as second:
            assert one(
                second,
                """SELECT (SELECT count(*) FROM visited), (SELECT count(*) FROM pg_prepared_statements),
                          to_regclass('mine'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
                          current_setting('work_mem')""",
            ) == (0, 0, None, 0, "4MB")

    def test_a_client_that_disconnects_during_copy_leaves_nothing(self, community_process: CommunityServer) -> None:
        with connect(community_process) as admin:
            admin.execute("CREATE TABLE lost (n int)")
        lost = connect(community_process)
        lost.pgconn.exec_(b"COPY lost FROM STDIN")
        lost.pgconn.put_copy_data(b"1\n" * 100_000)
        lost.pgconn.finish()
        with connect(community_process) as admin:
            assert one(admin, "SELECT count(*) FROM lost") == (0,)

    def test_clients_alternate_between_transactions(self, community: CommunityServer) -> None:
        with connect(community) as admin:
            admin.execute("CREATE ROLE app LOGIN; CREATE TABLE turns (n int); GRANT INSERT ON turns TO app")
            with connect(community, user="app") as app, connect(community, user="app") as other:
                for turn in range(3):
                    with app.transaction():
                        app.execute("INSERT INTO turns VALUES (%s)", [turn])
                    assert one(admin, "SELECT count(*), session_user FROM turns") == (turn + 1, "postgres")
                    assert one(other, "SELECT session_user, current_user") == ("app", "app")

    def test_a_client_keeps_its_settings_when_clients_alternate(self, community: CommunityServer) -> None:
        shown: LiteralString = """SELECT current_user, current_setting('TimeZone'), current_setting('search_path'),
            current_setting('app.tenant_id', true), current_setting('application_name')"""
        with connect(community) as admin:
            admin.execute("CREATE ROLE app LOGIN; CREATE ROLE work; GRANT work TO app")
            with connect(community, user="app", application_name="first") as app:
                app.execute("SET ROLE work; SET TimeZone = 'Asia/Tokyo'; SET search_path = ''; SET app.tenant_id = 't'")
                there = ("work", "Asia/Tokyo", '""', "t", "first")
                assert one(app, shown) == there
                assert one(admin, shown)[:2] == ("postgres", "GMT")
                assert one(app, shown) == there
                app.execute("RESET ALL; RESET ROLE")
                assert one(app, shown)[:2] == ("app", "GMT")
                assert one(admin, shown)[:2] == ("postgres", "GMT")
                assert one(app, shown)[:2] == ("app", "GMT")

    def test_a_changed_setting_is_reported_to_the_client(self, community_process: CommunityServer) -> None:
        with connect(community_process) as first, connect(community_process) as second:
            first.execute("SET TimeZone = 'Asia/Tokyo'")
            assert one(second, "SELECT 1") == (1,)
            assert one(first, "SELECT timestamptz '2024-01-01 00:00Z'::text") == ("2024-01-01 09:00:00+09",)
            assert (first.info.parameter_status("TimeZone"), second.info.parameter_status("TimeZone")) == (
                "Asia/Tokyo",
                "GMT",
            )

    def test_a_transaction_holds_the_session_exclusively(self, community_process: CommunityServer) -> None:
        with connect(community_process) as first, connect(community_process) as second:
            first.execute("BEGIN; CREATE TEMP TABLE mine (n int)")
            served = threading.Event()

            def ask() -> None:
                one(second, "SELECT 1")
                served.set()

            asking = threading.Thread(target=ask)
            asking.start()
            assert not served.wait(0.2)
            assert one(first, "SELECT count(*) FROM mine") == (0,)
            first.execute("COMMIT")
            assert served.wait(30)
            asking.join()

    def test_a_flush_between_transactions_does_not_start_one(self, community_process: CommunityServer) -> None:
        with (
            connect(community_process) as first,
            connect(community_process) as second,
            connect(community_process) as third,
        ):
            assert one(first, "SELECT 1") == (1,)
            assert one(second, "SELECT 2") == (2,)
            # psycopg's pipelines end with one where their answers come in parts: it may be late, and has no answer.
            first.pgconn.enter_pipeline_mode()
            first.pgconn.send_flush_request()
            assert first.pgconn.flush() == 0
            for turn in range(5):
                for other in (second, third):
                    assert other.execute("SELECT %s::int", [turn]).fetchone() == (turn,)
            first.pgconn.exit_pipeline_mode()
            assert one(first, "SELECT 1") == (1,)

    def test_a_client_that_waits_too_long_gets_the_role_that_holds_the_session(self) -> None:
        engine = CommunityServer(patience=0.2)
        started(engine)
        try:
            with connect(engine) as waits, connect(engine) as holds:
                holds.execute("BEGIN")
                for ask in (lambda: connect(engine), lambda: waits.execute("SELECT 1")):
                    with pytest.raises(psycopg.OperationalError, match='session is taken by role "postgres"'):
                        ask()
                holds.execute("COMMIT")
        finally:
            engine.stop()

    def test_a_reset_disconnects_clients_and_keeps_the_address(self, community: CommunityServer) -> None:
        before = community.superuser_dsn()
        with connect(community) as held:
            held.execute("CREATE TABLE t ()")
            community.reset()
            with pytest.raises(psycopg.OperationalError):
                held.execute("SELECT 1")
        assert community.superuser_dsn() == before
        with connect(community) as next_one:
            assert one(next_one, "SELECT to_regclass('t')") == (None,)


def insert_in_a_pipeline(connection: Connection, *numbers: int) -> None:
    with connection.pipeline():
        for number in numbers:
            connection.execute("INSERT INTO t VALUES (%s)", [number])


def compress(community: CommunityServer) -> None:
    """The bars, both days of them in the columnstore."""
    with connect(community) as admin:
        admin.execute(BARS)
        admin.execute("""ALTER TABLE store.bars SET (timescaledb.enable_columnstore,
            timescaledb.segmentby = 'series_id', timescaledb.orderby = 'ts')""")
        for (chunk,) in admin.execute("SELECT show_chunks('store.bars')::text").fetchall():
            admin.execute("CALL convert_to_columnstore(%s::regclass)", [chunk])
        assert one(admin, "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed") == (2,)


class TestWithoutAServer:
    def test_the_environment_can_name_an_external_server(self) -> None:
        given = server("timescale", {"MDS_TEST_TIMESCALE_DSN": "host=db.invalid user=me dbname=mine"})
        assert isinstance(given, GivenServer)
        assert conninfo_to_dict(given.superuser_dsn("other")) == {
            "host": "db.invalid",
            "user": "me",
            "dbname": "other",
        }

    def test_an_external_server_can_be_plain_postgresql(self, server: EmbeddedServer) -> None:
        assert given_postgres({}) is None
        given = given_postgres({"MDS_TEST_POSTGRES_DSN": server.superuser_dsn("postgres")})
        assert given is not None
        assert re.fullmatch(r"PostgreSQL \d+\.\d+", given.available())

    def test_an_external_server_that_does_not_respond_is_unavailable(self, tmp_path: Path) -> None:
        given = server("timescale-apache", {"MDS_TEST_APACHE_DSN": f"host={tmp_path}"})
        with pytest.raises(EngineUnavailable, match=r"^MDS_TEST_APACHE_DSN: .*No such file"):
            given.start()

    @pytest.mark.parametrize(("ci", "failure"), [("true", True), ("1", True), ("", False), ("false", False)])
    def test_a_missing_engine_is_a_failure_in_ci_only(self, ci: str, failure: bool) -> None:
        assert must_have({"CI": ci}) is failure
        assert not must_have({})

    def test_the_cache_is_where_the_environment_says(self, tmp_path: Path) -> None:
        folder = tmp_path / "made" / "here"
        assert cache_folder({"MDS_TEST_CACHE": str(folder)}) == folder
        assert folder.is_dir()

    def test_an_incomplete_or_broken_installation_is_not_used(self, tmp_path: Path) -> None:
        assert not works(RECIPE, tmp_path)
        (tmp_path / COMPLETE).touch()
        assert not works(RECIPE, tmp_path)

    @pytest.mark.parametrize(
        ("line", "swapped"),
        [
            ("deb http://a.invalid/debian bookworm main contrib", "deb http://a.invalid/debian trixie main"),
            (
                "deb [signed-by=/k.gpg] http://a.invalid/s bookworm-security main",
                "deb [signed-by=/k.gpg] http://a.invalid/s trixie-security main",
            ),
            ("deb http://a.invalid/debian bookworm-backports main", None),
            ("deb http://b.invalid/other nodistro main", None),
            ("deb-src http://a.invalid/debian bookworm main", None),
            ("# deb http://a.invalid/debian bookworm main", None),
        ],
    )
    def test_a_one_line_debian_source_is_switched_to_the_other_suite(self, line: str, swapped: str | None) -> None:
        assert Swap("bookworm").line(line) == swapped

    def test_a_deb822_debian_source_is_switched_to_the_other_suite(self) -> None:
        stanza = "# why\nTypes: deb deb-src\nURIs: http://a.invalid/d\nSuites: {}\nComponents: {}\nSigned-By: /k"
        assert Swap("bookworm").stanza(
            stanza.format("bookworm bookworm-updates bookworm-backports", "main contrib")
        ) == ("Types: deb\nURIs: http://a.invalid/d\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /k")
        assert Swap("bookworm").stanza(stanza.format("nodistro", "main")) is None
        assert Swap("bookworm").stanza(stanza.format("bookworm", "contrib")) is None
        assert Swap("bookworm").stanza(stanza.format("bookworm", "main") + "\nEnabled: no") is None

    def test_only_the_server_and_its_libraries_are_chosen_from_simulated_packages(self) -> None:
        simulated = "".join(
            f"Inst {name} (1.2-3 Debian:13/stable [amd64])\nConf {name} (1.2-3)\n"
            for name in ("libc6", "zlib1g", "perl", "libperl5.40", "libllvm19", "adduser", "postgresql-17")
        )
        assert choose(RECIPE, simulated) == {
            "libc6": "1.2-3",
            "zlib1g": "1.2-3",
            "postgresql-17": "1.2-3",
        }
