-- A walk over the primary key from a random point, and from the start in case that point is near the end.
(SELECT tenant_id::text, id::text FROM public.companies WHERE id >= gen_random_uuid() ORDER BY id LIMIT 200)
UNION
(SELECT tenant_id::text, id::text FROM public.companies ORDER BY id LIMIT 50)
