-- Swap queue/003_queue_partitioning: the authority becomes v2.jobs; blue's `jobs` becomes a view with its old columns.
-- job_logs' foreign key follows v1.jobs, which the same transaction keeps in step, so it goes on holding.
DROP TRIGGER rollout_lock_moving ON public.jobs;
DROP TRIGGER rollout_sync ON public.jobs;
DROP TRIGGER rollout_no_truncate ON public.jobs;
ALTER TABLE public.jobs SET SCHEMA v1;

CREATE VIEW public.jobs WITH (security_invoker = true) AS
SELECT id, queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
    last_error_message, created_at AS created, updated_at AS updated
FROM v2.jobs;

SELECT rollout.copy_grants('v1.jobs', 'public.jobs');
SELECT rollout.copy_grants('v1.jobs', 'v2.jobs');

CREATE TRIGGER rollout_one_queue BEFORE INSERT ON v2.jobs
FOR EACH ROW EXECUTE FUNCTION rollout.one_queue_a_job();
ALTER TABLE v2.jobs ENABLE ALWAYS TRIGGER rollout_one_queue;
CREATE TRIGGER rollout_hold_job BEFORE INSERT ON public.job_logs
FOR EACH ROW EXECUTE FUNCTION rollout.hold_job();
CREATE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON v2.jobs
FOR EACH ROW EXECUTE FUNCTION rollout.jobs_to_v1();
ALTER TABLE v2.jobs ENABLE ALWAYS TRIGGER rollout_sync;
CREATE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON v2.jobs
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE v2.jobs ENABLE ALWAYS TRIGGER rollout_no_truncate;
