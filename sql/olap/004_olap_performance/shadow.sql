-- What 004 adds beside the partitioned table: years as the data has them, oltp's campaigns, and the performance view.
COMMENT ON TABLE v2.billing_analytics IS 'usage by tenant and period, one partition a year (UTC) of period_start';
COMMENT ON COLUMN v2.billing_analytics.id IS 'unique by its sequence; foreign keys use (id, period_start)';
COMMENT ON TABLE v2.billing_analytics_default IS 'periods for which no yearly partition exists';

SELECT rollout.document_reference('v2.billing_analytics', 'tenant_id', ARRAY['tenants(id) from tenant_id']);
SELECT rollout.document_reference(
    'v2.billing_analytics', 'subscription_id', ARRAY['subscriptions(id) from subscription_id within tenant_id = tenant_id']
);

-- Creates the yearly partitions from first_year to last_year that are missing and returns how many it created. A year
-- of which the default partition already holds rows is left there: moving them would need a long lock.
CREATE OR REPLACE FUNCTION rollout.create_billing_years(parent regclass, first_year int, last_year int) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home name := (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = parent);
    starts timestamptz;
    ends timestamptz;
    misplaced boolean;
    created int := 0;
BEGIN
    FOR year IN first_year..last_year LOOP
        CONTINUE WHEN to_regclass(format('%I.billing_analytics_y%s', home, year)) IS NOT NULL;
        starts := make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC');
        ends := make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC');
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.billing_analytics_default WHERE period_start >= $1 AND period_start < $2)', home)
        INTO misplaced USING starts, ends;
        CONTINUE WHEN misplaced;
        EXECUTE format(
            'CREATE TABLE %I.billing_analytics_y%s PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', home, year, parent, starts, ends
        );
        created := created + 1;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION rollout.create_billing_years(regclass, int, int) FROM PUBLIC;

-- A period that is far from today is a typing error and must not cost a thousand partitions: the default holds it.
SELECT rollout.create_billing_years(
    'v2.billing_analytics',
    extract(year FROM least(min(period_start), now()) AT TIME ZONE 'UTC')::int,
    extract(year FROM greatest(max(period_start), now()) AT TIME ZONE 'UTC')::int + 1
)
FROM public.billing_analytics
WHERE period_start BETWEEN now() - interval '30 years' AND now() + interval '10 years';

-- campaigns belong to oltp; performance_view.refresh brings this copy over before each refresh of the view.
CREATE TABLE IF NOT EXISTS v2.campaign_reference (
    campaign_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    company_id text,
    name text NOT NULL,
    status text,
    copied_at timestamptz NOT NULL
);
COMMENT ON TABLE v2.campaign_reference IS 'copy of oltp campaigns, kept by the rollout library; nobody else writes it';
COMMENT ON COLUMN v2.campaign_reference.copied_at IS 'when a copy last found this row new or changed';

-- Aggregated, because campaign_analytics may hold several rows of one campaign and a concurrent refresh needs a unique key.
CREATE MATERIALIZED VIEW IF NOT EXISTS v2.campaign_performance_mv AS
SELECT
    a.campaign_id,
    r.name AS campaign_name,
    r.status AS campaign_status,
    sum(a.sent) AS sent,
    sum(a.delivered) AS delivered,
    sum(a.opened_tracked) AS opened_tracked,
    sum(a.clicked_tracked) AS clicked_tracked,
    sum(a.replied) AS replied,
    round(sum(a.delivered) * 100.0 / nullif(sum(a.sent), 0), 2) AS delivery_rate,
    round(sum(a.opened_tracked) * 100.0 / nullif(sum(a.delivered), 0), 2) AS open_rate,
    round(sum(a.clicked_tracked) * 100.0 / nullif(sum(a.delivered), 0), 2) AS click_rate,
    max(a.updated) AS updated_at,
    r.tenant_id
FROM public.campaign_analytics AS a
JOIN v2.campaign_reference AS r ON r.campaign_id = a.campaign_id
GROUP BY a.campaign_id, r.name, r.status, r.tenant_id
WITH NO DATA;
COMMENT ON MATERIALIZED VIEW v2.campaign_performance_mv IS
'counters and rates (percent) by campaign over all tenants: row security does not apply to a materialised view, so'
' whoever may SELECT it sees every tenant, until 005 puts a filtering view before it. Freshness: campaign_performance_freshness';
CREATE UNIQUE INDEX IF NOT EXISTS idx_campaign_performance_mv_id ON v2.campaign_performance_mv (campaign_id);
CREATE INDEX IF NOT EXISTS idx_campaign_performance_mv_status ON v2.campaign_performance_mv (campaign_status);
CREATE INDEX IF NOT EXISTS idx_campaign_performance_mv_tenant_id ON v2.campaign_performance_mv (tenant_id);

CREATE TABLE IF NOT EXISTS v2.campaign_performance_freshness (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    refreshed_at timestamptz NOT NULL,
    source_copied_at timestamptz NOT NULL,
    rows bigint NOT NULL,
    without_campaign bigint NOT NULL,
    duration interval NOT NULL
);
COMMENT ON TABLE v2.campaign_performance_freshness IS 'how old campaign_performance_mv is, and from how old a copy of campaigns';
COMMENT ON COLUMN v2.campaign_performance_freshness.source_copied_at IS 'start of the copy from oltp';
COMMENT ON COLUMN v2.campaign_performance_freshness.without_campaign IS
'campaign ids in campaign_analytics that oltp does not have: not in the view, listed by the scan of references';

REVOKE ALL ON v2.campaign_performance_mv, v2.campaign_reference, v2.campaign_performance_freshness FROM PUBLIC;
GRANT SELECT ON v2.campaign_performance_mv, v2.campaign_performance_freshness TO penguin_app, penguin_analyst;

-- Raises with everything that is not as this change wants it after a stage; what was carried is the engine's to verify.
CREATE OR REPLACE FUNCTION rollout.verify_004_olap_performance(stage text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home text := CASE stage WHEN 'contract' THEN 'public' ELSE 'v2' END;
    wrong text[] := '{}';
BEGIN
    IF to_regclass(format('%s.billing_analytics_y%s', home, extract(year FROM now() AT TIME ZONE 'UTC')::int + 1)) IS NULL THEN
        wrong := wrong || 'the partition of the next year is missing'::text;
    END IF;
    IF stage IN ('swap', 'contract') THEN
        IF (
            SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = 'public.campaign_analytics'::regclass AND i.indisvalid
                AND c.relname IN ('idx_campaign_analytics_dashboard', 'idx_campaign_analytics_metrics')
        ) <> 2 THEN
            wrong := wrong || 'an index on campaign_analytics is missing or invalid'::text;
        END IF;
        IF (SELECT relispopulated FROM pg_class WHERE oid = to_regclass(home || '.campaign_performance_mv')) IS NOT TRUE THEN
            wrong := wrong || 'campaign_performance_mv was never refreshed'::text;
        END IF;
    END IF;
    IF stage = 'contract' AND (
        SELECT count(*) FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'public.billing_analytics'::regclass AND conparentid = 0 AND convalidated
    ) <> 5 THEN
        wrong := wrong || 'billing_analytics is not referenced by five validated foreign keys'::text;
    END IF;
    IF wrong <> '{}' THEN
        RAISE EXCEPTION '%: %', stage, array_to_string(wrong, '; ');
    END IF;
END $$;
REVOKE ALL ON FUNCTION rollout.verify_004_olap_performance(text) FROM PUBLIC;
