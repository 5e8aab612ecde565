-- Acknowledged messages that are not there, or not as they were acknowledged. A status may be the last one acknowledged,
-- or one whose update got no answer.
ANALYZE journal;

CREATE TEMP TABLE statuses AS
WITH acknowledged AS (
    SELECT DISTINCT ON (key) key, line ->> 'status' AS status
    FROM journal WHERE phase = 'ack' AND kind IN ('message', 'status')
    ORDER BY key, n DESC
),
intents AS (
    SELECT i.key, i.line ->> 'status' AS status
    FROM journal AS i
    WHERE i.kind = 'status' AND i.phase = 'intent'
      AND NOT EXISTS (SELECT FROM journal AS a WHERE a.kind = 'status' AND a.phase = 'ack' AND a.key = i.key AND a.n > i.n)
)
SELECT key, array_agg(status) AS possible FROM (SELECT * FROM acknowledged UNION ALL SELECT * FROM intents) AS s GROUP BY key;

INSERT INTO lost
SELECT j.key_kind, j.key, CASE
    WHEN count(m.storage_key) = 0 THEN 'no row'
    WHEN NOT bool_or(m.direction = j.direction) THEN 'another direction'
    WHEN NOT bool_or(m.subject = j.subject) THEN 'another subject'
    WHEN NOT bool_or(j.parent IS NULL OR m.parent_message_id = j.parent) THEN 'another parent'
    ELSE format('status is %s, not %s', string_agg(m.status, ' and '), array_to_string(min(s.possible), ' or '))
END
FROM (
    SELECT 'message' AS key_kind, key, line ->> 'direction' AS direction, line ->> 'subject' AS subject, line ->> 'parent' AS parent
    FROM journal WHERE kind = 'message' AND phase = 'ack'
) AS j
JOIN statuses AS s ON s.key = j.key
LEFT JOIN messages_found AS m ON m.storage_key = j.key
GROUP BY j.key_kind, j.key
HAVING NOT coalesce(bool_or(
    m.direction = j.direction AND m.subject = j.subject AND (j.parent IS NULL OR m.parent_message_id IS NOT DISTINCT FROM j.parent)
    AND m.status = ANY (s.possible)
), false);

INSERT INTO lost
SELECT 'message', j.key, 'no content'
FROM journal AS j
WHERE j.kind = 'message' AND j.phase = 'ack'
  AND NOT EXISTS (SELECT FROM public.email_content AS c WHERE c.storage_key = j.key);
