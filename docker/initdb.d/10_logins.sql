-- Who may log in, once the schema is there: mds_admin for the control plane, mds_service for applications. Run by psql
-- as a superuser when a container is first started; running it again sets the passwords anew.
--
-- Their passwords are the files mds_admin_password and mds_service_password in the folder MDS_SECRETS (/run/secrets).
-- Other names for the two: psql -v admin_role=… -v service_role=…
--
-- Neither may make roles. A tenant's own login is made, and limited, by the superuser, and bound by the control plane
-- (datastore tenants bind-role).
\set ON_ERROR_STOP on
\if :{?admin_role}
\else
  \set admin_role mds_admin
\endif
\if :{?service_role}
\else
  \set service_role mds_service
\endif
\set secrets /run/secrets
\getenv secrets MDS_SECRETS
\set admin_password `cat :'secrets'/mds_admin_password`
\set service_password `cat :'secrets'/mds_service_password`

-- No password in the server's log, not even with a statement that fails.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

SELECT length(:'admin_password') >= 16 AND length(:'service_password') >= 16 AS long_enough \gset
\if :long_enough
\else
  DO $$ BEGIN RAISE 'mds_admin_password and mds_service_password have to be files of 16 characters or more'; END $$;
\endif

SELECT format('CREATE ROLE %I', name) FROM (VALUES (:'admin_role'), (:'service_role')) AS roles(name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"admin_role" LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD :'admin_password';
ALTER ROLE :"service_role" LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS
  PASSWORD :'service_password';

-- Applications: the views, and nothing else.
GRANT mds_app TO :"service_role";

-- The control plane: acts as the owner of the schema, lets logins use the views, and makes schemas in this database.
GRANT mds_owner, mds_app TO :"admin_role" WITH ADMIN OPTION;
SELECT format('GRANT CREATE ON DATABASE %I TO %I', current_database(), :'admin_role') \gexec

-- TimescaleDB's background jobs run as the owner of the tables, which has to be a login for that. Without a password
-- nobody logs in by it.
SELECT 'ALTER ROLE mds_owner LOGIN PASSWORD NULL' FROM pg_extension WHERE extname = 'timescaledb' \gexec
