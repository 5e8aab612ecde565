-- What Redis holds: one row an entry of a list.
CREATE TEMP TABLE redis_entries (list text, key text);
