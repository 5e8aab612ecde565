SELECT extract(epoch FROM now() - max(refreshed_at))::float8 / 3600 AS value, format('refreshed at %%s', max(refreshed_at)) AS detail
FROM campaign_performance_freshness;
