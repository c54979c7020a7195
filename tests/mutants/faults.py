"""The faults: what is changed where, and the tests that have to notice it.

A fault that no test notices is a test that is missing. Add one here for each part that you build.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """A change of one place in the source. `before` occurs there; `tests` are arguments of pytest."""

    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    engine: str = "postgres"


ISOLATION = ("tests/isolation",)
BARS = ("tests/clients/test_bars.py",)
KINDS = ("tests/clients/test_kinds.py",)
FRAMES = ("tests/clients/test_frames.py",)
BOUND = ("tests/isolation/test_writes.py", "tests/clients/test_rls_helpers.py", "tests/clients/test_bad_input.py")
DYING = ("tests/clients/test_faults.py",)
BATCH = ("tests/unit/test_batch.py", "tests/clients/test_batch.py")
POLICIES = ("tests/control/test_policies.py",)
ROLLUPS = ("tests/clients/test_rollups.py",)
WORKER = ("tests/control/test_worker.py", "tests/control/test_jobs.py")
GAPS = ("tests/control/test_gaps.py", "tests/control/test_calendars.py")
BACKFILL = ("tests/control/test_backfill.py",)
LIFECYCLE = ("tests/control/test_tenant_lifecycle.py", "tests/control/test_tenants.py")
SECURITY = ("tests/service/test_security.py", "tests/service/test_isolation.py")
SOURCES = ("tests/control/test_sources.py",)
INTERRUPTED = ("tests/clients/test_interrupted_calls.py", "tests/clients/test_silence.py")
LOAD = ("tests/control/test_load.py",)
TIMES = ("tests/unit/test_times.py",)
COLLISIONS = ("tests/clients/test_collisions.py",)
CASED = ("tests/clients/test_case_sensitive.py",)
ASKED = ("tests/clients/test_missing.py",)
DELETES = ("tests/clients/test_delete.py",)
SHARED = ("tests/clients/test_shared_ids.py",)
COLD = ("tests/control/test_cold.py",)
VENDORS = ("tests/clients/test_vendors.py",)
STREAM = ("tests/clients/test_stream.py",)
CONSOLE = ("tests/console/test_walls.py",)
SIGNING_IN = ("tests/console/test_signing_in.py",)
QUERYING = ("tests/console/test_sql.py",)

DECLARED = "src/datastore/schema/declared.py"
DOORS = "src/datastore/schema/doors.py"
FUNCTIONS = "src/datastore/schema/functions.py"
SQL = "src/mds_client/sql/reads.py"
CONDITIONS = "src/mds_client/sql/basis.py"
UPSERTS = "src/mds_client/writing/upserts.py"
BATCHES = "src/mds_client/writing/source.py"
ROWS = "src/mds_client/columns/rows.py"
ANSWERS = "src/mds_client/reading/answers.py"
ARGUMENTS = "src/mds_client/reading/arguments.py"
READS = "src/mds_client/reading/reads.py"
BASE = "src/datastore/engines/base.py"
APACHE = "src/datastore/engines/apache.py"
TIMESCALE = "src/datastore/engines/timescale.py"
BATCHING = "src/mds_client/batching/core.py"
LEASES = "src/datastore/worker/leases.py"
CONNECTIONS = "src/mds_client/protocol/connections.py"
WINDOWS = "src/datastore/gaps/timeframes.py"
GATE = "src/datastore/service/security.py"

FAULTS: Final = (
    # Isolation
    Fault(DECLARED, "{id} >= (SELECT {store}.tenant_floor()) AND {id} <", "{id} <", ISOLATION),
    Fault(DECLARED, "AND {id} < (SELECT {store}.tenant_ceiling())", "", ISOLATION),
    Fault(DECLARED, "({id} >> {bits}) = (SELECT {store}.tenant_no())", "({id} >> {bits}) > 0", ISOLATION),
    Fault(DECLARED, "WITH (security_barrier) AS", "AS", ISOLATION),
    Fault(FUNCTIONS, "t.no = found_no AND t.disabled_at IS NULL", "t.no = found_no", ISOLATION),
    Fault(FUNCTIONS, "::uuid AND t.disabled_at IS NULL", "::uuid", (*ISOLATION, *LIFECYCLE)),
    Fault(FUNCTIONS, "WHERE r.role = session_user", "WHERE r.role = current_user", ISOLATION),
    Fault(FUNCTIONS, "(store.tenant_no()::bigint + 1) <<", "(store.tenant_no()::bigint + 2) <<", ISOLATION),
    Fault(FUNCTIONS, "IF tenant_floor IS NULL THEN", "IF false THEN", ISOLATION),
    Fault(
        FUNCTIONS,
        "IF wanted IS NULL OR wanted = (SELECT t.id",
        "IF true OR wanted = (SELECT t.id",
        INTERRUPTED + ISOLATION,
    ),
    Fault(FUNCTIONS, "IF wanted IS NULL OR wanted = current THEN", "IF true THEN", ISOLATION),
    Fault(DOORS, 'own=own_or_refused(Identifier("new", "series_id"))', 'own=Identifier("new", "series_id")', ISOLATION),
    Fault(DOORS, 'SQL("GRANT INSERT ON {} TO {}")', 'SQL("GRANT SELECT, INSERT, DELETE ON {} TO {}")', ISOLATION),
    # Doors and last values
    Fault(DOORS, 'SQL("t.{} IS DISTINCT FROM {}")', 'SQL("true OR t.{} IS DISTINCT FROM {}")', KINDS),
    Fault(DOORS, 'condition = SQL("({}) AND ({})").format(condition, some)', "pass", COLLISIONS),
    Fault(DOORS, "THEN {1}.refuse_shared() ELSE {2} END", "THEN {2} ELSE {2} END", SHARED),
    Fault(DOORS, 'SQL("coalesce(excluded.{name}, t.{name})")', 'SQL("coalesce(t.{name}, excluded.{name})")', BARS),
    Fault(DOORS, "greatest(s.last_ts, n.last_ts)", "n.last_ts", BARS),
    Fault(DOORS, "on_conflict = 'keep' AND n.price_ts <= s.last_ts", "false", BARS),
    Fault(DOORS, "ORDER BY b.{time} DESC LIMIT 1", "ORDER BY b.{time} LIMIT 1", BARS),
    Fault(DOORS, "IF held < cardinality(ids) OR", "IF", (*DYING, *LIFECYCLE)),
    Fault(DOORS, "OR named <> renames THEN", "THEN", ("tests/clients/test_rename.py",)),
    # Upserts
    Fault(
        ROWS,
        "for key, narrow in zip(keys, rows, strict=True):",
        "for key, narrow in zip(reversed(keys), reversed(rows), strict=True):",
        COLLISIONS,
    ),
    # `last` says which rows are appended. A wrong answer takes time and changes no row, so no fault of it is here.
    Fault(UPSERTS, "if claimed.keys() - {session.tenant_id}:", "if False:", BOUND),
    Fault(UPSERTS, "if error.sqlstate != UniqueViolation.sqlstate:", "if True:", FRAMES),
    Fault(
        UPSERTS,
        '            session.forget()\n            raise StaleSeries("a cached',
        '            raise StaleSeries("a cached',
        (*DYING, *BARS),
    ),
    Fault(BATCHES, "self.written += size", "pass", (*BARS, *FRAMES)),
    Fault(ROWS, "first += len(some)", "pass", ("tests/clients/test_bad_input.py", "tests/clients/test_bars.py")),
    # Statements and reads
    Fault(CONDITIONS, '"{0} >= %s AND {0} < %s"', '"{0} >= %s AND {0} <= %s"', BARS),
    Fault(CONDITIONS, '"{0} >= %s AND {0} < %s"', '"{0} > %s AND {0} < %s"', BARS),
    Fault(SQL, "AND expiry >= %s AND", "AND expiry > %s AND", KINDS),
    Fault(SQL, "ORDER BY {contract}, {time} DESC", "ORDER BY {contract}, {time}", KINDS),
    Fault(
        SQL,
        "ORDER BY symbol, last_price_ts DESC, timeframe",
        "ORDER BY symbol, last_price_ts, timeframe",
        (*BARS, *KINDS),
    ),
    Fault(SQL, "strpos(lower(title), lower(%s)) > 0", "strpos(title, %s) > 0", KINDS),
    Fault(READS, 'answer = sorted(found, key=lambda row: cast("Any", row).symbol)', "answer = found", KINDS),
    Fault(ARGUMENTS, "if start > end:", "if False:", (*BARS, "tests/clients/test_bad_input.py")),
    Fault(
        ARGUMENTS,
        "return [spelling.stored(stored_name(vendor), one) for one in given]",
        "return given",
        (*BARS, *KINDS),
    ),
    Fault(
        "src/mds_client/values/spelling.py",
        "return as_given(symbol) if vendor in self.vendors else in_upper_case(symbol)",
        "return in_upper_case(symbol)",
        CASED,
    ),
    Fault(
        "src/datastore/schema/functions.py",
        'ORDER BY v.vendor COLLATE "C") <> vendors THEN',
        'ORDER BY v.vendor COLLATE "C") IS NULL THEN',
        CASED,
    ),
    Fault(
        "src/mds_client/columns/frames.py",
        "made._codes, made.names = made._series()",
        "pass",
        CASED,
    ),
    Fault(ANSWERS, "if len(rows) < batch_rows:\n            return", "if rows:\n            return", (*BARS, *KINDS)),
    # Engines
    Fault(BASE, "TIMESTAMPTZ '2000-01-01 00:00:00+00'", "TIMESTAMPTZ '2000-01-01 00:01:00+00'", ROLLUPS),
    Fault(BASE, 'SQL("DESC") if how == "last"', 'SQL("ASC") if how == "last"', ROLLUPS),
    Fault(
        APACHE,
        "range_end <= now() - %s::interval",
        "range_start <= now() - %s::interval",
        POLICIES,
        "timescale-apache",
    ),
    Fault(
        APACHE,
        "            driver.commit()\n            removed += count",
        "            removed += count",
        POLICIES,
        "timescale-apache",
    ),
    Fault(TIMESCALE, "(None if begin == EARLIEST else begin, end)", "(begin, end)", ROLLUPS, "timescale"),
    Fault(
        TIMESCALE,
        "(end := min(over, _earlier(chunks[1], span[1])))",
        "(end := _earlier(chunks[1], span[1]))",
        (*ROLLUPS, *ISOLATION),
        "timescale",
    ),
    # Batch processors
    Fault(
        BATCHING,
        "self._queue.extendleft(reversed(self._taken.values()))",
        "self._queue.extend(self._taken.values())",
        BATCH,
    ),
    Fault(
        BATCHING,
        "if not about_content(error):\n                return error",
        "if False:\n                return error",
        BATCH,
    ),
    Fault(BATCHING, "waiting += [part[half:], part[:half]]", "waiting += [part[:half], part[half:]]", BATCH),
    Fault(BATCHING, "full_rows = 2 * config.max_rows - len(self._taken)", "full_rows = 9 * config.max_rows", BATCH),
    Fault(BATCHING, "if self._failed_attempt >= attempt and", "if False and", BATCH),
    # Interrupted calls, silence
    # An interrupted connection is closed at once: without its `interruption` only the error of its next call differs.
    Fault(CONNECTIONS, "elif now > until:", "elif False:", INTERRUPTED),
    # Jobs
    Fault(LEASES, "FOR UPDATE OF j SKIP LOCKED\n    ), claimed", "FOR UPDATE OF j\n    ), claimed", WORKER),
    Fault(
        LEASES,
        "AND j.fence = v.fence AND j.worker = %(worker)s AND j.state = 'running'\n  FOR UPDATE OF j SKIP LOCKED\n)\n"
        "UPDATE store.jobs AS j SET leased_until",
        "AND j.state = 'running'\n  FOR UPDATE OF j SKIP LOCKED\n)\nUPDATE store.jobs AS j SET leased_until",
        (*WORKER, "tests/control/test_worker_faults.py"),
    ),
    Fault(
        LEASES,
        "WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END",
        "ELSE 'queued' END",
        (*WORKER, "tests/control/test_worker_faults.py"),
    ),
    Fault(LEASES, "ORDER BY q.priority DESC, j.due_at, j.id", "ORDER BY j.due_at, j.id", WORKER),
    # Gaps
    Fault(WINDOWS, "end and _midnight(after) <= now:", "end:", GAPS),
    Fault(WINDOWS, "end = min(end, now)", "pass", GAPS),
    Fault(WINDOWS, "until = floor(until, step)", "pass", GAPS),
    # The service
    Fault(GATE, "if token.scope < scope:", "if False:", SECURITY),
    Fault(GATE, "if store_wide and token.tenant is not None:", "if False:", SECURITY),
    Fault(GATE, "return token.tenant if tenant is None else", "return None if tenant is None else", SECURITY),
    Fault(GATE, "if token.expires is not None and token.expires <= datetime.now(UTC):", "if False:", SECURITY),
    Fault(GATE, "if found.disabled_at is not None:", "if False:", SECURITY),
    Fault(
        GATE,
        "ipaddress.ip_network((found, 64), strict=False)",
        "ipaddress.ip_network((found, 128), strict=False)",
        SECURITY,
    ),
    # Vendors' data
    Fault("src/mds_client/values/times.py", "if not FIRST <= value < END:", "if False:", TIMES),
    Fault(
        "src/mds_client/values/times.py", "raise ValueError(NO_NUMBER)\n    named_zone", "pass\n    named_zone", TIMES
    ),
    Fault("src/mds_client/values/timeframes.py", 'if found[2] == "M":', "if False:", ("tests/unit/test_models.py",)),
    Fault(DOORS, 'if way == "replace" and kind.measured:', "if False:", COLLISIONS),
    Fault("src/mds_client/columns/frames.py", "differ &= ~empty[replaced]", "pass", COLLISIONS),
    Fault(
        "src/mds_client/reading/rollups.py",
        "return _not_before(self, start), _not_before(self, end)",
        "return start, end",
        ASKED,
    ),
    Fault(SQL, "conditions.append(by_symbols(by_symbol))", "pass", ASKED),
    Fault(
        "src/datastore/schema/removal.py",
        "wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()",
        "wanted IS NOT NULL",
        ISOLATION,
    ),
    Fault("src/datastore/schema/removal.py", "SET last_ts = (SELECT max", "SET last_ts = (SELECT min", DELETES),
    Fault(
        "src/datastore/gaps/timeframes.py",
        "return min(_midnight(day), local, opens",
        "return max(_midnight(day), opens",
        GAPS,
    ),
    # Rows in files
    Fault("src/datastore/schema/cold.py", "IF FOUND THEN", "IF false THEN", COLD),
    Fault("src/datastore/schema/cold.py", "IF moving THEN", "IF false THEN", COLD),
    Fault(
        "src/datastore/schema/cold.py", "tenant_no = (SELECT {}.tenant_no())", "(SELECT {}.tenant_no()) > 0", ISOLATION
    ),
    Fault("src/datastore/cold/exporting.py", "await_older_writers(check, driver, tenant.no)", "pass", COLD),
    Fault("src/datastore/cold/exporting.py", "    if gone != expected:", "    if False:", COLD),
    Fault("src/datastore/cold/folding.py", "if not has_rows(driver, one, whose, period[1]):", "if True:", COLD),
    Fault(
        "src/datastore/cold/folding.py",
        "                if one.rollups:",
        "                if False:",
        COLD,
        "timescale",
    ),
    Fault(
        "src/datastore/engines/timescale.py",
        "r.series_id = ANY(%s) AND",
        "r.series_id >= ALL(%s) AND",
        COLD,
        "timescale",
    ),
    Fault("src/datastore/cold/owning.py", "    if owner != store:", "    if False:", COLD),
    Fault("src/datastore/cold/keeping.py", "    if is_ours(file.path):", "    if True:", COLD),
    Fault("src/datastore/cold/keeping.py", "file.path in kept or", "", COLD),
    Fault("src/datastore/cold/records.py", "            failures.append(error)", "            raise", COLD),
    Fault("src/mds_client/cold/reading.py", "        if before == after:", "        if True:", COLD),
    Fault("src/mds_client/cold/merging.py", 'elif mode == "fill":', 'elif mode == "keep":', COLD),
    Fault("src/mds_client/cold/rolling.py", 'if how == "mean":', "if False:", COLD),
    # Vendors
    Fault("src/mds_client/vendors/base.py", 'text = text.replace(value, "***")', "pass", VENDORS),
    Fault("src/mds_client/vendors/fetched.py", "if bar.ts > over:", "if False:", VENDORS),
    Fault("src/mds_client/transfer/streams.py", "one.fresh = True", "pass", STREAM),
    # The console
    Fault("src/datastore/console/asked.py", "[id], tenant=token.tenant)", "[id])", CONSOLE),
    Fault("src/datastore/console/rendering.py", "autoescape=True", "autoescape=False", CONSOLE),
    Fault("src/datastore/console/guard.py", "if not same(session.csrf, given):", "if False:", SIGNING_IN),
    Fault("src/datastore/console/guard.py", "    if foreign:", "    if False:", SIGNING_IN),
    Fault("src/datastore/console/sessions.py", "if now - session.seen >= IDLE_S or", "if", SIGNING_IN),
    Fault(
        "src/datastore/console/sessions.py",
        "if token is None:\n            self.end",
        "if False:\n            self.end",
        SIGNING_IN,
    ),
    Fault("src/datastore/querying.py", "connection.read_only = True", "pass", QUERYING),
    Fault("src/datastore/querying.py", "tenants.bind_role(dsn, str(tenant), role, connections=1)", "pass", QUERYING),
)
