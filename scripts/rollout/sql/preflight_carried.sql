-- What stands on a relation that is to be exchanged and is not carried to the new one: row security, triggers of others.
SELECT format('row security of %%s is not carried to the new relation', known.name) AS observed
FROM unnest(%(relations)s::text[]) AS known(name)
JOIN pg_class c ON c.oid = to_regclass(known.name)
WHERE c.relrowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
UNION ALL
SELECT format('trigger %%I on %%s is not carried to the new relation', t.tgname, known.name)
FROM unnest(%(relations)s::text[]) AS known(name)
JOIN pg_trigger t ON t.tgrelid = to_regclass(known.name)
WHERE NOT t.tgisinternal AND t.tgname !~ '^(zz_)?rollout_'
ORDER BY 1;
