-- Acknowledged campaigns and leads that are not there.
ANALYZE journal;

INSERT INTO lost
SELECT 'campaign', j.key, CASE WHEN c.id IS NULL THEN 'no row' ELSE 'another name' END
FROM journal AS j
LEFT JOIN public.campaigns AS c ON c.id = j.key::uuid
WHERE j.kind = 'campaign' AND j.phase = 'ack' AND c.name IS DISTINCT FROM j.line ->> 'name';

INSERT INTO lost
SELECT 'lead', l.key, 'no row'
FROM journal AS j
CROSS JOIN LATERAL jsonb_array_elements_text(j.line -> 'leads') AS l (key)
WHERE j.kind = 'campaign' AND j.phase = 'ack'
  AND NOT EXISTS (SELECT FROM public.leads AS e WHERE e.id = l.key::uuid);
