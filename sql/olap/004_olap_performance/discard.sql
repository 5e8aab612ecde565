-- olap, discard: the shadow and what was built beside it go. The indexes on campaign_analytics stay: they are true as they are.
DROP TRIGGER IF EXISTS rollout_sync ON public.billing_analytics;
DROP TRIGGER IF EXISTS rollout_no_truncate ON public.billing_analytics;
DROP VIEW IF EXISTS rollout.billing_analytics_old;
DROP MATERIALIZED VIEW IF EXISTS v2.campaign_performance_mv;
DROP TABLE IF EXISTS v2.campaign_performance_freshness;
DROP TABLE IF EXISTS v2.campaign_reference;
DROP TABLE IF EXISTS v2.billing_analytics;
