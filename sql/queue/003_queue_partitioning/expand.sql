-- Expand queue/003_queue_partitioning: the partitioned shadow v2.jobs, kept in step by public.jobs' writers.
CREATE SCHEMA IF NOT EXISTS v1;
CREATE SCHEMA IF NOT EXISTS v2;

-- The unique key of a partitioned table must contain the partition key, so id alone cannot be one; and queue_name was
-- nullable as found, which a primary key is not: a job without a queue has to stay writable for blue. That one id
-- stands in one queue only is kept by v1.jobs' primary key until contract (see rollout.jobs_to_v1).
CREATE TABLE IF NOT EXISTS v2.jobs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    queue_name varchar(100),
    status varchar(50) DEFAULT 'queued',
    priority int DEFAULT 100,
    payload jsonb NOT NULL,
    attempt_count int DEFAULT 0,
    max_attempts int DEFAULT 3,
    run timestamptz,
    started timestamptz,
    completed timestamptz,
    failed timestamptz,
    last_error_message text,
    tenant_id uuid,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT jobs_id_queue_name_key UNIQUE NULLS NOT DISTINCT (id, queue_name)
) PARTITION BY LIST (queue_name);

CREATE TABLE IF NOT EXISTS v2.jobs_email PARTITION OF v2.jobs
FOR VALUES IN ('email-sending', 'email-processing', 'email-sending:high', 'email-sending:low');
CREATE TABLE IF NOT EXISTS v2.jobs_analytics PARTITION OF v2.jobs
FOR VALUES IN ('analytics-daily', 'analytics-campaign', 'analytics-billing');
CREATE TABLE IF NOT EXISTS v2.jobs_warmup PARTITION OF v2.jobs FOR VALUES IN ('warmup-processing');
CREATE TABLE IF NOT EXISTS v2.jobs_bounce PARTITION OF v2.jobs FOR VALUES IN ('bounce-processing');
CREATE TABLE IF NOT EXISTS v2.jobs_webhook PARTITION OF v2.jobs FOR VALUES IN ('webhook-processing');
CREATE TABLE IF NOT EXISTS v2.jobs_default PARTITION OF v2.jobs DEFAULT;

-- As found, then the seed's two, on every partition.
CREATE INDEX IF NOT EXISTS idx_jobs_ready ON v2.jobs (status, run, priority, created_at) WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS idx_jobs_ready_by_queue ON v2.jobs (queue_name, status, run, priority) WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS idx_jobs_status_updated_at ON v2.jobs (status, updated_at, queue_name);
CREATE INDEX IF NOT EXISTS idx_jobs_tenant ON v2.jobs (tenant_id, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_jobs_priority ON v2.jobs (priority DESC, created_at);

COMMENT ON COLUMN v2.jobs.tenant_id IS 'from payload->>''tenant_id'' when a writer gives none; null when that is no uuid';
SELECT rollout.copy_comments('public.jobs', 'v2.jobs');

-- A writer that knows no tenant_id (blue, through its view) still gets it filled; a writer that sets it is believed.
CREATE OR REPLACE FUNCTION rollout.fill_job_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.tenant_id := coalesce(NEW.tenant_id, rollout.uuid_or_null(NEW.payload ->> 'tenant_id'));
    ELSIF NEW.payload IS DISTINCT FROM OLD.payload AND NEW.tenant_id IS NOT DISTINCT FROM OLD.tenant_id THEN
        NEW.tenant_id := rollout.uuid_or_null(NEW.payload ->> 'tenant_id');
    END IF;
    RETURN NEW;
END $$;

-- authority public.jobs -> shadow v2.jobs, in the writer's own transaction.
CREATE OR REPLACE FUNCTION rollout.jobs_to_v2() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND (NEW.id, NEW.queue_name) IS DISTINCT FROM (OLD.id, OLD.queue_name)) THEN
        DELETE FROM v2.jobs WHERE id = OLD.id AND queue_name IS NOT DISTINCT FROM OLD.queue_name;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO v2.jobs (
            id, queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
            last_error_message, tenant_id, created_at, updated_at
        ) VALUES (
            NEW.id, NEW.queue_name, NEW.status, NEW.priority, NEW.payload, NEW.attempt_count, NEW.max_attempts, NEW.run,
            NEW.started, NEW.completed, NEW.failed, NEW.last_error_message,
            rollout.uuid_or_null(NEW.payload ->> 'tenant_id'), NEW.created, NEW.updated
        ) ON CONFLICT (id, queue_name) DO UPDATE SET
            status = excluded.status, priority = excluded.priority, payload = excluded.payload,
            attempt_count = excluded.attempt_count, max_attempts = excluded.max_attempts, run = excluded.run,
            started = excluded.started, completed = excluded.completed, failed = excluded.failed,
            last_error_message = excluded.last_error_message, tenant_id = excluded.tenant_id,
            created_at = excluded.created_at, updated_at = excluded.updated_at;
    END IF;
    RETURN NULL;
