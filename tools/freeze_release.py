"""Write down what a database of this release is, for the tests that upgrade it: `tests/control/releases/<version>.sql`.

Run it once when a migration is finished and before it is released, with the code of that moment: tables, views, doors
and functions as this release makes them, and rows in every table. Later releases are tested to bring it to their head,
so what is in that folder already is never written again.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from datastore import migration
from datastore.connections import head
from datastore.embedded import DATABASE, EmbeddedServer, choose_account, find_binaries

RELEASES = Path(__file__).resolve().parent.parent / "tests/control/releases"

# Rows in every table that a version brought or changed, put in as that version has it.
ROWS = {
    "0001": """
INSERT INTO store.tenants (id, name, created_at) VALUES
  ('aaaaaaaa-0000-4000-8000-000000000001', 'alpha', '2024-01-01Z'),
  ('bbbbbbbb-0000-4000-8000-000000000002', 'beta', '2024-01-02Z');
INSERT INTO store.tenants (id, name, created_at, disabled_at) VALUES
  ('cccccccc-0000-4000-8000-000000000003', 'closed', '2024-01-03Z', '2024-02-01Z');
INSERT INTO store.tenant_roles (role, tenant_no) SELECT 'desk_of_beta', no FROM store.tenants WHERE name = 'beta';
INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts, last_price, last_price_ts)
  SELECT (t.no::bigint << 40) + nextval('store.series_n'), 'bars', 'v', s.symbol, f.timeframe,
         '2024-02-09 12:00Z', t.no + 3, '2024-02-09 12:00Z'
  FROM store.tenants AS t, unnest(ARRAY['AAPL', 'MSFT']) AS s(symbol), unnest(ARRAY['1m', '1d']) AS f(timeframe)
  ORDER BY t.no, s.symbol, f.timeframe;
INSERT INTO store.bars (series_id, ts, open_price, high_price, low_price, close_price, volume, id)
  SELECT s.series_id, timestamptz '2024-01-01 12:00Z' + n * interval '13 days', 1.5, 9.5, 0.5, (s.series_id >> 40) + n,
         NULLIF(n, 1) * 100, CASE n WHEN 2 THEN 'dddddddd-0000-4000-8000-000000000004'::uuid END
  FROM store.series AS s, generate_series(0, 3) AS n WHERE s.kind = 'bars';
""",
    "0002": """
INSERT INTO store.series (series_id, kind, vendor, symbol, last_ts)
  SELECT (t.no::bigint << 40) + nextval('store.series_n'), k.kind, 'v',
         CASE WHEN k.kind <> 'news' THEN 'AAPL' END, '2024-02-09 12:00Z'
  FROM store.tenants AS t, unnest(ARRAY['fundamentals', 'news', 'options']) AS k(kind) ORDER BY t.no, k.kind;
INSERT INTO store.fundamentals (series_id, asof, total_assets, total_liabilities, net_income, eps)
  SELECT series_id, '2024-02-09 12:00Z', 352e9, 290e9, NULL, 1.25 FROM store.series WHERE kind = 'fundamentals';
INSERT INTO store.news (series_id, published_at, id, title, symbol, url, sentiment_score)
  SELECT series_id, '2024-02-09 12:00Z', 'eeeeeeee-0000-4000-8000-000000000005', 'Up', 'AAPL', 'https://a.invalid', 0.5
  FROM store.series WHERE kind = 'news';
INSERT INTO store.options (series_id, ts, expiry, option_type, strike, iv, delta, gamma, oi, volume, spot)
  SELECT series_id, '2024-02-09 12:00Z', '2025-01-17', x.type, 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25
  FROM store.series, unnest(ARRAY['C', 'P']) AS x(type) WHERE kind = 'options';
INSERT INTO store.policies (relation, policy, value) VALUES
  ('bars', 'retention_after', '20000 days'), ('options', 'retention_after', NULL);
INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, state, attempts, created_at, due_at,
                        worker, leased_until, finished_at, error)
  SELECT t.no, 'key of ' || s.state, 'a-type', '{"n": 1}', 50, s.state, s.attempts, '2024-02-09Z', '2024-02-09 01:00Z',
         s.worker, s.leased_until, s.finished_at, s.error
  FROM store.tenants AS t, (VALUES
    ('queued', 0, NULL, NULL::timestamptz, NULL::timestamptz, NULL),
    ('running', 1, 'a-worker', '2024-02-09 02:00Z', NULL, NULL),
    ('succeeded', 1, NULL, NULL, '2024-02-09 03:00Z', NULL),
    ('failed', 5, NULL, NULL, '2024-02-09 03:00Z', 'it failed'),
    ('cancelled', 0, NULL, NULL, '2024-02-09 03:00Z', NULL)
  ) AS s(state, attempts, worker, leased_until, finished_at, error) ORDER BY t.no, s.state;
