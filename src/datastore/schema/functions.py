"""Functions and triggers of the schemas `mds` and `store`."""

from collections.abc import Iterator
from typing import Final

from psycopg.sql import SQL, Literal

from datastore.engines import Engine
from datastore.names import FULLEST_QUEUE, JOBS_CHANNEL, LARGEST_PAYLOAD, LONGEST_KEY, TENANT_BITS
from datastore.schema.declared import DatabaseObject, for_app
from mds_client import sql

# Every function sets its search_path with pg_temp last. Otherwise pg_temp would be searched first, also for types, and
# a caller's domain pg_temp.uuid would run the caller's code with the owner's rights.
_FUNCTIONS: Final = {
    # A login that is bound to a tenant always is that tenant, because neither SET ROLE nor a SECURITY DEFINER function
    # changes session_user. After RESET the setting is an empty string.
    "store.tenant_no()": """
CREATE OR REPLACE FUNCTION store.tenant_no() RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_no integer;
BEGIN
  SELECT r.tenant_no INTO found_no FROM store.tenant_roles AS r WHERE r.role = session_user;
  IF FOUND THEN
    RETURN (SELECT t.no FROM store.tenants AS t WHERE t.no = found_no AND t.disabled_at IS NULL);
  END IF;
  RETURN (
    SELECT t.no FROM store.tenants AS t
    WHERE t.id = NULLIF(current_setting('app.tenant_id', true), '')::uuid AND t.disabled_at IS NULL
  );
END
$$""",
    "store.current_tenant()": """
CREATE OR REPLACE FUNCTION store.current_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no());
END
$$""",
    "store.tenant_floor()": f"""
CREATE OR REPLACE FUNCTION store.tenant_floor() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN store.tenant_no()::bigint << {TENANT_BITS};
END
$$""",
    "store.tenant_ceiling()": f"""
CREATE OR REPLACE FUNCTION store.tenant_ceiling() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (store.tenant_no()::bigint + 1) << {TENANT_BITS};
END
$$""",
    "store.next_series_id()": f"""
CREATE OR REPLACE FUNCTION store.next_series_id() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tenant_floor bigint := store.tenant_no()::bigint << {TENANT_BITS};
BEGIN
  IF tenant_floor IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant_floor + nextval('store.series_n');
END
$$""",
    # The tenant of a new job. A check of the view would come too late: with an existing key nothing is inserted or
    # checked, and a session without a tenant would learn which keys the store's own jobs have.
    "store.job_tenant()": """
CREATE OR REPLACE FUNCTION store.job_tenant() RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tenant integer := store.tenant_no();
BEGIN
  IF tenant IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant;
END
$$""",
    # Runs with the rights of the inserting role, and reads only the inserted rows. Anyone can fill the server's queue
    # of notifications, and a full one would fail the transaction; workers find jobs without it.
    "store.announce_jobs()": f"""
CREATE OR REPLACE FUNCTION store.announce_jobs() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM made) AND pg_notification_queue_usage() < {FULLEST_QUEUE} THEN
    PERFORM pg_notify('{JOBS_CHANNEL}', '');
  END IF;
  RETURN NULL;
END
$$""",
    # A job is a request, not data: every worker, and everyone who lists jobs, reads all of it.
    "store.limit_jobs()": f"""
CREATE OR REPLACE FUNCTION store.limit_jobs() RETURNS trigger
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF octet_length(NEW.idempotency_key) > {LONGEST_KEY} OR octet_length(NEW.job_type) > {LONGEST_KEY} THEN
    RAISE check_violation USING
      MESSAGE = 'a job''s idempotency key and its type may have {LONGEST_KEY} bytes each';
  END IF;
  IF octet_length(NEW.payload::text) > {LARGEST_PAYLOAD} THEN
    RAISE check_violation USING MESSAGE = 'a job''s payload may have {LARGEST_PAYLOAD} bytes';
  END IF;
  RETURN NEW;
END
$$""",
    # Called by a door's rule to reject a row of another tenant before it is inserted.
    "store.refuse()": """
CREATE OR REPLACE FUNCTION store.refuse() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE with_check_option_violation USING MESSAGE = 'a row has a series that is not the tenant''s';
END
$$""",
    "store.refuse_time()": """
CREATE OR REPLACE FUNCTION store.refuse_time() RETURNS timestamp with time zone
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE datetime_field_overflow USING MESSAGE = 'a row has no time, or one that is not in the years 1 to 9999';
END
$$""",
    # Called by a door's rule if a row and another one share a value that should belong to one of them.
    "store.refuse_shared()": f"""
CREATE OR REPLACE FUNCTION store.refuse_shared() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE SQLSTATE '{sql.SHARED_ID}' USING
    MESSAGE = 'a row with this id is stored for another symbol',
    HINT = 'Use a client of this release, which stores both rows.';
END
$$""",
    # The client's first statement in every transaction. It reports a wrong tenant, where a read through the views would
    # only find nothing. NULL asks for the current tenant.
    "mds.use_tenant(uuid)": """
CREATE OR REPLACE FUNCTION mds.use_tenant(wanted uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  current uuid;
BEGIN
  {settings}
  IF wanted IS NOT NULL THEN
    PERFORM set_config('app.tenant_id', wanted::text, true);
  END IF;
  current := store.current_tenant();
  IF wanted IS NULL OR wanted = current THEN
    RETURN current;
  END IF;
  IF current IS NOT NULL THEN
    RAISE insufficient_privilege USING
      MESSAGE = format('role %I is bound to another tenant than %s', session_user, wanted);
  END IF;
  RAISE insufficient_privilege USING
    MESSAGE = format('tenant %s is unknown or disabled', wanted);
END
$$""",
    # A client spells symbols by its own copy of the declarations, and every transaction of it says which they are. The
    # query keeps its lock on the table until the transaction ends, so a declaration changes only between transactions
    # (`datastore.vendors`).
    "mds.spells_as(text[])": f"""
CREATE OR REPLACE FUNCTION mds.spells_as(vendors text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF ARRAY(SELECT v.vendor FROM store.case_sensitive_vendors AS v ORDER BY v.vendor COLLATE "C") <> vendors THEN
    RAISE SQLSTATE '{sql.SPELLING}' USING
      MESSAGE = 'the client does not know which vendors'' symbols are case-sensitive',
      HINT = 'Run the transaction again: the client then asks first. mds.case_sensitive_vendors lists the vendors.';
  END IF;
  RETURN true;
END
$$""",  # noqa: S608 - constants of ours
    # The client's statements carry the tenant that they are meant for. A statement that the server would run for
    # another tenant fails, even without the transaction that set the tenant. NULL accepts any tenant.
    "mds.is_tenant(uuid)": """
CREATE OR REPLACE FUNCTION mds.is_tenant(wanted uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF wanted IS NULL OR wanted = (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no()) THEN
    RETURN true;
  END IF;
  RAISE with_check_option_violation USING
    MESSAGE = format('the statement is meant for tenant %s, which is not the tenant of this transaction', wanted);
END
$$""",
    "mds.schema_version()": """
CREATE OR REPLACE FUNCTION mds.schema_version() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT version_num FROM store.alembic_version $$""",
}


