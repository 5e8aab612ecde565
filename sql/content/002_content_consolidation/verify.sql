DO $$
DECLARE
    stage text := current_setting('rollout.stage');
    t text;
BEGIN
    IF stage = 'contract' THEN
        ASSERT (SELECT relkind FROM pg_class WHERE oid = 'public.email_messages'::regclass) = 'r', 'public.email_messages is no table';
        ASSERT (SELECT convalidated FROM pg_constraint WHERE conname = 'fk_email_messages_parent'), 'the self foreign key is not validated';
        ASSERT to_regclass('v1.email_messages') IS NULL AND to_regclass('public.content_inbox_message_refs') IS NULL,
            'an old table is still there';
        RETURN;
    END IF;
    FOREACH t IN ARRAY ARRAY['email_messages', 'content_inbox_message_refs'] LOOP
        IF stage = 'swap' THEN
            ASSERT (SELECT relkind FROM pg_class WHERE oid = format('public.%I', t)::regclass) = 'v', t || ' is no view';
            ASSERT pg_relation_is_updatable(format('public.%I', t)::regclass, false) & 28 = 28, t || ' cannot be written';
            ASSERT NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = format('v1.%I', t)::regclass AND tgname = 'rollout_sync'),
                'a sync is armed both ways';
        ELSE
            ASSERT (SELECT relkind FROM pg_class WHERE oid = format('public.%I', t)::regclass) = 'r', t || ' is no table';
            ASSERT (SELECT tgenabled FROM pg_trigger WHERE tgrelid = format('public.%I', t)::regclass AND tgname = 'rollout_sync') = 'A',
                'the sync from ' || t || ' is not armed';
            ASSERT NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'v2.email_messages'::regclass AND tgname = 'rollout_sync'),
                'a sync is armed both ways';
        END IF;
    END LOOP;
END $$;
