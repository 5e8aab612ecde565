-- Both ends of the key's index; the name is a table or, after a swap, a view.
(SELECT tenant_id::text, storage_key FROM public.email_messages ORDER BY storage_key LIMIT 500)
UNION
(SELECT tenant_id::text, storage_key FROM public.email_messages ORDER BY storage_key DESC LIMIT 500)
