-- One batch of rows whose reference points at nothing, or at another tenant: the column is emptied, the row is kept as it was.
WITH wrong AS (
    SELECT t.tableoid AS rollout_in, t.ctid AS rollout_at, to_jsonb(t) AS rollout_row, f.kind AS rollout_kind
    FROM {relation} AS t
    INNER JOIN rollout.reference_findings AS f ON f.id = lower({source}::text) AND f.scope = coalesce(lower({scope}::text), '')
    WHERE f.scan = %(scan)s
        AND (f.relation, f.column_name, f.referent, f.source) = (%(relation)s, %(column_name)s, %(referent)s, %(source)s)
        AND NOT EXISTS (
            SELECT FROM rollout.reference_kept AS k
            WHERE (k.relation, k.column_name, k.referent, k.source, k.kind, k.id, k.scope)
                = (f.relation, f.column_name, f.referent, f.source, f.kind, f.id, f.scope)
        )
    LIMIT %(limit)s
    FOR UPDATE OF t
),

mended AS (
    UPDATE {relation} AS t SET {column} = NULL
    FROM wrong WHERE t.tableoid = wrong.rollout_in AND t.ctid = wrong.rollout_at
)

INSERT INTO rollout.mended (change, name, relation, rule, why, row)
SELECT
    'references.mend', format('%%s.%%s -> %%s (%%s)', %(relation)s, %(column_name)s, %(referent)s, rollout_kind), %(qualified)s,
    format('set {{"%%s": "NULL"}}', %(column_name)s), %(why)s, rollout_row
FROM wrong;
