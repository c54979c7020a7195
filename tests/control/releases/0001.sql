--
-- PostgreSQL database dump
--


-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: mds; Type: SCHEMA; Schema: -; Owner: mds_owner
--

CREATE SCHEMA mds;


ALTER SCHEMA mds OWNER TO mds_owner;

--
-- Name: store; Type: SCHEMA; Schema: -; Owner: mds_owner
--

CREATE SCHEMA store;


ALTER SCHEMA store OWNER TO mds_owner;

--
-- Name: schema_version(); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.schema_version() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT version_num FROM store.alembic_version $$;


ALTER FUNCTION mds.schema_version() OWNER TO mds_owner;

--
-- Name: use_tenant(uuid); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.use_tenant(wanted uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  current uuid;
BEGIN
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
$$;


ALTER FUNCTION mds.use_tenant(wanted uuid) OWNER TO mds_owner;

--
-- Name: current_tenant(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.current_tenant() RETURNS uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no());
END
$$;


ALTER FUNCTION store.current_tenant() OWNER TO mds_owner;

--
-- Name: next_series_id(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.next_series_id() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  tenant_floor bigint := store.tenant_no()::bigint << 40;
BEGIN
  IF tenant_floor IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant_floor + nextval('store.series_n');
END
$$;


ALTER FUNCTION store.next_series_id() OWNER TO mds_owner;

--
-- Name: tenant_ceiling(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.tenant_ceiling() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN (store.tenant_no()::bigint + 1) << 40;
END
$$;


ALTER FUNCTION store.tenant_ceiling() OWNER TO mds_owner;

--
-- Name: tenant_floor(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.tenant_floor() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN store.tenant_no()::bigint << 40;
END
$$;


ALTER FUNCTION store.tenant_floor() OWNER TO mds_owner;

--
-- Name: tenant_no(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.tenant_no() RETURNS integer
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
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
$$;


ALTER FUNCTION store.tenant_no() OWNER TO mds_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: bars; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.bars (
    series_id bigint NOT NULL,
    ts timestamp with time zone NOT NULL,
    open_price double precision,
    high_price double precision,
    low_price double precision,
    close_price double precision,
    volume bigint,
    id uuid
);


ALTER TABLE store.bars OWNER TO mds_owner;

--
-- Name: bars; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id
   FROM store.bars
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
  WITH CASCADED CHECK OPTION;


ALTER VIEW mds.bars OWNER TO mds_owner;

--
-- Name: series; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.series (
    series_id bigint NOT NULL,
    kind text NOT NULL,
    vendor text NOT NULL,
    symbol text,
    timeframe text,
    last_ts timestamp with time zone,
    last_price double precision,
    last_price_ts timestamp with time zone
)
WITH (fillfactor='70');


ALTER TABLE store.series OWNER TO mds_owner;

--
-- Name: series; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.series WITH (security_barrier='true') AS
 SELECT series_id,
    kind,
    vendor,
    symbol,
    timeframe,
    last_ts,
    last_price,
    last_price_ts
   FROM store.series
  WHERE ((series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no))
  WITH CASCADED CHECK OPTION;


ALTER VIEW mds.series OWNER TO mds_owner;

--
-- Name: bars; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.bars WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    s.timeframe,
    r.open_price,
    r.high_price,
    r.low_price,
    r.close_price,
    r.volume,
    r.id
   FROM (store.series s
     JOIN store.bars r USING (series_id))
  WHERE ((s.kind = 'bars'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (r.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (r.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW public.bars OWNER TO mds_owner;

--
-- Name: latest_prices; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.latest_prices WITH (security_barrier='true') AS
 SELECT DISTINCT ON (vendor, symbol) ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    vendor,
    symbol,
    last_price AS price,
    last_price_ts AS price_timestamp
   FROM store.series s
  WHERE (((series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (last_price IS NOT NULL))
  ORDER BY vendor, symbol, last_price_ts DESC, timeframe;


ALTER VIEW public.latest_prices OWNER TO mds_owner;

--
-- Name: tenants; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.tenants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    no integer NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    disabled_at timestamp with time zone,
    CONSTRAINT tenants_name_check CHECK ((name <> ''::text))
);


ALTER TABLE store.tenants OWNER TO mds_owner;

--
-- Name: tenants; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.tenants WITH (security_barrier='true') AS
 SELECT id,
    name,
    created_at
   FROM store.tenants
  WHERE (no = ( SELECT store.tenant_no() AS tenant_no));


ALTER VIEW public.tenants OWNER TO mds_owner;

--
-- Name: alembic_version; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.alembic_version (
    version_num character varying(32) NOT NULL
);


ALTER TABLE store.alembic_version OWNER TO mds_owner;

--
-- Name: objects; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.objects (
    name text NOT NULL,
    declared text NOT NULL,
    installed text
);


ALTER TABLE store.objects OWNER TO mds_owner;

--
-- Name: series_n; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

CREATE SEQUENCE store.series_n
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 1099511627775
    CACHE 1;


ALTER SEQUENCE store.series_n OWNER TO mds_owner;

--
-- Name: tenant_roles; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.tenant_roles (
    role text NOT NULL,
    tenant_no integer NOT NULL
);


ALTER TABLE store.tenant_roles OWNER TO mds_owner;

--
-- Name: tenants_no_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.tenants ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.tenants_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 8388606
    CACHE 1
);


--
-- Name: series series_id; Type: DEFAULT; Schema: mds; Owner: mds_owner
--

ALTER TABLE ONLY mds.series ALTER COLUMN series_id SET DEFAULT store.next_series_id();


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.alembic_version VALUES ('0001');


--
-- Data for Name: bars; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.bars VALUES (1099511627777, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL);
INSERT INTO store.bars VALUES (1099511627778, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL);
INSERT INTO store.bars VALUES (1099511627779, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL);
INSERT INTO store.bars VALUES (1099511627780, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL);
INSERT INTO store.bars VALUES (2199023255557, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL);
INSERT INTO store.bars VALUES (2199023255558, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL);
INSERT INTO store.bars VALUES (2199023255559, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL);
INSERT INTO store.bars VALUES (2199023255560, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL);
INSERT INTO store.bars VALUES (3298534883337, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL);
INSERT INTO store.bars VALUES (3298534883338, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL);
INSERT INTO store.bars VALUES (3298534883339, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL);
INSERT INTO store.bars VALUES (3298534883340, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL);
INSERT INTO store.bars VALUES (1099511627777, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627778, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627779, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627780, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255557, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255558, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255559, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255560, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883337, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883338, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883339, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883340, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627777, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (1099511627778, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (1099511627779, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (1099511627780, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (2199023255557, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (2199023255558, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (2199023255559, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (2199023255560, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (3298534883337, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (3298534883338, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (3298534883339, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (3298534883340, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004');
INSERT INTO store.bars VALUES (1099511627777, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL);
INSERT INTO store.bars VALUES (1099511627778, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL);
INSERT INTO store.bars VALUES (1099511627779, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL);
INSERT INTO store.bars VALUES (1099511627780, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL);
INSERT INTO store.bars VALUES (2199023255557, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL);
INSERT INTO store.bars VALUES (2199023255558, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL);
INSERT INTO store.bars VALUES (2199023255559, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL);
INSERT INTO store.bars VALUES (2199023255560, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL);
INSERT INTO store.bars VALUES (3298534883337, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL);
INSERT INTO store.bars VALUES (3298534883338, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL);
INSERT INTO store.bars VALUES (3298534883339, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL);
INSERT INTO store.bars VALUES (3298534883340, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL);


--
-- Data for Name: objects; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.objects VALUES ('schema store', '2b52f3e9b34ca67f0554b3175ee022212c041b57bc7a9a09413581cf6910200b', NULL);
INSERT INTO store.objects VALUES ('schema mds', '936f8f0bc2b8a866c36bd8dcd94fe4c6395c0aa9fd33d9a0fb7da1791bc047be', NULL);
INSERT INTO store.objects VALUES ('row security', '598b14178d5b3f28e7a7f22ff4f20609f55353523c7e0c31ea8f2bc2cb9a4a1a', NULL);
INSERT INTO store.objects VALUES ('store.tenant_no()', 'fba82bffa1f539ec3b4ed6556db9f92ca296e64b98a5948e1ec478bb77d115ae', '0dfacbf7c4b1fe9fa681cdfb7796c778');
INSERT INTO store.objects VALUES ('store.current_tenant()', 'e4e8d15f3780edf4e473623f368f6fc03e42d035cd37065891b8d318fe072921', '872644b2d3720032a804e908fef61d74');
INSERT INTO store.objects VALUES ('store.tenant_floor()', '5927a7e065a75ba14986808baf0b7c5abbbc30edf82bf6c6dcd24bd121b2da97', '2fd0deaac2bf0747b449ec5d571901dd');
INSERT INTO store.objects VALUES ('store.tenant_ceiling()', '8a2a9c18ae1ac9d5c8470e0f05946cfa25e76383922704ab455f2cea3794cfcb', 'b071fbaff2cbce5ff0ba264b2b519115');
INSERT INTO store.objects VALUES ('store.next_series_id()', 'a4ca0913c36e8bbb72dad55c51fc0f4a44a6b3c7f8e81dc4dfede366b041b55a', '9f2690f8d3bd2a7c025d42ed41824628');
INSERT INTO store.objects VALUES ('mds.use_tenant(uuid)', '8ba0a9dfb0e15436c7d7806ab1b3148e17993082ce8188f35090f7cbced170b6', '8e36d50bfc127948cb10cce136d462f8');
INSERT INTO store.objects VALUES ('mds.schema_version()', '392449ab36d220ee4069c57faf2ecca2f23615b3e5cfcfe4a8c953abc2916990', '333af6e7a0e3ad3f2c3978851c5d2489');
INSERT INTO store.objects VALUES ('view public.tenants', '2c3a0d41445b03c082027dc50ca62268e0d9284f2ce27e7ed9640890ba028a5f', '6e63b3a8dd5dcf389957afcd825732ce');
INSERT INTO store.objects VALUES ('view mds.series', '08834e889558e57a08c1a7bf0137dfb3cfdb317db5fcdba789c8fa2e9411a08d', '79ff03bcbba906be7299712440da96a4');
INSERT INTO store.objects VALUES ('view mds.bars', '45ebe16407cc846d6f7f8611fa786a5d4f35fecfadb6c434b964de1703855d6b', '8f1fc8d476cb27bf9764d5ac40b842a3');
INSERT INTO store.objects VALUES ('view public.bars', '53d22d24e9ad7bbfc0ac973b7170eea3b479099c3ace69a14acc88f6611da23d', '8fe3612a3e25ee1b915c682c84f2cb09');
INSERT INTO store.objects VALUES ('view public.latest_prices', '823b9e0591aa04e0d321ab6e60057371e8488ae7bd412a790d679c9e4b36cc64', '02ae9b8c4937f6358e28fd932109a023');


--
-- Data for Name: series; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.series VALUES (1099511627777, 'bars', 'v', 'AAPL', '1d', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (1099511627778, 'bars', 'v', 'AAPL', '1m', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (1099511627779, 'bars', 'v', 'MSFT', '1d', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (1099511627780, 'bars', 'v', 'MSFT', '1m', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (2199023255557, 'bars', 'v', 'AAPL', '1d', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (2199023255558, 'bars', 'v', 'AAPL', '1m', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (2199023255559, 'bars', 'v', 'MSFT', '1d', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (2199023255560, 'bars', 'v', 'MSFT', '1m', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (3298534883337, 'bars', 'v', 'AAPL', '1d', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (3298534883338, 'bars', 'v', 'AAPL', '1m', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (3298534883339, 'bars', 'v', 'MSFT', '1d', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00');
INSERT INTO store.series VALUES (3298534883340, 'bars', 'v', 'MSFT', '1m', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00');


--
-- Data for Name: tenant_roles; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.tenant_roles VALUES ('desk_of_beta', 2);


--
-- Data for Name: tenants; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.tenants OVERRIDING SYSTEM VALUE VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 1, 'alpha', '2024-01-01 00:00:00+00', NULL);
INSERT INTO store.tenants OVERRIDING SYSTEM VALUE VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 2, 'beta', '2024-01-02 00:00:00+00', NULL);
INSERT INTO store.tenants OVERRIDING SYSTEM VALUE VALUES ('cccccccc-0000-4000-8000-000000000003', 3, 'closed', '2024-01-03 00:00:00+00', '2024-02-01 00:00:00+00');


--
-- Name: series_n; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.series_n', 12, true);


--
-- Name: tenants_no_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.tenants_no_seq', 3, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: bars bars_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.bars
    ADD CONSTRAINT bars_pkey PRIMARY KEY (series_id, ts);


--
-- Name: objects objects_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (name);


--
-- Name: series series_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.series
    ADD CONSTRAINT series_pkey PRIMARY KEY (series_id);


--
-- Name: tenant_roles tenant_roles_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenant_roles
    ADD CONSTRAINT tenant_roles_pkey PRIMARY KEY (role);


--
-- Name: tenants tenants_id_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenants
    ADD CONSTRAINT tenants_id_key UNIQUE (id);


--
-- Name: tenants tenants_name_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenants
    ADD CONSTRAINT tenants_name_key UNIQUE (name);


--
-- Name: tenants tenants_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (no);


--
-- Name: series_name_key; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE UNIQUE INDEX series_name_key ON store.series USING btree (((series_id >> 40)), kind, vendor, symbol, timeframe) NULLS NOT DISTINCT;


--
-- Name: tenant_roles tenant_roles_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenant_roles
    ADD CONSTRAINT tenant_roles_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no);


--
-- Name: tenant_roles; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.tenant_roles ENABLE ROW LEVEL SECURITY;

--
-- Name: tenants; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.tenants ENABLE ROW LEVEL SECURITY;

--
-- Name: SCHEMA mds; Type: ACL; Schema: -; Owner: mds_owner
--

GRANT USAGE ON SCHEMA mds TO mds_app;


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: pg_database_owner
--

GRANT ALL ON SCHEMA public TO mds_owner;
GRANT USAGE ON SCHEMA public TO mds_app;


--
-- Name: FUNCTION schema_version(); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.schema_version() FROM PUBLIC;
GRANT ALL ON FUNCTION mds.schema_version() TO mds_app;


--
-- Name: FUNCTION use_tenant(wanted uuid); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.use_tenant(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.use_tenant(wanted uuid) TO mds_app;


--
-- Name: FUNCTION current_tenant(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.current_tenant() FROM PUBLIC;
GRANT ALL ON FUNCTION store.current_tenant() TO mds_app;


--
-- Name: FUNCTION next_series_id(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.next_series_id() FROM PUBLIC;
GRANT ALL ON FUNCTION store.next_series_id() TO mds_app;


--
-- Name: FUNCTION tenant_ceiling(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.tenant_ceiling() FROM PUBLIC;
GRANT ALL ON FUNCTION store.tenant_ceiling() TO mds_app;


--
-- Name: FUNCTION tenant_floor(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.tenant_floor() FROM PUBLIC;
GRANT ALL ON FUNCTION store.tenant_floor() TO mds_app;


--
-- Name: FUNCTION tenant_no(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.tenant_no() FROM PUBLIC;
GRANT ALL ON FUNCTION store.tenant_no() TO mds_app;


--
-- Name: TABLE bars; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT,INSERT ON TABLE mds.bars TO mds_app;


--
-- Name: COLUMN bars.open_price; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(open_price) ON TABLE mds.bars TO mds_app;


--
-- Name: COLUMN bars.high_price; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(high_price) ON TABLE mds.bars TO mds_app;


--
-- Name: COLUMN bars.low_price; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(low_price) ON TABLE mds.bars TO mds_app;


--
-- Name: COLUMN bars.close_price; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(close_price) ON TABLE mds.bars TO mds_app;


--
-- Name: COLUMN bars.volume; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(volume) ON TABLE mds.bars TO mds_app;


--
-- Name: COLUMN bars.id; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(id) ON TABLE mds.bars TO mds_app;


--
-- Name: TABLE series; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.kind; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(kind) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.vendor; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(vendor) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.symbol; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(symbol) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.timeframe; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(timeframe) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.last_ts; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(last_ts) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.last_price; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(last_price) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.last_price_ts; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(last_price_ts) ON TABLE mds.series TO mds_app;


--
-- Name: TABLE bars; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.bars TO mds_app;


--
-- Name: TABLE latest_prices; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.latest_prices TO mds_app;


--
-- Name: TABLE tenants; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.tenants TO mds_app;


--
-- PostgreSQL database dump complete
--


