-- Evidence stays: the log goes only when it never held a row.
DO $$BEGIN
    IF NOT EXISTS (SELECT FROM public.audit_log_enhanced) AND NOT EXISTS (SELECT FROM audit.blocks) THEN
        DROP TABLE public.audit_log_enhanced;
        DROP SCHEMA audit CASCADE;
    END IF;
END$$;
