-- Contract queue/003_queue_partitioning: the old table, its view and the sync go; v2.jobs comes home. No way back.
DROP TRIGGER rollout_one_queue ON v2.jobs;
DROP TRIGGER rollout_hold_job ON public.job_logs;
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
    SELECT queue_name INTO NEW.queue_name FROM public.jobs WHERE id = NEW.job_id LIMIT 1;
    IF NOT FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = format('job %s does not exist', NEW.job_id),
            CONSTRAINT = 'job_logs_job_fkey', TABLE = 'job_logs';
    END IF;
    RETURN NEW;
END $$;
DROP FUNCTION rollout.jobs_to_v1();
DROP FUNCTION rollout.jobs_to_v2();
DROP FUNCTION rollout.lock_moving_job();
DROP FUNCTION rollout.one_queue_a_job();
DROP FUNCTION rollout.hold_job();

-- A foreign key with a null half is not checked: the logs of a job without a queue go with it by this instead.
CREATE OR REPLACE FUNCTION public.delete_logs_of_queueless_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM public.job_logs WHERE job_id = OLD.id AND queue_name IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER delete_logs_of_queueless_job AFTER DELETE ON public.jobs
FOR EACH ROW WHEN (OLD.queue_name IS NULL) EXECUTE FUNCTION public.delete_logs_of_queueless_job();
