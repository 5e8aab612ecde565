-- Where the old inbox table has gone (after contract) messages live in one relation.
CREATE TEMP VIEW messages_found AS
SELECT storage_key, direction, subject, parent_message_id, status FROM public.email_messages;
