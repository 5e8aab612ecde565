-- olap, contract, first step: the five tables that point at billing_analytics(id) learn the other half of its new key.
-- After finalize only: a new column would change what the old release's SELECT * returns.
CREATE OR REPLACE FUNCTION rollout.fill_billing_period_start() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.billing_id IS NULL THEN
        NEW.billing_period_start := NULL;
    ELSIF NEW.billing_period_start IS NULL OR (
        TG_OP = 'UPDATE' AND NEW.billing_id IS DISTINCT FROM OLD.billing_id
        AND NEW.billing_period_start IS NOT DISTINCT FROM OLD.billing_period_start
    ) THEN
        -- No row: the column stays null and the foreign key, MATCH FULL, refuses the writer as the old one did.
        NEW.billing_period_start := (SELECT b.period_start FROM v2.billing_analytics AS b WHERE b.id = NEW.billing_id);
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION rollout.fill_billing_period_start() FROM PUBLIC;

DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY[
        'campaign_analytics', 'mailbox_analytics', 'lead_analytics', 'warmup_analytics', 'sequence_step_analytics'
    ] LOOP
        EXECUTE format('ALTER TABLE public.%I ADD COLUMN IF NOT EXISTS billing_period_start timestamptz', relation);
        EXECUTE format(
            'COMMENT ON COLUMN public.%I.billing_period_start IS %L', relation,
            'period_start of billing_id; filled by a trigger when a writer names billing_id alone'
        );
        -- On every update: MATCH FULL checks a row whose key is half filled even when an update leaves the key alone, so a
        -- writer that reaches a row before the chunks do has to fill it.
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER fill_billing_period_start BEFORE INSERT OR UPDATE'
            ' ON public.%I FOR EACH ROW EXECUTE FUNCTION rollout.fill_billing_period_start()', relation
        );
        EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER fill_billing_period_start', relation);
        -- ON UPDATE CASCADE, because a correction of period_start did not concern these tables before and must not fail now.
        IF NOT EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = format('public.%I', relation)::regclass AND conname = relation || '_billing_fkey'
        ) THEN
            EXECUTE format(
                'ALTER TABLE public.%I ADD CONSTRAINT %I FOREIGN KEY (billing_id, billing_period_start)'
                ' REFERENCES v2.billing_analytics (id, period_start) MATCH FULL ON UPDATE CASCADE NOT VALID',
                relation, relation || '_billing_fkey'
            );
        END IF;
    END LOOP;
END $$;
