-- Ids that point at nothing and cannot be emptied: their rows stay as they are, with whose word that is and why.
INSERT INTO rollout.reference_kept (relation, column_name, referent, source, kind, id, scope, rows, row, run, said_by, why)
SELECT
    f.relation, f.column_name, f.referent, f.source, f.kind, f.id, f.scope, f.rows,
    coalesce((
        SELECT to_jsonb(t) FROM {relation} AS t
        WHERE lower({source}::text) = f.id AND coalesce(lower({scope}::text), '') = f.scope LIMIT 1
    ), '{{}}'),
    %(run)s, %(by)s, %(why)s
FROM rollout.reference_findings AS f
WHERE f.scan = %(scan)s
    AND (f.relation, f.column_name, f.referent, f.source) = (%(relation)s, %(column_name)s, %(referent)s, %(source)s)
ON CONFLICT (relation, column_name, referent, source, kind, id, scope) DO UPDATE SET
    rows = excluded.rows, row = excluded.row, run = excluded.run, said_by = excluded.said_by, why = excluded.why, at = now();
