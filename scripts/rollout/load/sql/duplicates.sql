-- Jobs that were completed more than once: by their logs, or by what the service told this load.
SELECT key, max(times) AS times
FROM (
    SELECT key, times FROM completions
    UNION ALL
    SELECT key, count(*) FROM journal
    WHERE kind = 'worked' AND phase = 'ack' AND line ->> 'outcome' = 'completed' GROUP BY key
) AS found
GROUP BY key
HAVING max(times) > 1
