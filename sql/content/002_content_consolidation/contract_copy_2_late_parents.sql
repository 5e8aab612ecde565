-- A parent that arrived while its orphan was being cleared is given back: the record knows which one it was.
WITH chunk AS MATERIALIZED (
    SELECT storage_key, parent_message_id FROM rollout.orphan_parents
    WHERE %(after)s::varchar IS NULL OR storage_key > %(after)s::varchar
    ORDER BY storage_key
    LIMIT %(limit)s
), linked AS (
    UPDATE v2.email_messages AS m SET parent_message_id = c.parent_message_id FROM chunk AS c
    WHERE m.storage_key = c.storage_key AND m.parent_message_id IS NULL
        AND EXISTS (SELECT FROM v2.email_messages AS p WHERE p.storage_key = c.parent_message_id)
)
SELECT (SELECT storage_key FROM chunk ORDER BY storage_key DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
