-- Views, materialised views and rules that stand on a relation that is to be exchanged: bound by its oid, they would follow
-- the old table out of public. What the rollout itself makes (schemas v1, v2, rollout) moves along.
SELECT DISTINCT format('%%s %%s depends on %%s and would follow the old table',
                       CASE WHEN rule.rulename <> '_RETURN' THEN format('rule %%I on', rule.rulename)
                            WHEN dependent.relkind = 'm' THEN 'materialised view' ELSE 'view' END,
                       dependent.oid::regclass, known.name) AS observed
FROM unnest(%(relations)s::text[]) AS known(name)
JOIN pg_class authority ON authority.oid = to_regclass(known.name)
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = authority.oid
                AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite rule ON rule.oid = d.objid
JOIN pg_class dependent ON dependent.oid = rule.ev_class
WHERE dependent.relnamespace::regnamespace::text NOT IN ('v1', 'v2', 'rollout')
  AND (dependent.oid <> authority.oid OR rule.rulename <> '_RETURN')
ORDER BY 1;
