-- One of each kind of object that a rollout may leave in a database.
CREATE SCHEMA v2;
CREATE TYPE v2.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN v2.share AS numeric(5, 2) DEFAULT 1 CHECK (VALUE >= 0 AND VALUE <= 100);
CREATE SEQUENCE v2.down INCREMENT -5 MAXVALUE 1000 START 1000;
SELECT nextval('v2.down');
CREATE TABLE v2.jobs (
    id uuid, queue_name varchar(100), m v2.mood DEFAULT 'ok', s v2.share, "Odd ""name" text COLLATE "C", r text,
    at timestamptz DEFAULT now(), n int GENERATED ALWAYS AS (length(queue_name)) STORED, dropped int,
    CHECK (queue_name IN ('a', 'b (c)', 'd') OR (n > 3 AND r IS NULL)), PRIMARY KEY (id, queue_name)
) PARTITION BY LIST (queue_name);
ALTER TABLE v2.jobs DROP COLUMN dropped;
CREATE TABLE v2.jobs_a PARTITION OF v2.jobs FOR VALUES IN ('a');
CREATE TABLE v2.jobs_rest PARTITION OF v2.jobs DEFAULT WITH (fillfactor = 80);
CREATE INDEX jobs_at ON v2.jobs (at DESC) INCLUDE (m) WHERE m = 'ok' AND queue_name IN ('a', 'd');
CREATE STATISTICS v2.jobs_m ON m, queue_name FROM v2.jobs_a;
INSERT INTO v2.jobs SELECT gen_random_uuid(), (ARRAY['a', 'd'])[1 + i % 2], 'sad', i % 100, 'o', NULL FROM generate_series(1, 500) AS i;
CREATE VIEW v2.work WITH (security_invoker) AS SELECT id, queue_name, s FROM v2.jobs WHERE queue_name IN ('a', 'd');
CREATE MATERIALIZED VIEW v2.sums AS SELECT queue_name, count(*) AS jobs FROM v2.jobs GROUP BY queue_name;
CREATE UNIQUE INDEX ON v2.sums (queue_name);
CREATE FUNCTION v2.stamp() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE UPDATE ON v2.jobs FOR EACH ROW WHEN (OLD.r IS DISTINCT FROM NEW.r) EXECUTE FUNCTION v2.stamp();
ALTER TABLE v2.jobs_a ENABLE ALWAYS TRIGGER stamp;
ALTER TABLE v2.jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON v2.jobs FOR SELECT TO penguin_app USING (queue_name IN ('a', 'd') AND (s > 1 OR r IS NULL));
GRANT USAGE ON SCHEMA v2 TO penguin_app;
GRANT SELECT, UPDATE (r) ON v2.jobs TO penguin_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA v2 GRANT SELECT ON TABLES TO penguin_app;
COMMENT ON TABLE v2.jobs IS 'the queue';
COMMENT ON COLUMN v2.jobs.r IS 'a column that bears a short name';
