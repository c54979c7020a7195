"""Rights that a superuser revokes from everybody in a database of the store, because nothing there needs them.

Every role may call PostgreSQL's functions that create large objects, and could fill the disk with them.
"""

from typing import Final

from psycopg.sql import SQL

CLOSE_LARGE_OBJECTS: Final = SQL(
    """
DO $$
DECLARE
  function regprocedure;
BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    FOR function IN
      SELECT p.oid FROM pg_proc AS p
      WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN (
        'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64')
        AND has_function_privilege('public', p.oid, 'EXECUTE')
    LOOP
      EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
    END LOOP;
  END IF;
END $$
""".strip()
)
"""Revokes the functions that write large objects from PUBLIC. Does nothing if the role is no superuser."""
