-- Shared by 007 of every tier: what is kept about a database itself. Readers are members of pg_monitor, whoever they are called;
-- no role of the product may look. What is measured stands in public, what only the runner needs in rollout. A transaction a part.
CREATE MATERIALIZED VIEW public.db_performance_metrics AS
SELECT
    schemaname, relname, relid, seq_scan, seq_tup_read, idx_scan, idx_tup_fetch, n_tup_ins, n_tup_upd, n_tup_del,
    n_live_tup, n_dead_tup, last_vacuum, last_autovacuum, last_analyze, last_autoanalyze, now() AS observed_at
FROM pg_catalog.pg_stat_user_tables;
CREATE UNIQUE INDEX db_performance_metrics_relid ON public.db_performance_metrics (relid);
COMMENT ON MATERIALIZED VIEW public.db_performance_metrics IS
'what the server counts of each table, at observed_at; invoke monitor.refresh renews it beside its readers';
REVOKE ALL ON public.db_performance_metrics FROM PUBLIC, penguin_app;
GRANT SELECT ON public.db_performance_metrics TO pg_monitor;

-- statement
-- History: it stays when the change is discarded, and goes on when it is made again.
CREATE TABLE IF NOT EXISTS public.query_performance_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    query_text text NOT NULL,
    execution_time interval NOT NULL,
    rows_affected integer,
    user_id uuid,
    tenant_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    query_id bigint NOT NULL,
    role_name text,
    window_start timestamptz,
    calls bigint NOT NULL,
    total_time interval NOT NULL,
    max_time interval NOT NULL
);
REVOKE ALL ON public.query_performance_log FROM PUBLIC, penguin_app;
GRANT SELECT ON public.query_performance_log TO pg_monitor;

-- statement
CREATE INDEX IF NOT EXISTS idx_query_performance_tenant_time ON public.query_performance_log (tenant_id, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_query_performance_time ON public.query_performance_log (created_at);
COMMENT ON TABLE public.query_performance_log IS
'one row a statement and pass: what pg_stat_statements counted between window_start and created_at, without literals and comments';
COMMENT ON COLUMN public.query_performance_log.execution_time IS 'mean of the calls in the window';
COMMENT ON COLUMN public.query_performance_log.rows_affected IS 'rows of all calls in the window; 2147483647 is that many or more';
COMMENT ON COLUMN public.query_performance_log.max_time IS 'longest call since the server forgot the statement, not only in the window';
COMMENT ON COLUMN public.query_performance_log.user_id IS 'null: pg_stat_statements knows the database role, and no person';
COMMENT ON COLUMN public.query_performance_log.tenant_id IS 'null: pg_stat_statements adds up the calls of all tenants';

-- statement
-- It has a tenant_id, so no tenant sees any of it; its readers see what is no tenant's.
ALTER TABLE public.query_performance_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.query_performance_log FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS query_performance_log_tenant ON public.query_performance_log;
DROP POLICY IF EXISTS query_performance_log_monitor ON public.query_performance_log;
CREATE POLICY query_performance_log_monitor ON public.query_performance_log TO pg_monitor
USING (tenant_id IS NULL) WITH CHECK (tenant_id IS NULL);

-- statement
CREATE TABLE IF NOT EXISTS rollout.monitor_statements (
    userid oid,
    queryid bigint,
    toplevel boolean,
    seen_at timestamptz NOT NULL,
    calls bigint NOT NULL,
    total_exec_time float8 NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (userid, queryid, toplevel)
);
COMMENT ON TABLE rollout.monitor_statements IS 'what pg_stat_statements said at the last pass: the log takes the difference';

CREATE TABLE IF NOT EXISTS rollout.monitor_jobs (
    job text PRIMARY KEY,
    runner text NOT NULL,
    first_started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    last_success timestamptz,
    duration interval,
    runs bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_error text,
    facts jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE rollout.monitor_jobs IS 'what is refreshed on a schedule: when last, how long it took, what it did or why it failed';

REVOKE ALL ON rollout.monitor_statements, rollout.monitor_jobs FROM PUBLIC, penguin_app;
GRANT USAGE ON SCHEMA rollout TO pg_monitor;
GRANT SELECT ON rollout.monitor_jobs TO pg_monitor;

-- statement
-- Raises unless each of these can be refreshed beside its readers (views) and nobody but owner and pg_monitor may use it.
CREATE OR REPLACE FUNCTION rollout.verify_monitoring(names text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong text := (
        SELECT string_agg(format('%s %s', n.name, w.what), ', ' ORDER BY n.name)
        FROM unnest(names) AS n (name)
        LEFT JOIN pg_class AS c ON c.oid = to_regclass(n.name)
        CROSS JOIN LATERAL (
            SELECT 'is not there' AS what WHERE c.oid IS NULL
            UNION ALL
            SELECT 'has no unique index' WHERE c.relkind = 'm' AND NOT EXISTS (
                SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
                    AND i.indpred IS NULL AND i.indexprs IS NULL
            )
            UNION ALL
            SELECT format('is open to %s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END)
            FROM aclexplode(c.relacl) AS a
            WHERE a.grantee <> c.relowner AND a.grantee <> 'pg_monitor'::regrole
        ) AS w
    );
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'monitoring: %', wrong;
    END IF;
END $$;
REVOKE ALL ON FUNCTION rollout.verify_monitoring(text[]) FROM PUBLIC;
