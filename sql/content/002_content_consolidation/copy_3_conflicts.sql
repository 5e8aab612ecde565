-- Records what the keys in both tables hold differently; from here on the triggers keep the record.
WITH chunk AS MATERIALIZED (
    SELECT storage_key FROM public.content_inbox_message_refs
    WHERE %(after)s::varchar IS NULL OR storage_key > %(after)s::varchar
    ORDER BY storage_key
    LIMIT %(limit)s
), recorded AS (
    INSERT INTO rollout.message_conflicts (storage_key, differing, inbox_row)
    SELECT r.storage_key, array_agg(i.key ORDER BY i.key), to_jsonb(r)
    FROM chunk
    JOIN public.content_inbox_message_refs AS r ON r.storage_key = chunk.storage_key
    JOIN public.email_messages AS e ON e.storage_key = chunk.storage_key
    CROSS JOIN LATERAL jsonb_each(to_jsonb(r)) AS i
    WHERE to_jsonb(e) -> i.key IS DISTINCT FROM i.value
    GROUP BY r.storage_key, to_jsonb(r)
    ON CONFLICT (storage_key) DO NOTHING
)
SELECT (SELECT storage_key FROM chunk ORDER BY storage_key DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
