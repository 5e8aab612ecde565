-- Records each message whose parent stands nowhere, then lets go of that parent, so that the self foreign key can hold.
WITH chunk AS MATERIALIZED (
    SELECT storage_key, parent_message_id FROM v2.email_messages
    WHERE %(after)s::varchar IS NULL OR storage_key > %(after)s::varchar
    ORDER BY storage_key
    LIMIT %(limit)s
), orphans AS (
    SELECT c.storage_key, c.parent_message_id FROM chunk AS c
    WHERE c.parent_message_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM v2.email_messages AS p WHERE p.storage_key = c.parent_message_id)
), recorded AS (
    INSERT INTO rollout.orphan_parents (storage_key, parent_message_id)
    SELECT storage_key, parent_message_id FROM orphans
    ON CONFLICT (storage_key) DO UPDATE SET parent_message_id = excluded.parent_message_id, recorded_at = now()
), cleared AS (
    UPDATE v2.email_messages AS m SET parent_message_id = NULL FROM orphans AS o
    -- A writer that gave the row another parent meanwhile was held to a real one by the foreign key.
    WHERE m.storage_key = o.storage_key AND m.parent_message_id = o.parent_message_id
)
SELECT (SELECT storage_key FROM chunk ORDER BY storage_key DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
