select 'campaign_analytics_without_campaign', count(*) from campaign_analytics
where campaign_id in (select pg_temp.id('campaign', n)::text from generate_series(%(campaigns)s::bigint, %(campaign_analytics)s::bigint) as n)
