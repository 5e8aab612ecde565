-- Revert content/002_content_consolidation: the swap, the other way. v2.email_messages stays as the shadow, in step.
DROP TRIGGER rollout_place ON v2.email_messages;
DROP TRIGGER rollout_sync ON v2.email_messages;
DROP TRIGGER rollout_no_truncate ON v2.email_messages;
SELECT rollout.revoke_grants('v2.email_messages');
DROP VIEW public.email_messages, public.content_inbox_message_refs, v2.blue_email_messages, v2.blue_content_inbox_message_refs;
ALTER TABLE v1.email_messages SET SCHEMA public;
ALTER TABLE v1.content_inbox_message_refs SET SCHEMA public;

CREATE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.email_messages
FOR EACH ROW EXECUTE FUNCTION rollout.email_messages_to_v2();
ALTER TABLE public.email_messages ENABLE ALWAYS TRIGGER rollout_sync;
CREATE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.email_messages
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.email_messages ENABLE ALWAYS TRIGGER rollout_no_truncate;
CREATE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.content_inbox_message_refs
FOR EACH ROW EXECUTE FUNCTION rollout.content_inbox_message_refs_to_v2();
ALTER TABLE public.content_inbox_message_refs ENABLE ALWAYS TRIGGER rollout_sync;
CREATE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.content_inbox_message_refs
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.content_inbox_message_refs ENABLE ALWAYS TRIGGER rollout_no_truncate;
