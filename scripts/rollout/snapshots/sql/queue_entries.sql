-- What the lists hold: one row an entry whose id could be read. Goes with the connection.
SET statement_timeout = '120s';
CREATE TEMP TABLE redis_entries (id uuid NOT NULL, dead boolean NOT NULL);
