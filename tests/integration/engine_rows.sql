-- statement content
INSERT INTO email_content (storage_key, tenant_id) SELECT 'k' || n, md5('t' || n % 50)::uuid FROM generate_series(1, 5000) AS n;
INSERT INTO email_messages (storage_key, tenant_id, direction, status, parent_message_id, subject)
SELECT 'k' || n, md5('t' || n % 50)::uuid, 'outbound', 'sent',
    CASE WHEN n % 100 = 0 THEN 'nowhere' || n WHEN n % 10 = 0 THEN 'k' || (n - 1) END, 's' || n
FROM generate_series(1, 5000) AS n WHERE n % 5 <> 0;
INSERT INTO content_inbox_message_refs (storage_key, tenant_id, direction, status, subject)
SELECT 'k' || n, md5('t' || n % 50)::uuid, 'inbound', 'delivered', 'other' || n
FROM generate_series(1, 5000) AS n WHERE n % 5 = 0 OR n % 50 = 1;
ANALYZE;
-- statement queue
INSERT INTO jobs (id, queue_name, status, payload)
SELECT md5('j' || n)::uuid, (ARRAY['email-sending', 'analytics-daily', 'bounce-processing', 'webhook-processing'])[1 + n % 4],
    'completed',
    CASE WHEN n % 1000 = 0 THEN '{"tenant_id": "bad"}' ELSE jsonb_build_object('tenant_id', md5('t' || n % 50)::uuid) END
FROM generate_series(1, 5000) AS n;
INSERT INTO job_logs (job_id, status) SELECT id, 'completed' FROM jobs;
INSERT INTO jobs (queue_name, payload) VALUES (NULL, '{}');
ANALYZE;
