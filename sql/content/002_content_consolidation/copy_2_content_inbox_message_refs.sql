-- email_messages is copied whole by now: where it holds the key, its row stays and is marked 'both'.
WITH chunk AS MATERIALIZED (
    SELECT
        storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
        message_type, from_email, to_email, subject, status, processed, created, updated
    FROM public.content_inbox_message_refs
    WHERE %(after)s::varchar IS NULL OR storage_key > %(after)s::varchar
    ORDER BY storage_key
    LIMIT %(limit)s
    FOR KEY SHARE
), copied AS (
    INSERT INTO v2.email_messages AS m (
        storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
        message_type, from_email, to_email, subject, status, processed, created_at, updated_at, origin
    )
    SELECT
        storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
        message_type, from_email, to_email, subject, status, processed, created, updated,
        'content_inbox_message_refs'
    FROM chunk
    ON CONFLICT (storage_key) DO UPDATE SET origin = 'both' WHERE m.origin = 'email_messages'
)
SELECT (SELECT storage_key FROM chunk ORDER BY storage_key DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
