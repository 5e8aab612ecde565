-- Jobs of the journal that are in Redis' hands: looked at before and after Redis is read, only those that stayed count.
DROP TABLE IF EXISTS migrated;
CREATE TEMP TABLE migrated AS
SELECT j.id FROM public.jobs AS j
WHERE j.status = 'migrated_to_redis' AND j.id IN (SELECT key::uuid FROM journal WHERE kind = 'job' AND phase = 'ack');
TRUNCATE redis_entries;
