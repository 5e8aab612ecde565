-- The policies of one relation, with every schema named as the caller's search_path says.
SELECT
    p.polname AS name, p.polpermissive AS permissive, p.polcmd AS command,
    (
        SELECT array_agg(CASE r.oid WHEN 0 THEN 'public' ELSE pg_get_userbyid(r.oid) END ORDER BY r.oid)
        FROM unnest(p.polroles) AS r (oid)
    ) AS roles,
    pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS check
FROM pg_policy AS p
WHERE p.polrelid = %(relation)s::regclass
ORDER BY p.polname
