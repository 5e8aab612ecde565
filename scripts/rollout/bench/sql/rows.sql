INSERT INTO orders (tenant_id, status, email, subject, payload, amount, created_at, updated_at)
SELECT
    md5((n %% 500)::text)::uuid,
    (ARRAY['new', 'paid', 'shipped', 'shipped', 'shipped', 'returned'])[1 + n %% 6],
    'customer' || (n * 7919) %% 100000 || '@example.com',
    CASE WHEN n %% 8 > 0 THEN 'Order ' || n || ', ' || repeat('part of a delivery ', (n %% 3)::integer) END,
    jsonb_build_object('items', n %% 9, 'channel', (ARRAY['web', 'phone', 'shop'])[1 + n %% 3], 'note', md5(n::text)),
    CASE WHEN n %% 20 > 0 THEN (n %% 100000) / 100.0 END,
    timestamptz '2026-01-01' + n * interval '1 second',
    CASE WHEN n %% 2 = 0 THEN timestamptz '2026-02-01' + n * interval '1 second' END
FROM generate_series(1::bigint, %(rows)s::bigint) AS n;
