select id::text, queue_name, status, priority, payload, attempt_count, last_error_message
from jobs
where status = 'migrated_to_redis' or (status = 'failed' and attempt_count >= max_attempts)
order by created, id
