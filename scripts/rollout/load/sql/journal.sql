-- The journal's lines of one tier; `n` is their order.
CREATE TEMP TABLE journal (n bigint, kind text, phase text, key text, line jsonb);
CREATE TEMP TABLE lost (kind text, key text, why text);
