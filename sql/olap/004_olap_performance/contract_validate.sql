ALTER TABLE public.campaign_analytics VALIDATE CONSTRAINT campaign_analytics_billing_fkey;
-- statement
ALTER TABLE public.mailbox_analytics VALIDATE CONSTRAINT mailbox_analytics_billing_fkey;
-- statement
ALTER TABLE public.lead_analytics VALIDATE CONSTRAINT lead_analytics_billing_fkey;
-- statement
ALTER TABLE public.warmup_analytics VALIDATE CONSTRAINT warmup_analytics_billing_fkey;
-- statement
ALTER TABLE public.sequence_step_analytics VALIDATE CONSTRAINT sequence_step_analytics_billing_fkey;
