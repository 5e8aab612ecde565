SELECT
    coalesce(max(extract(epoch FROM clock_timestamp() - a.query_start)) * 1000, 0)::float8 AS value,
    format('%%s statements at work', count(*)) AS detail
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.usename = ANY (%(roles)s) AND a.state = 'active';
