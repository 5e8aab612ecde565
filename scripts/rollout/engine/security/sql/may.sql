-- What some roles may do to a relation, or to a column of it: also by PUBLIC, or by a role that they are members of.
SELECT w.role, array_agg(p.privilege ORDER BY p.number) AS privileges
FROM unnest(%(roles)s::text[]) AS w (role)
JOIN pg_roles AS r ON r.rolname = w.role
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) WITH ORDINALITY AS p (privilege, number)
WHERE CASE
    WHEN p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    THEN has_any_column_privilege(r.oid, %(relation)s::regclass, p.privilege)
    ELSE has_table_privilege(r.oid, %(relation)s::regclass, p.privilege)
END
GROUP BY w.role
ORDER BY w.role
