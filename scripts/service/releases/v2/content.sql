-- Messages after content consolidation: one table for both directions. A parent is stored only when it exists.

-- name: record_outbound
INSERT INTO email_messages (storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
                            message_type, from_email, to_email, subject, status)
VALUES (%(storage_key)s, %(tenant_id)s::uuid, %(email_account_id)s::uuid, %(campaign_id)s::uuid, %(lead_id)s::uuid,
        (SELECT p.storage_key FROM email_messages AS p WHERE p.storage_key = %(parent_message_id)s),
        'outbound', %(message_type)s, %(from_email)s, %(to_email)s, %(subject)s, %(status)s)
ON CONFLICT (storage_key) DO NOTHING
RETURNING storage_key, parent_message_id;

-- name: record_inbound
INSERT INTO email_messages (storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
                            message_type, from_email, to_email, subject, status)
VALUES (%(storage_key)s, %(tenant_id)s::uuid, %(email_account_id)s::uuid, %(campaign_id)s::uuid, %(lead_id)s::uuid,
        (SELECT p.storage_key FROM email_messages AS p WHERE p.storage_key = %(parent_message_id)s),
        'inbound', %(message_type)s, %(from_email)s, %(to_email)s, %(subject)s, %(status)s)
ON CONFLICT (storage_key) DO NOTHING
RETURNING storage_key, parent_message_id;

-- name: set_status
UPDATE email_messages SET status = %(status)s, processed = now(), updated_at = now()
WHERE storage_key = %(storage_key)s
RETURNING storage_key, status;

-- name: read_message
SELECT storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
       from_email, to_email, subject, status, processed, created_at AS created, updated_at AS updated
FROM email_messages WHERE storage_key = %(storage_key)s;

-- name: read_thread
-- Up to the first message, then down from it. The LIMIT in each LATERAL keeps the planner to the indexes, a few rows a step:
-- it cannot know how short threads are, and would read the whole table for each of them.
WITH RECURSIVE up (storage_key, parent_message_id, height) AS (
    SELECT m.storage_key, m.parent_message_id, 0
    FROM (SELECT storage_key, parent_message_id FROM email_messages WHERE storage_key = %(storage_key)s LIMIT 1) AS m
    UNION
    SELECT m.storage_key, m.parent_message_id, up.height + 1
    FROM up
    CROSS JOIN LATERAL (SELECT storage_key, parent_message_id FROM email_messages WHERE storage_key = up.parent_message_id LIMIT 1) AS m
    WHERE up.height < 20
),
down (storage_key, depth) AS (
    (SELECT up.storage_key, 0 FROM up ORDER BY up.height DESC LIMIT 1)
    UNION
    SELECT m.storage_key, down.depth + 1
    FROM down
    CROSS JOIN LATERAL (SELECT storage_key FROM email_messages WHERE parent_message_id = down.storage_key LIMIT 200) AS m
    WHERE down.depth < 20
)
SELECT down.storage_key, down.depth, m.parent_message_id, m.direction, m.subject, m.status
FROM (SELECT storage_key, depth FROM down ORDER BY depth, storage_key LIMIT 200) AS down
CROSS JOIN LATERAL (SELECT parent_message_id, direction, subject, status FROM email_messages WHERE storage_key = down.storage_key LIMIT 1) AS m
ORDER BY down.depth, down.storage_key;

-- name: read_content
SELECT storage_key, tenant_id, content_text, content_html, headers, raw_size_bytes, content_hash, created_at, updated_at
FROM email_content WHERE storage_key = %(storage_key)s;

-- name: read_attachments
-- attachments has no index on its parent. The parent's own key is asked first, once: without it nothing is scanned.
SELECT id, filename, mime_type, size_bytes, content_hash, content
FROM attachments
WHERE parent_storage_key = %(storage_key)s
  AND EXISTS (SELECT FROM content_objects WHERE storage_key = %(storage_key)s)
ORDER BY created_at, id;
