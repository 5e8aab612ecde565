-- The fullest of the application's pools: sessions that call themselves the same, against pool_max in each process of a colour.
SELECT
    coalesce(max(100.0 * p.sessions / (%(pool_max)s * %(processes)s)), 0)::float8 AS value,
    coalesce((array_agg(format('%%s: %%s of %%s', p.application_name, p.sessions, %(pool_max)s * %(processes)s) ORDER BY p.sessions DESC))[1],
        'no session of the application') AS detail
FROM (
    SELECT a.application_name, count(*) AS sessions FROM pg_stat_activity AS a
    WHERE a.datname = current_database() AND a.usename = ANY (%(roles)s) AND a.backend_type = 'client backend'
    GROUP BY a.application_name
) AS p;
