-- Contract queue/003_queue_partitioning: the old table, its view and the sync go; v2.jobs comes home. No way back.
DROP TRIGGER rollout_sync ON v2.jobs;
DROP TRIGGER rollout_no_truncate ON v2.jobs;
DROP VIEW public.jobs;
ALTER TABLE public.job_logs DROP CONSTRAINT job_logs_job_id_fkey;
DROP TABLE v1.jobs;

ALTER TABLE v2.jobs SET SCHEMA public;
ALTER TABLE v2.jobs_email SET SCHEMA public;
ALTER TABLE v2.jobs_analytics SET SCHEMA public;
ALTER TABLE v2.jobs_warmup SET SCHEMA public;
ALTER TABLE v2.jobs_bounce SET SCHEMA public;
ALTER TABLE v2.jobs_webhook SET SCHEMA public;
ALTER TABLE v2.jobs_default SET SCHEMA public;

-- What stays of the change belongs to the product, not to the rollout.
CREATE OR REPLACE FUNCTION public.uuid_or_null(value text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN value ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN value::uuid END;
ALTER FUNCTION rollout.fill_job_tenant() SET SCHEMA public;
CREATE OR REPLACE FUNCTION public.fill_job_tenant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.tenant_id := coalesce(NEW.tenant_id, public.uuid_or_null(NEW.payload ->> 'tenant_id'));
    ELSIF NEW.payload IS DISTINCT FROM OLD.payload AND NEW.tenant_id IS NOT DISTINCT FROM OLD.tenant_id THEN
        NEW.tenant_id := public.uuid_or_null(NEW.payload ->> 'tenant_id');
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION public.fill_job_log_queue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.queue_name := (SELECT queue_name FROM public.jobs WHERE id = NEW.job_id LIMIT 1);
    RETURN NEW;
END $$;
DROP FUNCTION rollout.jobs_to_v1();
DROP FUNCTION rollout.jobs_to_v2();
DROP FUNCTION rollout.lock_moving_job();
