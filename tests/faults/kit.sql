-- Types and functions that every generated table may use; one copy serves a table and its twin.
CREATE SCHEMA kit;
GRANT USAGE ON SCHEMA kit TO PUBLIC;
CREATE EXTENSION btree_gist SCHEMA kit;
CREATE TYPE kit.mood AS ENUM ('sad', 'ok', 'happy', 'It''s "fine"');
CREATE TYPE kit.pair AS (x integer, y text);
CREATE DOMAIN kit.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN kit.code AS text COLLATE "C" CHECK (VALUE <> '');

-- A BEFORE trigger as tables have it: the same value for everything that one transaction writes.
CREATE FUNCTION kit.stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.touched := now();
    RETURN NEW;
END $$;

-- An AFTER trigger that leaves a trace beside its table: fired twice, or on a shadow, it would show.
CREATE FUNCTION kit.trace() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.audit (op, at) VALUES ($1, now())', TG_ARGV[0]) USING TG_OP;
    RETURN NULL;
END $$;
