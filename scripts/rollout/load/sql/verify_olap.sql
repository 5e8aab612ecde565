-- Counters that are less than what was acknowledged. Only this load touches these campaigns and periods.
ANALYZE journal;

CREATE TEMP TABLE counters AS
SELECT key, line ->> 'tenant' AS tenant, (line ->> 'period')::timestamptz AS period, (line ->> 'sent')::bigint AS sent
FROM journal WHERE kind = 'analytics' AND phase = 'ack';

CREATE TEMP TABLE campaign_sums AS
SELECT w.key, w.sent AS acknowledged, coalesce(sum(a.sent), 0) AS found
FROM (SELECT key, sum(sent) AS sent FROM counters GROUP BY key) AS w
LEFT JOIN public.campaign_analytics AS a ON a.campaign_id = w.key
GROUP BY w.key, w.sent;

INSERT INTO lost
SELECT 'analytics', key, format('campaign counter is %s, acknowledged %s', found, acknowledged)
FROM campaign_sums WHERE found < acknowledged;

INSERT INTO lost
SELECT 'analytics', w.tenant || ' ' || w.period, format('billing counter is %s, acknowledged %s', coalesce(sum(b.emails_sent), 0), w.sent)
FROM (SELECT tenant, period, sum(sent) AS sent FROM counters GROUP BY tenant, period) AS w
LEFT JOIN public.billing_analytics AS b ON b.tenant_id = w.tenant AND b.period_start = w.period AND b.period_end = w.period
GROUP BY w.tenant, w.period, w.sent
HAVING coalesce(sum(b.emails_sent), 0) < w.sent;
