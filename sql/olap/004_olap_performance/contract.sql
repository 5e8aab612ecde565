-- olap, contract: what was made beside the table moves home with it.
ALTER TABLE v2.campaign_reference SET SCHEMA public;
ALTER TABLE v2.campaign_performance_freshness SET SCHEMA public;
-- Once row security is on there are two of that name: the view that clients know, and what it filters.
DO $$
DECLARE
    view record;
BEGIN
    FOR view IN
        SELECT c.relname, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
        FROM pg_class AS c
        WHERE c.relnamespace = 'v2'::regnamespace AND c.relname IN ('campaign_performance_mv', 'campaign_performance_mv_all')
    LOOP
        EXECUTE format('ALTER %s v2.%I SET SCHEMA public', view.kind, view.relname);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION rollout.fill_billing_period_start() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.billing_id IS NULL THEN
        NEW.billing_period_start := NULL;
    ELSIF NEW.billing_period_start IS NULL OR (
        TG_OP = 'UPDATE' AND NEW.billing_id IS DISTINCT FROM OLD.billing_id
        AND NEW.billing_period_start IS NOT DISTINCT FROM OLD.billing_period_start
    ) THEN
        NEW.billing_period_start := (SELECT b.period_start FROM public.billing_analytics AS b WHERE b.id = NEW.billing_id);
    END IF;
    RETURN NEW;
END $$;
