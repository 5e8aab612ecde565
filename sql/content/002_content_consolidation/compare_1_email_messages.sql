-- Both sides' next rows in key order. The shadow's side reads a few more than the limit, so that rows which only it holds
-- show up; beyond those few the range differs anyway.
WITH old AS MATERIALIZED (
    SELECT storage_key, ROW (tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
        from_email, to_email, subject, status, processed, created, updated) AS held
    FROM email_messages
    WHERE (%(after)s::varchar IS NULL OR storage_key > %(after)s::varchar)
        AND (%(keys)s::text[] IS NULL OR storage_key = ANY (%(keys)s::varchar[]))
    ORDER BY storage_key
    LIMIT %(limit)s
), new AS MATERIALIZED (
    SELECT storage_key, ROW (tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
        from_email, to_email, subject, status, processed, created_at, updated_at) AS held
    FROM v2.email_messages
    WHERE origin <> 'content_inbox_message_refs' AND (%(after)s::varchar IS NULL OR storage_key > %(after)s::varchar)
        AND (%(keys)s::text[] IS NULL OR storage_key = ANY (%(keys)s::varchar[]))
    ORDER BY storage_key
    LIMIT %(limit)s + 21
), range AS (
    SELECT count(*) AS rows, CASE WHEN count(*) = %(limit)s AND %(keys)s::text[] IS NULL THEN (
        SELECT storage_key FROM old ORDER BY storage_key DESC LIMIT 1
    ) END AS high FROM old
)
SELECT (SELECT high::text FROM range) AS last_key, (SELECT rows FROM range) AS rows, ARRAY (
    SELECT storage_key::text FROM old FULL JOIN new USING (storage_key), range
    WHERE (range.high IS NULL OR storage_key <= range.high)
        AND (old.held IS DISTINCT FROM new.held)
    LIMIT 20
) AS differing;
