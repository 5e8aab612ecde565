-- Arm the sync: writers of the old tables wait for this transaction, so it holds nothing that could have been done before.
CREATE OR REPLACE TRIGGER rollout_lock_moving BEFORE UPDATE ON public.jobs
FOR EACH ROW WHEN (OLD.queue_name IS DISTINCT FROM NEW.queue_name) EXECUTE FUNCTION rollout.lock_moving_job();
ALTER TABLE public.jobs ENABLE ALWAYS TRIGGER rollout_lock_moving;
CREATE OR REPLACE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.jobs
FOR EACH ROW EXECUTE FUNCTION rollout.jobs_to_v2();
ALTER TABLE public.jobs ENABLE ALWAYS TRIGGER rollout_sync;
CREATE OR REPLACE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.jobs
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.jobs ENABLE ALWAYS TRIGGER rollout_no_truncate;

-- On an empty table: nothing to check.
ALTER TABLE v2.jobs DROP CONSTRAINT IF EXISTS jobs_queue_name_to_job_queues_fkey;
-- squawk-ignore constraint-missing-not-valid,adding-foreign-key-constraint
ALTER TABLE v2.jobs ADD CONSTRAINT jobs_queue_name_to_job_queues_fkey FOREIGN KEY (queue_name)
REFERENCES public.job_queues (name) ON DELETE CASCADE;
