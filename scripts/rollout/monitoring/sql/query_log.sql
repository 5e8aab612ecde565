-- What pg_stat_statements counted since the last pass goes to the log, the costliest statements first; the rest of a pass is left off.
-- Its texts have constants replaced already, mostly: those of utility statements, and those that it forgot before they ended,
-- are as they were written. So every literal and comment is taken out here, and parameters are kept.
WITH now_seen AS MATERIALIZED (
    SELECT
        s.userid, s.queryid, s.toplevel, s.query, s.calls, s.total_exec_time, s.max_exec_time, s.rows,
        -- Postgres 17 and newer know since when they count a statement.
        (to_jsonb(s) ->> 'stats_since')::timestamptz AS since
    FROM pg_stat_statements AS s
    JOIN pg_database AS d ON d.oid = s.dbid
    WHERE d.datname = current_database() AND s.queryid IS NOT NULL
),
difference AS MATERIALIZED (
    SELECT
        n.*,
        CASE WHEN a.anew THEN n.calls ELSE n.calls - b.calls END AS new_calls,
        CASE WHEN a.anew THEN n.total_exec_time ELSE n.total_exec_time - b.total_exec_time END AS new_ms,
        CASE WHEN a.anew THEN n.rows ELSE n.rows - b.rows END AS new_rows,
        CASE WHEN a.anew THEN coalesce(n.since, i.stats_reset) ELSE b.seen_at END AS window_start
    FROM now_seen AS n
    CROSS JOIN pg_stat_statements_info AS i
    LEFT JOIN rollout.monitor_statements AS b USING (userid, queryid, toplevel)
    -- The server forgets statements (its memory is bounded, and anybody may reset it): then it counts from nothing.
    CROSS JOIN LATERAL (
        SELECT b.calls IS NULL OR n.calls < b.calls OR coalesce(n.since > b.seen_at, false)
            OR coalesce(i.stats_reset > b.seen_at, false) AS anew
    ) AS a
),
costliest AS (
    SELECT * FROM difference WHERE new_calls > 0 ORDER BY new_ms DESC LIMIT %(statements_per_pass)s
),
logged AS (
    INSERT INTO public.query_performance_log (
        query_text, execution_time, rows_affected, query_id, role_name, window_start, calls, total_time, max_time
    )
    SELECT
        w.text, make_interval(secs => c.new_ms / c.new_calls / 1000), least(c.new_rows, 2147483647)::integer, c.queryid, r.rolname,
        c.window_start, c.new_calls, make_interval(secs => c.new_ms / 1000), make_interval(secs => c.max_exec_time / 1000)
    FROM costliest AS c
    LEFT JOIN pg_roles AS r ON r.oid = c.userid
    CROSS JOIN LATERAL (
        -- Of what may begin at one place the longest is taken, so 'e' in e'x' is no name. What is kept is in the first brackets.
        SELECT coalesce(btrim(string_agg(coalesce(m.parts[1], CASE WHEN m.parts[2] IS NOT NULL THEN ' ' ELSE '?' END), '' ORDER BY m.n)), '')
        FROM regexp_matches(
            c.query,
            '("(?:[^"]|"")*"|\$[0-9]+|[[:alpha:]_][[:alnum:]_$]*|[^[:alnum:]_"''$/-]+|[/$-])'  -- names, parameters, the rest
            '|(--[^\n]*|/\*(?:[^*]|\*+[^*/])*\*+/)'  -- comments
            '|[eE]''(?:[^''\\]|\\.|'''')*''?|(?:[bBxXnN]|[uU]&)?''(?:[^'']|'''')*''?'  -- strings, also one without an end
            '|\$\$.*\$\$|\$([[:alpha:]_][[:alnum:]_]*)\$.*\$\3\$|[0-9][[:alnum:]_.]*(?:[eE][+-][0-9]+)?'  -- quoted by dollars; numbers
            '|.', 'g'
        ) WITH ORDINALITY AS m (parts, n)
    ) AS w (text)
    RETURNING 1
),
kept AS (
    INSERT INTO rollout.monitor_statements AS b (userid, queryid, toplevel, seen_at, calls, total_exec_time, rows)
    SELECT n.userid, n.queryid, n.toplevel, clock_timestamp(), n.calls, n.total_exec_time, n.rows FROM now_seen AS n
    ON CONFLICT (userid, queryid, toplevel) DO UPDATE SET
        seen_at = excluded.seen_at, calls = excluded.calls, total_exec_time = excluded.total_exec_time, rows = excluded.rows
),
forgotten AS (
    DELETE FROM rollout.monitor_statements AS b
    WHERE NOT EXISTS (
        SELECT FROM now_seen AS n WHERE n.userid = b.userid AND n.queryid = b.queryid AND n.toplevel = b.toplevel
    )
),
expired AS (
    DELETE FROM public.query_performance_log WHERE created_at < now() - make_interval(days => %(keep_days)s) RETURNING 1
)
SELECT
    (SELECT count(*) FROM logged) AS logged,
    (SELECT count(*) FROM difference WHERE new_calls > 0) - (SELECT count(*) FROM logged) AS left_off,
    (SELECT count(*) FROM expired) AS expired;
