DROP TRIGGER IF EXISTS rollout_sync ON public.email_messages;
DROP TRIGGER IF EXISTS rollout_no_truncate ON public.email_messages;
DROP TRIGGER IF EXISTS rollout_sync ON public.content_inbox_message_refs;
DROP TRIGGER IF EXISTS rollout_no_truncate ON public.content_inbox_message_refs;
DROP TABLE IF EXISTS v2.email_messages;
DROP TABLE IF EXISTS rollout.message_conflicts;
DROP TABLE IF EXISTS rollout.orphan_parents;
