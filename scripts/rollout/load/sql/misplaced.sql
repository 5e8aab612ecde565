-- How many lists (other than the dead letters) hold each job that is in Redis' hands, where that is not exactly one.
SELECT m.id::text, count(r.key)
FROM migrated AS m
JOIN public.jobs AS j ON j.id = m.id AND j.status = 'migrated_to_redis'
LEFT JOIN redis_entries AS r ON r.key = m.id::text AND r.list <> 'queue:dead-letter'
GROUP BY m.id
HAVING count(r.key) <> 1
