-- What a scan found of one reference; a repetition under the same scan id replaces it.
WITH judged AS MATERIALIZED (
    SELECT
        r.id,
        coalesce(r.scope, '') AS scope,
        r.rows,
        CASE
            WHEN r.id !~ '^[0-9a-f]{{8}}-([0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}$' THEN 'malformed'
            WHEN t.id IS NULL THEN 'orphan'
            WHEN r.scope IS NOT NULL AND r.scope IS DISTINCT FROM t.scope AND %(scoped)s THEN 'foreign_tenant'
        END AS kind
    FROM {referencing} AS r
    LEFT JOIN {referents} AS t ON t.id = r.id
),

scanned AS (
    INSERT INTO rollout.reference_scans (
        scan, relation, column_name, referent, source, rows, orphans, malformed, foreign_tenant
    )
    SELECT
        %(scan)s, %(relation)s, %(column_name)s, %(referent)s, %(source)s,
        coalesce(sum(rows), 0),
        coalesce(sum(rows) FILTER (WHERE kind IN ('orphan', 'malformed')), 0),
        coalesce(sum(rows) FILTER (WHERE kind = 'malformed'), 0),
        coalesce(sum(rows) FILTER (WHERE kind = 'foreign_tenant'), 0)
    FROM judged
    RETURNING rows, orphans, malformed, foreign_tenant
),

findings AS (
    INSERT INTO rollout.reference_findings (scan, relation, column_name, referent, source, kind, id, scope, rows)
    SELECT %(scan)s, %(relation)s, %(column_name)s, %(referent)s, %(source)s, kind, id, scope, rows
    FROM judged
    WHERE kind IS NOT NULL
),

kept AS (
    SELECT coalesce(sum(least(j.rows, k.rows)), 0)::bigint AS rows, string_agg(DISTINCT k.said_by || ': ' || k.why, '; ') AS said
    FROM judged AS j
    INNER JOIN rollout.reference_kept AS k ON (k.kind, k.id, k.scope) = (j.kind, j.id, j.scope)
    WHERE (k.relation, k.column_name, k.referent, k.source) = (%(relation)s, %(column_name)s, %(referent)s, %(source)s)
)

SELECT s.rows, s.orphans, s.malformed, s.foreign_tenant, k.rows AS kept, k.said AS kept_by FROM scanned AS s CROSS JOIN kept AS k;
