-- Contract, first part: job_logs learns its job's queue, so that a key of the partitioned table can be referenced.
-- New rows get it by trigger, old ones by the chunks that follow; blue is gone, so a column more hurts nobody.
ALTER TABLE public.job_logs ADD COLUMN IF NOT EXISTS queue_name varchar(100);

CREATE OR REPLACE FUNCTION public.fill_job_log_queue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT queue_name INTO NEW.queue_name FROM v2.jobs WHERE id = NEW.job_id LIMIT 1;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER fill_job_log_queue BEFORE INSERT OR UPDATE OF job_id ON public.job_logs
FOR EACH ROW WHEN (NEW.queue_name IS NULL AND NEW.job_id IS NOT NULL) EXECUTE FUNCTION public.fill_job_log_queue();

ALTER TABLE public.job_logs DROP CONSTRAINT IF EXISTS job_logs_job_fkey;
ALTER TABLE public.job_logs ADD CONSTRAINT job_logs_job_fkey FOREIGN KEY (job_id, queue_name)
REFERENCES v2.jobs (id, queue_name) ON DELETE CASCADE ON UPDATE CASCADE NOT VALID;
