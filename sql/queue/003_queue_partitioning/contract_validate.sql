ALTER TABLE public.job_logs VALIDATE CONSTRAINT job_logs_job_fkey;
