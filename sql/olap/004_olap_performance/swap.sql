-- olap, swap: v2.billing_analytics becomes the authority; blue's name becomes a view with the old columns.
DROP TRIGGER IF EXISTS rollout_sync ON public.billing_analytics;
DROP TRIGGER IF EXISTS rollout_no_truncate ON public.billing_analytics;

-- setval is not undone by a rollback, so it may only ever go up.
SELECT setval(
    'v2.billing_analytics_id_seq',
    greatest(nextval('v2.billing_analytics_id_seq'), nextval(pg_get_serial_sequence('public.billing_analytics', 'id')))
);

ALTER TABLE public.billing_analytics SET SCHEMA v1;

CREATE VIEW public.billing_analytics WITH (security_invoker) AS
SELECT
    id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used, warmups_active,
    period_start, period_end, updated_at AS updated
FROM v2.billing_analytics;
COMMENT ON VIEW public.billing_analytics IS 'v2.billing_analytics as the release before 004 knows it; gone after contract';

SELECT rollout.copy_grants('v1.billing_analytics', 'public.billing_analytics');
SELECT rollout.copy_grants('v1.billing_analytics', 'v2.billing_analytics');
-- An identity column needs no privilege on its sequence, a default does.
DO $$
DECLARE
    writer text;
BEGIN
    FOR writer IN
        SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END
        FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS g
        WHERE c.oid = 'v1.billing_analytics'::regclass AND g.privilege_type = 'INSERT' AND g.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE v2.billing_analytics_id_seq TO %s', writer);
    END LOOP;
END $$;

CREATE OR REPLACE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON v2.billing_analytics
FOR EACH ROW EXECUTE FUNCTION rollout.billing_analytics_reverse();
ALTER TABLE v2.billing_analytics ENABLE ALWAYS TRIGGER rollout_sync;

-- A row trigger on the parent is on every partition as well; one for TRUNCATE is not.
DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT relid FROM pg_partition_tree('v2.billing_analytics') LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON %s'
            ' FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate()', relation
        );
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER rollout_no_truncate', relation);
    END LOOP;
END $$;
