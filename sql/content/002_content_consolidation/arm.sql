-- Arm the sync: writers of the old tables wait for this transaction, so it holds nothing that could have been done before.
CREATE OR REPLACE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.email_messages
FOR EACH ROW EXECUTE FUNCTION rollout.email_messages_to_v2();
ALTER TABLE public.email_messages ENABLE ALWAYS TRIGGER rollout_sync;
CREATE OR REPLACE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.email_messages
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.email_messages ENABLE ALWAYS TRIGGER rollout_no_truncate;
CREATE OR REPLACE TRIGGER rollout_sync AFTER INSERT OR UPDATE OR DELETE ON public.content_inbox_message_refs
FOR EACH ROW EXECUTE FUNCTION rollout.content_inbox_message_refs_to_v2();
ALTER TABLE public.content_inbox_message_refs ENABLE ALWAYS TRIGGER rollout_sync;
CREATE OR REPLACE TRIGGER rollout_no_truncate BEFORE TRUNCATE ON public.content_inbox_message_refs
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_truncate();
ALTER TABLE public.content_inbox_message_refs ENABLE ALWAYS TRIGGER rollout_no_truncate;

-- On an empty table: nothing to check.
ALTER TABLE v2.email_messages DROP CONSTRAINT IF EXISTS email_messages_storage_key_to_content_fkey;
-- squawk-ignore constraint-missing-not-valid,adding-foreign-key-constraint
ALTER TABLE v2.email_messages ADD CONSTRAINT email_messages_storage_key_to_content_fkey FOREIGN KEY (storage_key)
REFERENCES public.email_content (storage_key);
