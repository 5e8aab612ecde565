-- As found, and under the compatibility views: messages live under two names.
CREATE TEMP VIEW messages_found AS
SELECT storage_key, direction, subject, parent_message_id, status FROM public.email_messages
UNION ALL
SELECT storage_key, direction, subject, parent_message_id, status FROM public.content_inbox_message_refs;
