DROP TRIGGER IF EXISTS rollout_lock_moving ON public.jobs;
DROP TRIGGER IF EXISTS rollout_sync ON public.jobs;
DROP TRIGGER IF EXISTS rollout_no_truncate ON public.jobs;
DROP TABLE IF EXISTS v2.jobs;
