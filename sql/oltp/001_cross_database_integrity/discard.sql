-- oltp, discard: nobody is told any more; a validator that still asks finds the function gone and allows and records.
DO $$
DECLARE
    armed record;
BEGIN
    FOR armed IN
        SELECT tgrelid::regclass AS relation, tgname FROM pg_trigger
        WHERE tgname LIKE 'rollout_references_%' AND NOT tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', armed.tgname, armed.relation);
    END LOOP;
END $$;
DROP FUNCTION IF EXISTS rollout.notify_references();
DROP FUNCTION IF EXISTS rollout.existing_references(text[], uuid[], uuid[]);
REVOKE USAGE ON SCHEMA rollout FROM penguin_app;