END $$;

-- authority v2.jobs -> shadow v1.jobs. An update of queue_name reaches us as DELETE and INSERT of one id, both after the
-- row has moved: the DELETE half must not take v1's row (and, by its cascade, the job's logs) with it.
CREATE OR REPLACE FUNCTION rollout.jobs_to_v1() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM v2.jobs WHERE id = OLD.id) THEN
            DELETE FROM v1.jobs WHERE id = OLD.id;
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE v1.jobs AS o SET
            id = NEW.id, queue_name = NEW.queue_name, status = NEW.status, priority = NEW.priority, payload = NEW.payload,
            attempt_count = NEW.attempt_count, max_attempts = NEW.max_attempts, run = NEW.run, started = NEW.started,
            completed = NEW.completed, failed = NEW.failed, last_error_message = NEW.last_error_message,
            created = NEW.created_at, updated = NEW.updated_at
        WHERE o.id = OLD.id;
    ELSE
        INSERT INTO v1.jobs AS o (
            id, queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
            last_error_message, created, updated
        ) VALUES (
            NEW.id, NEW.queue_name, NEW.status, NEW.priority, NEW.payload, NEW.attempt_count, NEW.max_attempts, NEW.run,
            NEW.started, NEW.completed, NEW.failed, NEW.last_error_message, NEW.created_at, NEW.updated_at
        ) ON CONFLICT (id) DO UPDATE SET
            queue_name = excluded.queue_name, status = excluded.status, priority = excluded.priority,
            payload = excluded.payload, attempt_count = excluded.attempt_count, max_attempts = excluded.max_attempts,
            run = excluded.run, started = excluded.started, completed = excluded.completed, failed = excluded.failed,
            last_error_message = excluded.last_error_message, created = excluded.created, updated = excluded.updated;
    END IF;
    -- A tenant that the payload does not say is what public.jobs cannot hold: it goes to the reject ledger, and off it again
    -- when the row no longer says so.
    IF TG_OP <> 'DELETE' AND NEW.tenant_id IS DISTINCT FROM rollout.uuid_or_null(NEW.payload ->> 'tenant_id') THEN
        INSERT INTO rollout.rejects (change, relation, key, row, reason)
        VALUES ('003_queue_partitioning', 'jobs', NEW.id::text, to_jsonb(NEW), 'tenant_id is not the payload''s')
        ON CONFLICT (change, relation, key) DO UPDATE SET row = excluded.row, at = now();
    ELSIF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM rollout.uuid_or_null(OLD.payload ->> 'tenant_id')) THEN
        DELETE FROM rollout.rejects WHERE change = '003_queue_partitioning' AND relation = 'jobs' AND key = OLD.id::text
            AND NOT EXISTS (SELECT FROM v2.jobs WHERE id = OLD.id AND tenant_id IS DISTINCT FROM rollout.uuid_or_null(payload ->> 'tenant_id'));
    END IF;
    RETURN NULL;
END $$;

-- The shadow's key holds queue_name, which is no key in public.jobs: without this, a chunk could read the row before an
-- update of queue_name and insert it after the sync has moved it, a ghost. FOR UPDATE excludes the chunk's FOR KEY SHARE.
CREATE OR REPLACE FUNCTION rollout.lock_moving_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.jobs WHERE id = OLD.id FOR UPDATE;
    RETURN NEW;
END $$;

-- In the window an id stands in one queue only, as public.jobs' primary key had it. Two sessions that insert one id into
-- two queues at once meet here: the second waits for the first, then sees its row.
CREATE OR REPLACE FUNCTION rollout.one_queue_a_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('rollout.jobs ' || NEW.id, 0));
    IF EXISTS (SELECT FROM v2.jobs WHERE id = NEW.id AND queue_name IS DISTINCT FROM NEW.queue_name) THEN
        RAISE unique_violation USING MESSAGE = format('job %s stands in another queue already', NEW.id),
            CONSTRAINT = 'jobs_pkey', TABLE = 'jobs';
    END IF;
    RETURN NEW;
END $$;

-- A log's foreign key locks v1's row; whoever deletes the job locks v2's row first. One order for both: v2, then v1.
CREATE OR REPLACE FUNCTION rollout.hold_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM v2.jobs WHERE id = NEW.job_id FOR KEY SHARE;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER fill_job_tenant BEFORE INSERT OR UPDATE ON v2.jobs
FOR EACH ROW EXECUTE FUNCTION rollout.fill_job_tenant();
