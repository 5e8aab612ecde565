DO $$
DECLARE
    stage text := current_setting('rollout.stage');
    home text := CASE stage WHEN 'contract' THEN 'public' ELSE 'v2' END;
    partitions int;
    missing text;
BEGIN
    SELECT count(*) INTO partitions FROM pg_inherits WHERE inhparent = format('%I.jobs', home)::regclass;
    ASSERT partitions = 6, format('%s.jobs has %s partitions, not 6', home, partitions);
    SELECT string_agg(p.inhrelid::regclass::text || ' lacks ' || i.name, ', ') INTO missing
    FROM pg_inherits AS p
    CROSS JOIN (VALUES ('idx_jobs_tenant'), ('idx_jobs_priority'), ('idx_jobs_ready'), ('idx_jobs_ready_by_queue')) AS i (name)
    WHERE p.inhparent = format('%I.jobs', home)::regclass AND NOT EXISTS (
        SELECT FROM pg_index AS x JOIN pg_inherits AS xi ON xi.inhrelid = x.indexrelid
        WHERE x.indrelid = p.inhrelid AND x.indisvalid AND xi.inhparent = format('%I.%I', home, i.name)::regclass
    );
    ASSERT missing IS NULL, missing;
    IF stage IN ('expand', 'revert') THEN
        ASSERT (SELECT relkind FROM pg_class WHERE oid = 'public.jobs'::regclass) = 'r', 'public.jobs is no table';
        ASSERT (SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'public.jobs'::regclass AND tgname = 'rollout_sync') = 'A',
            'the sync from public.jobs to v2.jobs is not armed';
        ASSERT NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'v2.jobs'::regclass AND tgname = 'rollout_sync'),
            'a sync is armed both ways';
    ELSIF stage = 'swap' THEN
        ASSERT (SELECT relkind FROM pg_class WHERE oid = 'public.jobs'::regclass) = 'v', 'public.jobs is no view';
        ASSERT pg_relation_is_updatable('public.jobs', false) & 28 = 28, 'the view public.jobs cannot be written';
        ASSERT NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'v1.jobs'::regclass AND tgname = 'rollout_sync'),
            'a sync is armed both ways';
        ASSERT (SELECT confrelid FROM pg_constraint WHERE conname = 'job_logs_job_id_fkey') = 'v1.jobs'::regclass,
            'job_logs does not reference v1.jobs';
    ELSIF stage = 'contract' THEN
        ASSERT (SELECT convalidated FROM pg_constraint WHERE conname = 'job_logs_job_fkey' AND conparentid = 0),
            'job_logs'' foreign key is not validated';
        ASSERT to_regclass('v1.jobs') IS NULL, 'v1.jobs is still there';
    END IF;
END $$;
