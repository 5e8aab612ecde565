-- How long somebody has to wait before an autovacuum yields to them, and whether this role may choose that for itself.
SELECT
    (extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000)::int AS ms,
    has_parameter_privilege(current_user, 'deadlock_timeout', 'SET') AS may_set;
