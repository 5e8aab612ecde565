-- olap, discard: what was built beside the shadow goes. The indexes on campaign_analytics stay: they are true as they are.
DROP MATERIALIZED VIEW IF EXISTS v2.campaign_performance_mv;
DROP TABLE IF EXISTS v2.campaign_performance_freshness;
DROP TABLE IF EXISTS v2.campaign_reference;
