CREATE SCHEMA IF NOT EXISTS rollout;
CREATE TABLE IF NOT EXISTS rollout.markers (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
COMMENT ON TABLE rollout.markers IS 'snapshots that were taken of this database: a copy holds the marker of its own'
