-- Counters above what was acknowledged, although no increment went without an answer.
SELECT c.key, c.found FROM campaign_sums AS c
WHERE c.found > c.acknowledged
  AND NOT EXISTS (SELECT FROM journal AS m WHERE m.kind = 'analytics' AND m.phase = 'missed' AND m.key = c.key)
