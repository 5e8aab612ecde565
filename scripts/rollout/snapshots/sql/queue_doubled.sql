-- Some of the jobs that stand more than once.
SELECT id FROM redis_entries WHERE NOT dead GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT %(limit)s
