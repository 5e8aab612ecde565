-- olap, revert: the old billing_analytics is the authority again; the shadow is kept in step for the next swap.
DROP TRIGGER IF EXISTS rollout_sync ON v2.billing_analytics;
DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT relid FROM pg_partition_tree('v2.billing_analytics') LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS rollout_no_truncate ON %s', relation);
    END LOOP;
END $$;

DROP VIEW IF EXISTS public.billing_analytics;
ALTER TABLE v1.billing_analytics SET SCHEMA public;

SELECT setval(
    pg_get_serial_sequence('public.billing_analytics', 'id'),
    greatest(nextval('v2.billing_analytics_id_seq'), nextval(pg_get_serial_sequence('public.billing_analytics', 'id')))
);

CREATE OR REPLACE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.billing_analytics
FOR EACH ROW EXECUTE FUNCTION rollout.billing_analytics_forward();
CREATE OR REPLACE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.billing_analytics
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.billing_analytics ENABLE ALWAYS TRIGGER rollout_sync;
ALTER TABLE public.billing_analytics ENABLE ALWAYS TRIGGER rollout_no_truncate;

-- Nobody but the runner writes to a shadow.
DO $$
DECLARE
    held record;
BEGIN
    FOR held IN
        SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS role
        FROM pg_namespace AS n, LATERAL aclexplode(n.nspacl) AS g
        WHERE n.nspname = 'v2' AND g.grantee <> n.nspowner
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA v2 FROM %s', held.role);
    END LOOP;
END $$;