""",
    "0003": """
INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, state, attempts, max_attempts,
                        created_at, due_at, started_at, finished_at, done, total, result, cancel_requested)
VALUES (NULL, 'upkeep of a day', 'upkeep', '{}', 10, 'succeeded', 1, 3, '2024-02-10Z', '2024-02-10Z',
        '2024-02-10 00:01Z', '2024-02-10 00:02Z', 5, 5, '{"removed": 7}', false),
       (NULL, 'upkeep of another', 'upkeep', '{}', 10, 'queued', 1, 3, '2024-02-11Z', '2024-02-11Z', NULL, NULL, 2, 5,
        NULL, true);
""",
    "0004": """
INSERT INTO store.backfills (tenant_no, idempotency_key, kind, vendor, timeframe, range_start, range_end, source,
                             params, series, missing, created_at)
  SELECT no, 'january', 'bars', 'v', '1m', '2024-01-01Z', '2024-02-01Z', '{"name": "files"}', '{}', 2, 100,
         '2024-02-09Z'
  FROM store.tenants WHERE name = 'alpha';
INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, created_at, due_at, backfill_id)
  SELECT b.tenant_no, 'chunk of january', 'backfill-chunk', '{}', 50, '2024-02-09Z', '2024-02-09Z', b.id
  FROM store.backfills AS b;
INSERT INTO store.calendars (tenant_no, vendor, symbol, calendar)
  SELECT no, 'v', NULL, 'XNYS' FROM store.tenants WHERE name = 'alpha';
INSERT INTO store.gap_counts (tenant_no, vendor, timeframe, range_start, range_end, series, expected, missing, gaps,
                              checked_at)
  SELECT no, 'v', '1m', '2024-01-01Z', '2024-02-01Z', 2, 1000, 100, 3, '2024-02-09Z' FROM store.tenants;
""",
    "0006": """
UPDATE store.jobs SET fence = attempts WHERE attempts > 0;
""",
    "0009": """
UPDATE store.bars SET vwap = 1.25, trade_count = 12, volume_fraction = CASE WHEN volume > 0 THEN 0.5 END
  WHERE ts > '2024-01-20Z';
UPDATE store.fundamentals SET currency = 'USD', period = 'FY2023';
UPDATE store.options SET bid = 1.5, ask = 1.75, last = 1.625, vega = 0.1, theta = -0.01, rho = 0.02, oi_fraction = 0.25;
""",
    "0011": """
UPDATE store.news SET vendor_id = '24843171';
UPDATE store.options SET multiplier = 100;
UPDATE store.gap_counts SET repeated = 5;
INSERT INTO store.series (series_id, kind, vendor, symbol, root, last_ts)
  SELECT (t.no::bigint << 40) + nextval('store.series_n'), 'options', 'v', 'AAPL', 'AAPL1', '2024-02-09 12:00Z'
  FROM store.tenants AS t ORDER BY t.no;
INSERT INTO store.options (series_id, ts, expiry, option_type, strike, iv, multiplier)
  SELECT series_id, '2024-02-09 12:00Z', '2025-01-17', 'C', 150.5, 0.5, 150 FROM store.series WHERE root = 'AAPL1';
""",
    "0012": """
INSERT INTO store.news (series_id, published_at, id, title, symbol, id_given)
  SELECT DISTINCT ON (series_id) series_id, published_at, md5(id::text)::uuid, title, 'SHARES', id
  FROM store.news ORDER BY series_id, published_at, id;
""",
    "0013": """
INSERT INTO store.cold_fences (tenant_no, kind, cold_before, has_own_age, cold_after)
  SELECT no, 'bars', CASE name WHEN 'closed' THEN timestamptz '2024-01-10Z' END, true, '90 days'
  FROM store.tenants WHERE name IN ('beta', 'closed');
INSERT INTO store.cold_periods (tenant_no, kind, period_start, period_end, path, rows, bytes, sha256, made_at)
  SELECT no, 'bars', '2023-12-01Z', '2024-01-01Z', 'closed/bars/2023-12.a.parquet', 3, 1000, 'abc', '2024-02-09Z'
  FROM store.tenants WHERE name = 'closed';
