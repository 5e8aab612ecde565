-- olap, expand: the partitioned shadow of billing_analytics, the copy of oltp's campaigns, and the performance view.
-- Locks on the table in use come last, so that they are held for the shortest time.
CREATE SCHEMA IF NOT EXISTS v1;
CREATE SCHEMA IF NOT EXISTS v2;

CREATE SEQUENCE IF NOT EXISTS v2.billing_analytics_id_seq AS bigint;

-- A partitioned table's unique keys must contain the partition key, so the id is unique by its sequence and the
-- primary key is (id, period_start). An identity column on a partitioned table needs Postgres 17; a default does not.
CREATE TABLE IF NOT EXISTS v2.billing_analytics (
    id bigint NOT NULL DEFAULT nextval('v2.billing_analytics_id_seq'),
    tenant_id text NOT NULL,
    subscription_id text,
    emails_sent int DEFAULT 0,
    mailboxes_used int DEFAULT 0,
    domains_used int DEFAULT 0,
    campaigns_used int DEFAULT 0,
    leads_used int DEFAULT 0,
    warmups_active int DEFAULT 0,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT billing_analytics_pkey PRIMARY KEY (id, period_start),
    CONSTRAINT idx_billing_analytics_tenant_period UNIQUE (tenant_id, period_start, period_end)
) PARTITION BY RANGE (period_start);
ALTER SEQUENCE v2.billing_analytics_id_seq OWNED BY v2.billing_analytics.id;

COMMENT ON TABLE v2.billing_analytics IS 'usage by tenant and period, one partition a year (UTC) of period_start';
COMMENT ON COLUMN v2.billing_analytics.id IS 'unique by its sequence; foreign keys use (id, period_start)';
COMMENT ON CONSTRAINT idx_billing_analytics_tenant_period ON v2.billing_analytics IS
'the unique key as found: its index is the one on (tenant_id, period_start, period_end) that 004 wants, a second one'
' would be redundant';

SELECT rollout.document_reference('v2.billing_analytics', 'tenant_id', ARRAY['tenants(id) from tenant_id']);
SELECT rollout.document_reference(
    'v2.billing_analytics', 'subscription_id', ARRAY['subscriptions(id) from subscription_id within tenant_id = tenant_id']
);

CREATE TABLE IF NOT EXISTS v2.billing_analytics_default PARTITION OF v2.billing_analytics DEFAULT;
COMMENT ON TABLE v2.billing_analytics_default IS 'periods for which no yearly partition exists';

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
-- This one reads the whole table, so the engine's limit for statements under a lock is lifted for it: no lock is held yet
-- that a writer would wait for, which is why change.yml declares none for this stage.
SELECT set_config('rollout.statement_timeout', current_setting('statement_timeout'), true);
SET LOCAL statement_timeout = 0;
SELECT rollout.create_billing_years(
    'v2.billing_analytics',
    extract(year FROM least(min(period_start), now()) AT TIME ZONE 'UTC')::int,
    extract(year FROM greatest(max(period_start), now()) AT TIME ZONE 'UTC')::int + 1
)
FROM public.billing_analytics
WHERE period_start BETWEEN now() - interval '30 years' AND now() + interval '10 years';
SELECT set_config('statement_timeout', current_setting('rollout.statement_timeout'), true);

-- The old relation with the new columns. A view is bound to the relation and not to its name, so it follows the table to
-- v1 and back: the comparison reads the same on both sides of the swap.
CREATE OR REPLACE VIEW rollout.billing_analytics_old AS
SELECT
    id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used, warmups_active,
    period_start, period_end, updated AS updated_at
FROM public.billing_analytics;

-- Old to new, while the old table is the authority. Not INSERT ... ON CONFLICT DO UPDATE: with a second unique key that is
-- not the arbiter, a copy that inserts the same row at the same moment makes the writer fail with a unique violation
-- (seen under load). DO NOTHING without a target arbitrates on both keys, and waits for whoever was first.
CREATE OR REPLACE FUNCTION rollout.billing_analytics_forward() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND (OLD.id, OLD.period_start) IS DISTINCT FROM (NEW.id, NEW.period_start)) THEN
        DELETE FROM v2.billing_analytics WHERE id = OLD.id AND period_start = OLD.period_start;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN NULL;
    END IF;
    FOR attempt IN 1..10 LOOP
        IF TG_OP = 'UPDATE' OR attempt > 1 THEN
            UPDATE v2.billing_analytics SET
                tenant_id = NEW.tenant_id, subscription_id = NEW.subscription_id, emails_sent = NEW.emails_sent,
                mailboxes_used = NEW.mailboxes_used, domains_used = NEW.domains_used, campaigns_used = NEW.campaigns_used,
                leads_used = NEW.leads_used, warmups_active = NEW.warmups_active, period_end = NEW.period_end,
                updated_at = NEW.updated
            WHERE id = NEW.id AND period_start = NEW.period_start;
            IF FOUND THEN
                RETURN NULL;
            END IF;
        END IF;
        INSERT INTO v2.billing_analytics (
            id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,
            warmups_active, period_start, period_end, updated_at
        ) VALUES (
            NEW.id, NEW.tenant_id, NEW.subscription_id, NEW.emails_sent, NEW.mailboxes_used, NEW.domains_used,
            NEW.campaigns_used, NEW.leads_used, NEW.warmups_active, NEW.period_start, NEW.period_end, NEW.updated
        )
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END LOOP;
    RAISE serialization_failure USING MESSAGE = format('the shadow of billing_analytics has another row in place of id %s', NEW.id);
