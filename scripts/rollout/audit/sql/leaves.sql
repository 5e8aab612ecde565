-- Rows of the log behind one place and up to another, in their order: the SHA-256 of each row's values. A JSON array of them, so
-- that no two rows give one text; the instant in UTC, whatever the session's zone is.
SELECT l.xact, l.id, pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(
    l.id, l.xact, l.tenant_id, l.user_id, l.action, l.resource_type, l.resource_id, l.old_values, l.new_values, l.ip_address,
    l.user_agent, l.session_id, pg_catalog.to_char(l.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
)::text, 'UTF8')) AS sha256
FROM public.audit_log_enhanced AS l
WHERE l.xact BETWEEN %(after_xact)s AND %(until_xact)s
    AND (l.xact, l.id) > (%(after_xact)s, %(after_id)s) AND (l.xact, l.id) <= (%(until_xact)s, %(until_id)s)
ORDER BY l.xact, l.id
LIMIT %(limit)s