INSERT INTO store.late_bars (series_id, ts, close_price, volume, mode)
  SELECT series_id, '2023-12-05Z', 4.5, 100, 'fill' FROM store.series WHERE kind = 'bars' AND (series_id >> 40) = 3;
""",
    "0014": """
INSERT INTO store.case_sensitive_vendors (vendor, declared_at) VALUES ('cased', '2024-02-09Z');
""",
    "0016": """
INSERT INTO store.late_bars (series_id, ts, mode, until)
  SELECT series_id, '2023-12-07Z', 'delete', '2023-12-08Z' FROM store.series
  WHERE kind = 'bars' AND (series_id >> 40) = 3;
""",
    "0017": """
INSERT INTO store.iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
  SELECT 'store', id::text, 'exists', 'true' FROM store.tenants WHERE name = 'closed';
INSERT INTO store.iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
  SELECT 'store', id::text, 'bars', 'file:///closed/iceberg/bars/metadata/1.json', 'TABLE'
  FROM store.tenants WHERE name = 'closed';
""",
    "0018": """
UPDATE store.fundamentals SET items = '{"free_cash_flow": 1500000000.5, "ebitda": null}';
""",
    "0019": """
INSERT INTO store.late_options (series_id, ts, expiry, option_type, strike, bid, oi, oi_fraction, multiplier, mode)
  SELECT series_id, '2023-12-05Z', '2025-01-17', 'P', 150.5, 1.5, 1000, 0.25, 100, 'fill'
  FROM store.series WHERE kind = 'options' AND (series_id >> 40) = 3;
INSERT INTO store.late_options (series_id, ts, mode, until)
  SELECT series_id, '2023-12-07Z', 'delete', '2023-12-08Z' FROM store.series
  WHERE kind = 'options' AND (series_id >> 40) = 3;
""",
    "0020": """
INSERT INTO store.series (series_id, kind, vendor, symbol, last_ts)
  SELECT (t.no::bigint << 40) + nextval('store.series_n'), 'instruments', 'v', 'AAPL', '2024-02-09 12:00Z'
  FROM store.tenants AS t ORDER BY t.no;
INSERT INTO store.instruments (series_id, asof, name, instrument_type, exchange, currency, tick_size, items)
  SELECT series_id, '2024-02-09 12:00Z', 'Apple Inc.', 'stock', 'XNAS', 'USD', 0.01, '{"min_lot_size": 1}'
  FROM store.series WHERE kind = 'instruments';
""",
}


def main() -> int:
    """Write the file of this code's head; 1 where it is there already, or a table would be empty."""
    version = head()
    path = RELEASES / f"{version}.sql"
    if path.exists():
        print(f"{path} is there already, and a release does not change", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as home:
        server = EmbeddedServer(Path(home), port=0)
        try:
            server.up(migration.migrate)
            dsn = server.superuser_dsn(DATABASE)
            if empty := fill(dsn, version):
                print(f"no rows for {', '.join(empty)}: say in ROWS what {version} has", file=sys.stderr)
                return 1
            path.parent.mkdir(exist_ok=True)
            path.write_text(dump(dsn), encoding="utf-8")
        finally:
            server.discard()
    print(path)
    return 0


def fill(dsn: str, version: str) -> list[str]:
    """Put the rows of every version up to this one in, and name the tables that have none."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for rows in (ROWS[known] for known in sorted(ROWS) if known <= version):
            connection.execute(rows.encode())
        tables = connection.execute(
            # Tables that are locks have no rows.
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind = 'r'"
            " AND NOT starts_with(relname, 'lock_') ORDER BY 1"
        ).fetchall()
        return [
            name
            for (name,) in tables
            if not connection.execute(f'SELECT FROM store."{name}" LIMIT 1'.encode()).rowcount
        ]


def dump(dsn: str) -> str:
    """The database as statements that any PostgreSQL client can run, whatever release the server is of."""
    done = subprocess.run(  # noqa: S603 - the server's own program
        [find_binaries(choose_account(None)).program("pg_dump"), "--inserts", dsn],
        capture_output=True,
        text=True,
        check=True,
    )
    # psql's own commands, and a setting that older servers do not know.
    return re.sub(r"^(\\(un)?restrict|SET transaction_timeout).*\n", "", done.stdout, flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
