-- oltp, expand: validators in other processes cache whether a referent exists; these triggers tell them what changed.

-- One look-up for many references. SECURITY DEFINER, because row security hides other tenants' rows from a session that has
-- named its tenant, and may hide whole tables from the application; it answers only for the tenant that the caller names.
CREATE OR REPLACE FUNCTION rollout.existing_references(kinds text[], ids uuid[], tenants uuid[])
RETURNS TABLE (kind text, id uuid, tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT a.kind, t.id, t.tenant_id FROM unnest(kinds, ids, tenants) AS a (kind, id, tenant_id)
JOIN public.campaigns AS t ON a.kind = 'campaign' AND t.id = a.id AND t.tenant_id = a.tenant_id
UNION ALL
SELECT a.kind, t.id, t.tenant_id FROM unnest(kinds, ids, tenants) AS a (kind, id, tenant_id)
JOIN public.leads AS t ON a.kind = 'lead' AND t.id = a.id AND t.tenant_id = a.tenant_id
UNION ALL
SELECT a.kind, t.id, t.tenant_id FROM unnest(kinds, ids, tenants) AS a (kind, id, tenant_id)
JOIN public.email_accounts AS t ON a.kind = 'email_account' AND t.id = a.id AND t.tenant_id = a.tenant_id;
END;
REVOKE ALL ON FUNCTION rollout.existing_references(text[], uuid[], uuid[]) FROM PUBLIC;
GRANT USAGE ON SCHEMA rollout TO penguin_app;
GRANT EXECUTE ON FUNCTION rollout.existing_references(text[], uuid[], uuid[]) TO penguin_app;

-- Payload: '<kind> <tenant> <id>', or '<kind> many' for a statement that touched more than 100 rows, because every
-- notification is kept until the slowest listener has read it.
CREATE OR REPLACE FUNCTION rollout.notify_references() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    touched text[];
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            SELECT array_agg(pair) INTO touched
            FROM (SELECT format('%s %s', n.tenant_id, n.id) AS pair FROM rows_after AS n LIMIT 101) AS pairs;
        WHEN 'DELETE' THEN
            SELECT array_agg(pair) INTO touched
            FROM (SELECT format('%s %s', o.tenant_id, o.id) AS pair FROM rows_before AS o LIMIT 101) AS pairs;
        WHEN 'UPDATE' THEN
            SELECT array_agg(format('%s %s', pairs.tenant_id, pairs.id)) INTO touched
            FROM (
                (SELECT tenant_id, id FROM rows_before EXCEPT SELECT tenant_id, id FROM rows_after)
                UNION ALL
                (SELECT tenant_id, id FROM rows_after EXCEPT SELECT tenant_id, id FROM rows_before)
                LIMIT 101
            ) AS pairs;
        ELSE
            PERFORM pg_notify('rollout_references', TG_ARGV[0] || ' many');
            RETURN NULL;
    END CASE;
    IF cardinality(touched) > 100 THEN
        PERFORM pg_notify('rollout_references', TG_ARGV[0] || ' many');
    ELSE
        PERFORM pg_notify('rollout_references', TG_ARGV[0] || ' ' || pair) FROM unnest(touched) AS pair;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION rollout.notify_references() FROM PUBLIC;

CREATE OR REPLACE FUNCTION rollout.verify_001_cross_database_integrity(stage text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted int := CASE stage WHEN 'revert' THEN 0 ELSE 12 END;
    found int := (
        SELECT count(*) FROM pg_trigger
        WHERE tgname LIKE 'rollout_references_%' AND tgenabled = 'A' AND tgrelid IN (
            -- A later change may have moved a table to v2, and left a view in its place.
            SELECT oid FROM pg_class
            WHERE relkind = 'r' AND relnamespace IN (to_regnamespace('public'), to_regnamespace('v2'))
                AND relname IN ('campaigns', 'leads', 'email_accounts')
        )
    );
BEGIN
    IF found <> wanted THEN
        RAISE EXCEPTION '%: % of % triggers that notify validators are armed', stage, found, wanted;
    END IF;
END $$;
REVOKE ALL ON FUNCTION rollout.verify_001_cross_database_integrity(text) FROM PUBLIC;

DO $$
DECLARE
    referent record;
    event record;
BEGIN
    FOR referent IN
        SELECT * FROM (VALUES
            ('campaigns', 'campaign'), ('leads', 'lead'), ('email_accounts', 'email_account')
        ) AS r (relation, kind)
    LOOP
        FOR event IN
            SELECT * FROM (VALUES
                ('insert', 'REFERENCING NEW TABLE AS rows_after'),
                ('update', 'REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after'),
                ('delete', 'REFERENCING OLD TABLE AS rows_before'),
                ('truncate', '')
            ) AS e (name, transition)
        LOOP
            EXECUTE format(
                'CREATE OR REPLACE TRIGGER rollout_references_%s AFTER %s ON public.%I %s'
                ' FOR EACH STATEMENT EXECUTE FUNCTION rollout.notify_references(%L)',
                event.name, upper(event.name), referent.relation, event.transition, referent.kind
            );
            EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER rollout_references_%s', referent.relation, event.name);
        END LOOP;
    END LOOP;
END $$;
