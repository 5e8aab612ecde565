-- What stays of the change belongs to the product, not to the rollout.
CREATE OR REPLACE FUNCTION public.uuid_or_null(value text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN value ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN value::uuid END;
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
CREATE TRIGGER fill_job_tenant BEFORE INSERT OR UPDATE ON public.jobs
FOR EACH ROW EXECUTE FUNCTION public.fill_job_tenant();
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

-- A foreign key with a null half is not checked: the logs of a job without a queue go with it by this instead.
CREATE OR REPLACE FUNCTION public.delete_logs_of_queueless_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM public.job_logs WHERE job_id = OLD.id AND queue_name IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER delete_logs_of_queueless_job AFTER DELETE ON public.jobs
FOR EACH ROW WHEN (OLD.queue_name IS NULL) EXECUTE FUNCTION public.delete_logs_of_queueless_job();