def functions(engine: Engine) -> Iterator[DatabaseObject]:
    """Yield the functions, with the settings that the engine needs."""
    settings = "\n  ".join(
        SQL("PERFORM set_config({}, {}, true);").format(Literal(name), Literal(value)).as_string(None)
        for name, value in engine.session_settings().items()
    )
    for name, text in _FUNCTIONS.items():
        # Without settings, an empty line remains, which does no harm.
        yield DatabaseObject(name, (text.strip().replace("{settings}", settings), *for_app(name)))


def jobs_limit() -> DatabaseObject:
    """Return the trigger that limits the size of jobs."""
    return DatabaseObject(
        "trigger store.jobs.limits",
        (
            (
                "CREATE OR REPLACE TRIGGER limits BEFORE INSERT ON store.jobs"
                " FOR EACH ROW EXECUTE FUNCTION store.limit_jobs()"
            ),
        ),
    )


def jobs_trigger() -> DatabaseObject:
    """Return the trigger that notifies workers of new jobs."""
    # Waiting workers start at once. Workers announce requeued jobs themselves.
    return DatabaseObject(
        "trigger store.jobs.announce",
        (
            (
                "CREATE OR REPLACE TRIGGER announce AFTER INSERT ON store.jobs REFERENCING NEW TABLE AS made"
                " FOR EACH STATEMENT EXECUTE FUNCTION store.announce_jobs()"
            ),
        ),
    )
