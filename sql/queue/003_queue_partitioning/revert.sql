-- Revert queue/003_queue_partitioning: the swap, the other way. v2.jobs stays as the shadow, in step, for the next swap.
DROP TRIGGER rollout_one_queue ON v2.jobs;
DROP TRIGGER rollout_hold_job ON public.job_logs;
DROP TRIGGER rollout_sync ON v2.jobs;
DROP TRIGGER rollout_no_truncate ON v2.jobs;
SELECT rollout.revoke_grants('v2.jobs');
DROP VIEW public.jobs;
ALTER TABLE v1.jobs SET SCHEMA public;

CREATE TRIGGER rollout_lock_moving BEFORE UPDATE ON public.jobs
FOR EACH ROW WHEN (OLD.queue_name IS DISTINCT FROM NEW.queue_name) EXECUTE FUNCTION rollout.lock_moving_job();
ALTER TABLE public.jobs ENABLE ALWAYS TRIGGER rollout_lock_moving;
CREATE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.jobs
FOR EACH ROW EXECUTE FUNCTION rollout.jobs_to_v2();
ALTER TABLE public.jobs ENABLE ALWAYS TRIGGER rollout_sync;
CREATE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.jobs
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.jobs ENABLE ALWAYS TRIGGER rollout_no_truncate;