END $$;
REVOKE ALL ON FUNCTION rollout.billing_analytics_forward() FROM PUBLIC;

-- New to old, while the new table is the authority. Every column has its twin, so the old row is simply made equal.
-- A change of period_start that crosses partitions arrives as DELETE and INSERT: the DELETE must leave the old row, which
-- the other tables' foreign keys still point at. An id used twice is refused, as the old primary key refused it.
CREATE OR REPLACE FUNCTION rollout.billing_analytics_reverse() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM v2.billing_analytics WHERE id = OLD.id))
        OR (TG_OP = 'UPDATE' AND OLD.id <> NEW.id) THEN
        DELETE FROM v1.billing_analytics WHERE id = OLD.id;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' AND EXISTS (
        SELECT FROM v2.billing_analytics WHERE id = NEW.id AND period_start <> NEW.period_start
    ) THEN
        RAISE unique_violation USING
            MESSAGE = format('billing_analytics has the id %s already', NEW.id),
            HINT = 'leave id out: its default is a sequence';
    END IF;
    -- UPDATE first: it locks as its changed columns need, where an upsert's would lock as for a key and so wait for every
    -- open transaction whose row of another table points at this one.
    UPDATE v1.billing_analytics SET
        tenant_id = NEW.tenant_id, subscription_id = NEW.subscription_id, emails_sent = NEW.emails_sent,
        mailboxes_used = NEW.mailboxes_used, domains_used = NEW.domains_used, campaigns_used = NEW.campaigns_used,
        leads_used = NEW.leads_used, warmups_active = NEW.warmups_active, period_start = NEW.period_start,
        period_end = NEW.period_end, updated = NEW.updated_at
    WHERE id = NEW.id;
    IF NOT FOUND THEN
        INSERT INTO v1.billing_analytics (
            id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,
            warmups_active, period_start, period_end, updated
        ) OVERRIDING SYSTEM VALUE VALUES (
            NEW.id, NEW.tenant_id, NEW.subscription_id, NEW.emails_sent, NEW.mailboxes_used, NEW.domains_used,
            NEW.campaigns_used, NEW.leads_used, NEW.warmups_active, NEW.period_start, NEW.period_end, NEW.updated_at
        );
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION rollout.billing_analytics_reverse() FROM PUBLIC;

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
    max(a.updated) AS updated_at
FROM public.campaign_analytics AS a
JOIN v2.campaign_reference AS r ON r.campaign_id = a.campaign_id
GROUP BY a.campaign_id, r.name, r.status
WITH NO DATA;
COMMENT ON MATERIALIZED VIEW v2.campaign_performance_mv IS
'counters and rates (percent) by campaign over all tenants: row security does not apply to a materialised view, so'
' whoever may SELECT it sees every tenant, and the application filters. Freshness: campaign_performance_freshness';
CREATE UNIQUE INDEX IF NOT EXISTS idx_campaign_performance_mv_id ON v2.campaign_performance_mv (campaign_id);
CREATE INDEX IF NOT EXISTS idx_campaign_performance_mv_status ON v2.campaign_performance_mv (campaign_status);

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
GRANT SELECT ON v2.campaign_performance_mv, v2.campaign_performance_freshness TO penguin_app;

