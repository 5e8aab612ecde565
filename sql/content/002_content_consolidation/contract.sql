-- Contract content/002_content_consolidation: old tables, views and sync go; v2.email_messages comes home. No way back.
DROP TRIGGER rollout_place ON v2.email_messages;
DROP TRIGGER rollout_sync ON v2.email_messages;
DROP TRIGGER rollout_no_truncate ON v2.email_messages;
DROP VIEW public.email_messages, public.content_inbox_message_refs, v2.blue_email_messages, v2.blue_content_inbox_message_refs;
DROP TABLE v1.content_inbox_message_refs;
DROP TABLE v1.email_messages;
ALTER TABLE v2.email_messages DROP COLUMN origin;
ALTER TABLE v2.email_messages SET SCHEMA public;
DROP FUNCTION rollout.email_messages_to_v1();
DROP FUNCTION rollout.email_messages_to_v2();
DROP FUNCTION rollout.content_inbox_message_refs_to_v2();
DROP FUNCTION rollout.place_message();
DROP FUNCTION rollout.delete_message();
DROP FUNCTION rollout.record_message_conflict(varchar);
