-- A row that the trigger has written already is newer than ours. One that only the inbox's trigger has written (the key
-- stands in both) gives way to email_messages.
WITH chunk AS MATERIALIZED (
    SELECT
        storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
        message_type, from_email, to_email, subject, status, processed, created, updated
    FROM public.email_messages
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
        message_type, from_email, to_email, subject, status, processed, created, updated, 'email_messages'
    FROM chunk
    ON CONFLICT (storage_key) DO UPDATE SET
        tenant_id = excluded.tenant_id, email_account_id = excluded.email_account_id,
        campaign_id = excluded.campaign_id, lead_id = excluded.lead_id,
        parent_message_id = excluded.parent_message_id, direction = excluded.direction,
        message_type = excluded.message_type, from_email = excluded.from_email, to_email = excluded.to_email,
        subject = excluded.subject, status = excluded.status, processed = excluded.processed,
        created_at = excluded.created_at, updated_at = excluded.updated_at,
        origin = 'both'
    WHERE m.origin = 'content_inbox_message_refs'
)
SELECT (SELECT storage_key FROM chunk ORDER BY storage_key DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
