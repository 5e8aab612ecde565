-- Records messages whose parent stands nowhere. Nothing is changed here: blue may write such parents until it is gone.
WITH chunk AS MATERIALIZED (
    SELECT storage_key, parent_message_id FROM v2.email_messages
    WHERE %(after)s::varchar IS NULL OR storage_key > %(after)s::varchar
    ORDER BY storage_key
    LIMIT %(limit)s
), recorded AS (
    INSERT INTO rollout.orphan_parents (storage_key, parent_message_id)
    SELECT c.storage_key, c.parent_message_id FROM chunk AS c
    WHERE c.parent_message_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM v2.email_messages AS p WHERE p.storage_key = c.parent_message_id)
    ON CONFLICT (storage_key) DO UPDATE SET parent_message_id = excluded.parent_message_id, recorded_at = now()
)
SELECT (SELECT storage_key FROM chunk ORDER BY storage_key DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
