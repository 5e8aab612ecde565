-- Ids that point at nothing and cannot be emptied: their rows stay as they are, with whose word that is and why. One of the rows of
-- each is kept beside it; the table is read once for all.
WITH one AS (
    SELECT DISTINCT ON (f.kind, f.id, f.scope) f.kind, f.id, f.scope, to_jsonb(t) AS row
    FROM {relation} AS t
    INNER JOIN rollout.reference_findings AS f ON f.id = lower({source}::text) AND f.scope = coalesce(lower({scope}::text), '')
    WHERE f.scan = %(scan)s
        AND (f.relation, f.column_name, f.referent, f.source) = (%(relation)s, %(column_name)s, %(referent)s, %(source)s)
)

INSERT INTO rollout.reference_kept (relation, column_name, referent, source, kind, id, scope, rows, row, run, said_by, why)
SELECT
    f.relation, f.column_name, f.referent, f.source, f.kind, f.id, f.scope, f.rows, coalesce(o.row, '{{}}'), %(run)s, %(by)s, %(why)s
FROM rollout.reference_findings AS f
LEFT JOIN one AS o ON (o.kind, o.id, o.scope) = (f.kind, f.id, f.scope)
WHERE f.scan = %(scan)s
    AND (f.relation, f.column_name, f.referent, f.source) = (%(relation)s, %(column_name)s, %(referent)s, %(source)s)
ON CONFLICT (relation, column_name, referent, source, kind, id, scope) DO UPDATE SET
    rows = excluded.rows, row = excluded.row, run = excluded.run, said_by = excluded.said_by, why = excluded.why, at = now();
