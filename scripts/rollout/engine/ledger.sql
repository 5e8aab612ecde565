-- The ledger: what this rollout has done in this database, written in the transaction that does the work.
-- Every statement may be repeated: a runner installs the ledger before each step.
CREATE SCHEMA IF NOT EXISTS rollout;
-- Its comment says which version of this file made it.

CREATE TABLE IF NOT EXISTS rollout.fence (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token bigint NOT NULL,
    run text NOT NULL
);
COMMENT ON TABLE rollout.fence IS 'the newest fencing token seen; a runner with an older one may not write';

CREATE TABLE IF NOT EXISTS rollout.changes (
    change text PRIMARY KEY,
    stage text NOT NULL,
    sha256 text NOT NULL,
    run text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
-- Said apart from the table, so that a ledger from before a stage was known learns it.
ALTER TABLE rollout.changes DROP CONSTRAINT IF EXISTS changes_stage_check;
ALTER TABLE rollout.changes ADD CONSTRAINT changes_stage_check CHECK (
    stage IN ('expanding', 'expanded', 'copied', 'compared', 'mismatched', 'swapped', 'contracting', 'contracted')
);
COMMENT ON TABLE rollout.changes IS 'where each change stands in this database';

CREATE TABLE IF NOT EXISTS rollout.shapes (
    change text PRIMARY KEY,
    shape json NOT NULL -- json, because the order of columns counts
);
COMMENT ON TABLE rollout.shapes IS 'each rewrite as resolved when its shadow was made: names, columns, mapping both ways';

CREATE TABLE IF NOT EXISTS rollout.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    run text NOT NULL,
    token bigint NOT NULL,
    change text NOT NULL,
    event text NOT NULL,
    facts jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE rollout.events IS 'append-only history of every change in this database';

CREATE OR REPLACE FUNCTION rollout.refuse_edit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollout.events
FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_edit();

CREATE TABLE IF NOT EXISTS rollout.checkpoints (
    change text NOT NULL,
    work text NOT NULL,
    last_key text,
    rows bigint NOT NULL DEFAULT 0,
    finished boolean NOT NULL DEFAULT false,
    PRIMARY KEY (change, work)
);
ALTER TABLE rollout.checkpoints ADD COLUMN IF NOT EXISTS until_key text;
COMMENT ON COLUMN rollout.checkpoints.until_key IS 'where a lane of a copy ends, that key included; null: at the last key';
ALTER TABLE rollout.checkpoints ADD COLUMN IF NOT EXISTS lane_of text;
COMMENT ON COLUMN rollout.checkpoints.lane_of IS 'the work of which this is a further lane; its first last_key is where the one before it ends';
COMMENT ON TABLE rollout.checkpoints IS 'the last committed chunk of each copy; written with the chunk itself';

CREATE TABLE IF NOT EXISTS rollout.rejects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    change text NOT NULL,
    relation text NOT NULL,
    key text NOT NULL,
    row jsonb NOT NULL,
    reason text NOT NULL,
    taken_back timestamptz,
    UNIQUE (change, relation, key)
);
ALTER TABLE rollout.rejects ADD COLUMN IF NOT EXISTS taken_back timestamptz;
COMMENT ON COLUMN rollout.rejects.taken_back IS 'when a rollback had left the row behind; null while it is at risk';
COMMENT ON TABLE rollout.rejects IS 'the reject ledger: rows that the old shape cannot hold';

CREATE TABLE IF NOT EXISTS rollout.renames (
    change text PRIMARY KEY,
    state json NOT NULL -- json, because the order in which tables were exchanged counts
);
COMMENT ON TABLE rollout.renames IS 'of each rename: which tables stand exchanged, what was done to each, which constraints were added';

CREATE TABLE IF NOT EXISTS rollout.mended (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    change text NOT NULL,
    name text NOT NULL,
    relation text NOT NULL,
    rule text NOT NULL,
    why text NOT NULL,
    row jsonb NOT NULL
);
COMMENT ON TABLE rollout.mended IS 'rows that a new constraint would have refused, or whose reference pointed at nothing: as they were, what was done, why';

CREATE TABLE IF NOT EXISTS rollout.reference_kept (
    relation text,
    column_name text,
    referent text,
    source text,
    kind text,
    id text,
    scope text,
    rows bigint NOT NULL,
    row jsonb NOT NULL,
    run text NOT NULL,
    said_by text NOT NULL,
    why text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relation, column_name, referent, source, kind, id, scope)
);
COMMENT ON TABLE rollout.reference_kept IS
'ids that point at nothing and stay, by a person''s word: how many rows have each, and one of them; a scan counts what comes on top as wrong';

CREATE TABLE IF NOT EXISTS rollout.conflicts (
    change text NOT NULL,
    relation text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    differing text[] NOT NULL,
    row jsonb NOT NULL,
    PRIMARY KEY (change, relation, key)
);
COMMENT ON TABLE rollout.conflicts IS 'keys that stand in several merged tables: the row that gave way, and where it differs';

-- One row for each change whose copying has begun or was paused; a pause is a person's word and outlives every runner.
CREATE TABLE IF NOT EXISTS rollout.controls (
    change text PRIMARY KEY,
    paused_at timestamptz,
    paused_by text,
    reason text,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL))
);
COMMENT ON TABLE rollout.controls IS 'which copying is paused: since when, by whom, why';

-- Append-only, not one row a key: two writers of one key must not wait for each other here.
CREATE TABLE IF NOT EXISTS rollout.dirty (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    change text NOT NULL,
    relation text NOT NULL,
    key text NOT NULL
);
CREATE INDEX IF NOT EXISTS dirty_change_relation ON rollout.dirty (change, relation);
COMMENT ON TABLE rollout.dirty IS 'keys written since the last comparison; compared again under the lock of the swap';

-- Written in the transaction that touches the relation, so that a switch-on killed in its middle can be taken back.
CREATE TABLE IF NOT EXISTS rollout.row_security (
    change text NOT NULL,
    relation text NOT NULL, -- qualified and quoted
    kind text NOT NULL,
    found jsonb NOT NULL,
    made jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (change, relation)
);
COMMENT ON TABLE rollout.row_security IS
'each relation that row security was put on: what was there before, for the way back, and what was made, for the report';

-- Row triggers do not see TRUNCATE, so a table under change refuses it.
CREATE OR REPLACE FUNCTION rollout.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of % is refused while a schema change keeps it in step', TG_TABLE_NAME
        USING HINT = 'DELETE in batches, or run it before the change is expanded or after it is contracted';
END $$;

-- A value that is no uuid is null here, and no error of whoever writes it.
CREATE OR REPLACE FUNCTION rollout.uuid_or_null(value text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN value ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN value::uuid END;

-- While two old names share one table, an insert under the one takes the place of the row that stands under the other
-- (decision 0002), in a function that row security does not bind. Of another tenant's row it must not: TG_ARGV is the column
-- that says whose a row is, and the setting that holds the tenant.
CREATE OR REPLACE FUNCTION rollout.keep_place() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Within a function of its owner's rights current_user is that owner: whoever called it is asked.
    acting name := CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
BEGIN
    IF coalesce(current_setting('rollout.replacing', true), '') = ''
        OR to_jsonb(OLD) ->> TG_ARGV[0] = nullif(current_setting(TG_ARGV[1], true), '')
        OR (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles AS r WHERE r.rolname = acting) THEN
        RETURN OLD;
    END IF;
    RAISE unique_violation USING MESSAGE = format('duplicate key in %s', TG_TABLE_NAME), TABLE = TG_TABLE_NAME;
END $$;
