-- How many rows of a scan's findings of one reference there are.
SELECT coalesce(sum(f.rows), 0)::bigint AS rows FROM rollout.reference_findings AS f
WHERE f.scan = %(scan)s
    AND (f.relation, f.column_name, f.referent, f.source) = (%(relation)s, %(column_name)s, %(referent)s, %(source)s);
