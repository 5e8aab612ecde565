-- As asked for, on the columns as found: campaign_analytics has updated, not updated_at.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_campaign_analytics_dashboard
ON public.campaign_analytics (company_id, updated DESC, sent DESC) WHERE status = 'completed';
-- statement
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_campaign_analytics_metrics
ON public.campaign_analytics (campaign_id, sent, delivered, opened_tracked, clicked_tracked, replied);
