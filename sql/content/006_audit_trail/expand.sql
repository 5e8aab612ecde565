COMMENT ON SCHEMA audit IS 'partitions, functions and the chain of public.audit_log_enhanced (content)';
