SELECT c.change, c.stage, count(r.id) FILTER (WHERE r.taken_back IS NULL AND c.stage NOT IN ('contracting', 'contracted')) AS rejects
FROM rollout.changes AS c LEFT JOIN rollout.rejects AS r ON r.change = c.change
GROUP BY c.change, c.stage ORDER BY c.change;