-- Raises with everything that is not as it should be after a stage; verify.sql calls it.
CREATE OR REPLACE FUNCTION rollout.verify_004_olap_performance(stage text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home text := CASE stage WHEN 'contract' THEN 'public' ELSE 'v2' END;
    was text := CASE stage WHEN 'swap' THEN 'v1' ELSE 'public' END;
    now_authority boolean := stage IN ('swap', 'contract');
    wrong text[] := '{}';
    populated boolean;
BEGIN
    IF stage NOT IN ('expand', 'swap', 'revert', 'contract') THEN
        RAISE EXCEPTION 'unknown stage %', stage;
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass(home || '.billing_analytics')) IS DISTINCT FROM 'p' THEN
        RAISE EXCEPTION '%: %.billing_analytics is not a partitioned table', stage, home;
    END IF;
    IF to_regclass(format('%s.billing_analytics_y%s', home, extract(year FROM now() AT TIME ZONE 'UTC')::int + 1)) IS NULL THEN
        wrong := wrong || 'the partition of the next year is missing'::text;
    END IF;
    IF EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(home || '.billing_analytics') AND c.relrowsecurity
    ) THEN
        wrong := wrong || 'a partition has row security of its own'::text;
    END IF;
    IF stage <> 'contract' THEN
        IF (SELECT relkind FROM pg_class WHERE oid = to_regclass(was || '.billing_analytics')) IS DISTINCT FROM 'r' THEN
            wrong := wrong || format('%s.billing_analytics is not the table as found', was);
        ELSIF EXISTS (
            SELECT FROM pg_class WHERE oid = to_regclass(was || '.billing_analytics') AND relrowsecurity
        ) OR EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass(was || '.billing_analytics') AND attacl IS NOT NULL
        ) THEN
            wrong := wrong || 'billing_analytics has row security or column privileges, which this change does not carry over'::text;
        END IF;
        IF (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass(was || '.billing_analytics')) <> 5 THEN
            wrong := wrong || format('%s.billing_analytics is not referenced by five foreign keys', was);
        END IF;
    END IF;
    IF (stage IN ('expand', 'revert')) <> EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = to_regclass('public.billing_analytics')
            AND tgname = 'rollout_sync' AND tgenabled = 'A'
    ) THEN
        wrong := wrong || 'the forward sync is not as this stage wants it'::text;
    END IF;
    IF (stage = 'swap') <> (
        SELECT bool_and(EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = tree.relid AND tgname = 'rollout_sync' AND tgenabled = 'A'
        )) FROM pg_partition_tree(to_regclass(home || '.billing_analytics')) AS tree
    ) THEN
        wrong := wrong || 'the reverse sync is not as this stage wants it'::text;
    END IF;
    IF has_schema_privilege('penguin_app', 'v2', 'USAGE') <> now_authority THEN
        wrong := wrong || format('penguin_app %s use schema v2', CASE WHEN now_authority THEN 'cannot' ELSE 'can' END);
    END IF;
    IF now_authority THEN
        IF NOT has_table_privilege('penguin_app', home || '.billing_analytics', 'SELECT, INSERT, UPDATE, DELETE') THEN
            wrong := wrong || 'penguin_app cannot read and write billing_analytics'::text;
        END IF;
        IF (
            SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = 'public.campaign_analytics'::regclass AND i.indisvalid
                AND c.relname IN ('idx_campaign_analytics_dashboard', 'idx_campaign_analytics_metrics')
        ) <> 2 THEN
            wrong := wrong || 'an index on campaign_analytics is missing or invalid'::text;
        END IF;
        SELECT relispopulated INTO populated FROM pg_class WHERE oid = to_regclass(home || '.campaign_performance_mv');
        IF populated IS NOT TRUE THEN
            wrong := wrong || 'campaign_performance_mv was never refreshed'::text;
        END IF;
    END IF;
    IF stage = 'swap' THEN
        IF (
            SELECT reloptions::text ~ 'security_invoker=(true|on|1)' FROM pg_class WHERE oid = to_regclass('public.billing_analytics')
        ) IS NOT TRUE THEN
            wrong := wrong || 'public.billing_analytics is not a security_invoker view'::text;
        END IF;
        PERFORM rollout.assert_same_face('v1.billing_analytics', 'public.billing_analytics');
    END IF;
    IF stage = 'contract' THEN
        IF to_regclass('v1.billing_analytics') IS NOT NULL OR to_regclass('v2.billing_analytics') IS NOT NULL THEN
            wrong := wrong || 'a relation of the rollout is left'::text;
        END IF;
        IF (
            SELECT count(*) FROM pg_constraint
            WHERE contype = 'f' AND confrelid = 'public.billing_analytics'::regclass AND conparentid = 0 AND convalidated
        ) <> 5 THEN
            wrong := wrong || 'billing_analytics is not referenced by five validated foreign keys'::text;
        END IF;
    END IF;
    IF wrong <> '{}' THEN
        RAISE EXCEPTION '%: %', stage, array_to_string(wrong, '; ');
    END IF;
END $$;
REVOKE ALL ON FUNCTION rollout.verify_004_olap_performance(text) FROM PUBLIC;

CREATE OR REPLACE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.billing_analytics
FOR EACH ROW EXECUTE FUNCTION rollout.billing_analytics_forward();
CREATE OR REPLACE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.billing_analytics
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.billing_analytics ENABLE ALWAYS TRIGGER rollout_sync;
ALTER TABLE public.billing_analytics ENABLE ALWAYS TRIGGER rollout_no_truncate;
