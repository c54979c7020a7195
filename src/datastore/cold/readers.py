"""What other engines have to be told to read published tables."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict

from datastore.connections import as_owner
from datastore.tenants import find_tenant
from mds_client.cold.places import whole

ENGINES: Final = ("spark", "trino", "duckdb", "polars")
"""The engines that there are settings for."""

_SPARK: Final = """\
# spark-defaults.conf. Needs iceberg-spark-runtime, iceberg-aws-bundle for s3://, and PostgreSQL's JDBC driver.
spark.sql.catalog.store                           org.apache.iceberg.spark.SparkCatalog
spark.sql.catalog.store.type                      jdbc
spark.sql.catalog.store.uri                       {jdbc}
spark.sql.catalog.store.jdbc.user                 LOGIN
spark.sql.catalog.store.jdbc.password             PASSWORD
spark.sql.catalog.store.jdbc.schema-version       V1
spark.sql.catalog.store.jdbc.init-catalog-tables  false
spark.sql.catalog.store.warehouse                 {warehouse}
"""

_TRINO: Final = """\
# etc/catalog/store.properties
connector.name=iceberg
iceberg.catalog.type=jdbc
iceberg.jdbc-catalog.catalog-name=store
iceberg.jdbc-catalog.driver-class=org.postgresql.Driver
iceberg.jdbc-catalog.connection-url={jdbc}
iceberg.jdbc-catalog.connection-user=LOGIN
iceberg.jdbc-catalog.connection-password=PASSWORD
iceberg.jdbc-catalog.schema-version=V1
iceberg.jdbc-catalog.default-warehouse-dir={warehouse}
iceberg.security=READ_ONLY
fs.native-s3.enabled=true
"""

_POLARS: Final = """\
import polars
from pyiceberg.catalog.sql import SqlCatalog

catalog = SqlCatalog("store", uri="{sqlalchemy}", init_catalog_tables="false")
"""

_DUCKDB: Final = """\
INSTALL iceberg;
LOAD iceberg;
"""


@dataclass(frozen=True, slots=True)
class _Listed:
    tenant: str
    kind: str
    metadata: str


def settings(dsn: str, url: str, engine: str, *, tenant: UUID | None = None) -> str:
    """Return the settings for an engine, as the text of a file or of a program, and how each table is named there.

    LOGIN and PASSWORD stand for a login that is bound to the tenant.

    Args:
        dsn: The control plane's DSN.
        url: The place of the files.
        engine: One of `ENGINES`.
        tenant: Only this tenant's tables.
    """
    given = conninfo_to_dict(dsn)
    host, port = given.get("host") or "localhost", given.get("port") or 5432
    server = (
        f"{host if not str(host).startswith('/') else 'localhost'}:{port}/{quote(str(given.get('dbname') or 'mds'))}"
    )
    words = {
        "jdbc": f"jdbc:postgresql://{server}?currentSchema=mds",
        "sqlalchemy": f"postgresql+psycopg://LOGIN:PASSWORD@{server}?options=-csearch_path%3Dmds",
        "warehouse": whole(url, ""),
    }
    head = {"spark": _SPARK, "trino": _TRINO, "polars": _POLARS, "duckdb": _DUCKDB}[engine].format(**words)
    return head + "".join(_line(engine, table) for table in _tables(dsn, tenant))


def _tables(dsn: str, tenant: UUID | None) -> list[_Listed]:
    with as_owner(dsn) as (_, driver):
        if tenant is not None:
            find_tenant(driver, tenant)
        found = driver.execute(
            "SELECT table_namespace, table_name, metadata_location FROM store.iceberg_tables"
            " WHERE metadata_location IS NOT NULL AND tenant_id = coalesce(%s, tenant_id) ORDER BY 1, 2",
            (tenant,),
        ).fetchall()
    return [_Listed(*row) for row in found]


def _line(engine: str, table: _Listed) -> str:
    """Return the line that reads a table."""
    if engine == "spark":
        return f"# TABLE store.`{table.tenant}`.{table.kind}\n"
    if engine == "trino":
        return f'# TABLE store."{table.tenant}".{table.kind}\n'
    if engine == "duckdb":
        # This name changes when the table is published again.
        return f"FROM iceberg_scan('{table.metadata}');\n"
    return f'{table.kind} = polars.scan_iceberg(catalog.load_table(("{table.tenant}", "{table.kind}")))\n'
