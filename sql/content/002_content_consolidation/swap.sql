-- Swap content/002_content_consolidation: the authority becomes v2.email_messages; blue's two names become views on it.
DROP TRIGGER rollout_sync ON public.email_messages;
DROP TRIGGER rollout_no_truncate ON public.email_messages;
DROP TRIGGER rollout_sync ON public.content_inbox_message_refs;
DROP TRIGGER rollout_no_truncate ON public.content_inbox_message_refs;
ALTER TABLE public.email_messages SET SCHEMA v1;
ALTER TABLE public.content_inbox_message_refs SET SCHEMA v1;

-- The inner view carries the default that tells the two old tables apart; blue's own has just the old columns.
CREATE VIEW v2.blue_email_messages WITH (security_invoker = true) AS
SELECT
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
    from_email, to_email, subject, status, processed, created_at AS created, updated_at AS updated, origin
FROM v2.email_messages WHERE origin IN ('email_messages', 'both');
ALTER VIEW v2.blue_email_messages ALTER COLUMN origin SET DEFAULT 'email_messages';
CREATE VIEW public.email_messages WITH (security_invoker = true) AS
SELECT
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
    from_email, to_email, subject, status, processed, created, updated
FROM v2.blue_email_messages;
SELECT rollout.copy_grants('v1.email_messages', 'v2.blue_email_messages');
SELECT rollout.copy_grants('v1.email_messages', 'public.email_messages');
-- The inner view carries the default that tells the two old tables apart; blue's own has just the old columns.
CREATE VIEW v2.blue_content_inbox_message_refs WITH (security_invoker = true) AS
SELECT
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
    from_email, to_email, subject, status, processed, created_at AS created, updated_at AS updated, origin
FROM v2.email_messages WHERE origin IN ('content_inbox_message_refs', 'both');
ALTER VIEW v2.blue_content_inbox_message_refs ALTER COLUMN origin SET DEFAULT 'content_inbox_message_refs';
CREATE VIEW public.content_inbox_message_refs WITH (security_invoker = true) AS
SELECT
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
    from_email, to_email, subject, status, processed, created, updated
FROM v2.blue_content_inbox_message_refs;
SELECT rollout.copy_grants('v1.content_inbox_message_refs', 'v2.blue_content_inbox_message_refs');
SELECT rollout.copy_grants('v1.content_inbox_message_refs', 'public.content_inbox_message_refs');
SELECT rollout.copy_grants('v1.email_messages', 'v2.email_messages');

CREATE TRIGGER rollout_delete INSTEAD OF DELETE ON public.email_messages
FOR EACH ROW EXECUTE FUNCTION rollout.delete_message('email_messages');
CREATE TRIGGER rollout_delete INSTEAD OF DELETE ON public.content_inbox_message_refs
FOR EACH ROW EXECUTE FUNCTION rollout.delete_message('content_inbox_message_refs');

CREATE TRIGGER rollout_place BEFORE INSERT ON v2.email_messages
FOR EACH ROW EXECUTE FUNCTION rollout.place_message();
ALTER TABLE v2.email_messages ENABLE ALWAYS TRIGGER rollout_place;
CREATE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON v2.email_messages
FOR EACH ROW EXECUTE FUNCTION rollout.email_messages_to_v1();
ALTER TABLE v2.email_messages ENABLE ALWAYS TRIGGER rollout_sync;
CREATE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON v2.email_messages
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE v2.email_messages ENABLE ALWAYS TRIGGER rollout_no_truncate;
