-- The ledger: what this rollout has done in this database, written in the transaction that does the work.
-- Every statement may be repeated: a runner installs the ledger before each step.
CREATE SCHEMA IF NOT EXISTS rollout;
COMMENT ON SCHEMA rollout IS 'ledger, findings, reject ledger and sync functions of schema rollouts';

CREATE TABLE IF NOT EXISTS rollout.fence (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token bigint NOT NULL,
    run text NOT NULL
);
COMMENT ON TABLE rollout.fence IS 'the newest fencing token seen; a runner with an older one may not write';

CREATE TABLE IF NOT EXISTS rollout.changes (
    change text PRIMARY KEY,
    stage text NOT NULL CHECK (
        stage IN ('expanded', 'copied', 'compared', 'mismatched', 'swapped', 'contracting', 'contracted')
    ),
    sha256 text NOT NULL,
    run text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rollout.changes IS 'where each change stands in this database';

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
COMMENT ON TABLE rollout.checkpoints IS 'the last committed chunk of each copy; written with the chunk itself';

CREATE TABLE IF NOT EXISTS rollout.rejects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    change text NOT NULL,
    relation text NOT NULL,
    key text NOT NULL,
    row jsonb NOT NULL,
    reason text NOT NULL,
    UNIQUE (change, relation, key)
);
COMMENT ON TABLE rollout.rejects IS 'the reject ledger: rows that the old shape cannot hold';

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

-- Arguments: the change, the relation as the comparison names it, the key column.
CREATE OR REPLACE FUNCTION rollout.note_dirty() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO rollout.dirty (change, relation, key) VALUES (TG_ARGV[0], TG_ARGV[1], to_jsonb(NEW) ->> TG_ARGV[2]);
    END IF;
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND to_jsonb(NEW) ->> TG_ARGV[2] <> to_jsonb(OLD) ->> TG_ARGV[2]) THEN
        INSERT INTO rollout.dirty (change, relation, key) VALUES (TG_ARGV[0], TG_ARGV[1], to_jsonb(OLD) ->> TG_ARGV[2]);
    END IF;
    RETURN NULL;
END $$;

-- Row triggers do not see TRUNCATE, so a table under change refuses it.
CREATE OR REPLACE FUNCTION rollout.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of % is refused while a schema change keeps it in step', TG_TABLE_NAME
        USING HINT = 'DELETE in batches, or run it before the change is expanded or after it is contracted';
END $$;

-- Raises when the view that old clients now see differs from the table they knew: columns, types, order, privileges.
CREATE OR REPLACE FUNCTION rollout.assert_same_face(was regclass, is_now regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    difference text;
BEGIN
    SELECT string_agg(format('%s %s', coalesce(a.col, b.col), coalesce(a.typ, 'missing') || ' / ' || coalesce(b.typ, 'missing')), ', ')
    INTO difference
    FROM (
        SELECT row_number() OVER (ORDER BY attnum) AS n, attname::text AS col, format_type(atttypid, atttypmod) AS typ
        FROM pg_attribute WHERE attrelid = was AND attnum > 0 AND NOT attisdropped
    ) AS a
    FULL JOIN (
        SELECT row_number() OVER (ORDER BY attnum) AS n, attname::text AS col, format_type(atttypid, atttypmod) AS typ
        FROM pg_attribute WHERE attrelid = is_now AND attnum > 0 AND NOT attisdropped
    ) AS b ON a.n = b.n AND a.col = b.col
    WHERE a.typ IS DISTINCT FROM b.typ;
    IF difference IS NOT NULL THEN
        RAISE EXCEPTION 'columns of % differ from %: %', is_now, was, difference;
    END IF;
    SELECT string_agg(DISTINCT g.grantee::regrole::text || ' ' || g.privilege_type, ', ') INTO difference
    FROM pg_class AS c, LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
    WHERE c.oid = was AND g.grantee <> 0 AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
        AND NOT has_table_privilege(g.grantee, is_now, g.privilege_type);
    IF difference IS NOT NULL THEN
        RAISE EXCEPTION 'privileges on % are missing: %', is_now, difference;
    END IF;
END $$;

-- What an authority has and the shadow does not carry, named; null when nothing. Asked before anything is written, and again
-- inside the swap: renaming moves names and not identities, so what is not carried here would be lost without a word.
CREATE OR REPLACE FUNCTION rollout.not_carried(was regclass, shadow regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(found, '; ') FROM (
        SELECT 'row security' AS found FROM pg_class WHERE oid = was AND (relrowsecurity OR relforcerowsecurity)
        UNION ALL
        SELECT 'trigger ' || tgname FROM pg_trigger
        WHERE tgrelid = was AND NOT tgisinternal AND tgname !~ '^(zz_)?rollout_'
        UNION ALL
        SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = was
        UNION ALL
        SELECT DISTINCT 'view ' || r.ev_class::regclass FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = was
            AND r.ev_class::regclass::text !~ '^rollout\.'
        UNION ALL
        SELECT 'publication ' || p.pubname FROM pg_publication_rel AS x JOIN pg_publication AS p ON p.oid = x.prpubid
        WHERE x.prrelid = was
        UNION ALL
        SELECT 'privileges on column ' || attname FROM pg_attribute WHERE attrelid = was AND attnum > 0 AND attacl IS NOT NULL
        UNION ALL
        SELECT 'inheritance' FROM pg_inherits WHERE inhrelid = was OR inhparent = was
        UNION ALL
        SELECT format('default of column %s (%s)', o.attname, pg_get_expr(d.adbin, d.adrelid))
        FROM pg_attribute AS o
        JOIN pg_attrdef AS d ON d.adrelid = o.attrelid AND d.adnum = o.attnum
        JOIN pg_attribute AS n ON n.attrelid = shadow AND n.attname = o.attname AND NOT n.attisdropped
        LEFT JOIN pg_attrdef AS nd ON nd.adrelid = n.attrelid AND nd.adnum = n.attnum
        WHERE o.attrelid = was AND NOT o.attisdropped
            AND pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM pg_get_expr(nd.adbin, nd.adrelid)
        UNION ALL
        SELECT 'constraint ' || o.conname FROM pg_constraint AS o
        WHERE o.conrelid = was AND o.contype = 'c' AND NOT EXISTS (
            SELECT FROM pg_constraint AS n WHERE n.conrelid = shadow AND n.contype = 'c'
                -- Casts and parentheses aside: a restored constraint prints them differently.
                AND regexp_replace(pg_get_constraintdef(n.oid), '::[a-z ]+(\[\])?|[()\s]', '', 'g')
                    = regexp_replace(pg_get_constraintdef(o.oid), '::[a-z ]+(\[\])?|[()\s]', '', 'g')
        )
    ) AS lacking;
$$;

CREATE OR REPLACE FUNCTION rollout.uuid_or_null(value text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN value ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN value::uuid END;

-- Gives a relation, and USAGE of its schema, to everybody who had the other one (renaming moves names, not identities).
CREATE OR REPLACE FUNCTION rollout.copy_grants(was regclass, is_now regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g record;
BEGIN
    FOR g IN
        SELECT x.grantee, x.privilege_type, x.is_grantable, n.nspname
        FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS x, pg_class AS t, pg_namespace AS n
        WHERE c.oid = was AND t.oid = is_now AND n.oid = t.relnamespace AND x.grantee <> c.relowner
            AND x.privilege_type <> 'MAINTAIN'
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s%s', g.privilege_type, is_now,
            CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
        IF g.grantee <> 0 THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', g.nspname, g.grantee::regrole);
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION rollout.revoke_grants(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g record;
BEGIN
    FOR g IN
        SELECT DISTINCT x.grantee FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS x
        WHERE c.oid = relation AND x.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', relation,
            CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END);
    END LOOP;
END $$;

-- Carries the comments of a relation and of its equally named columns.
CREATE OR REPLACE FUNCTION rollout.copy_comments(was regclass, is_now regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT a.attname, col_description(was, o.attnum) AS words
        FROM pg_attribute AS a JOIN pg_attribute AS o ON o.attrelid = was AND o.attname = a.attname AND NOT o.attisdropped
        WHERE a.attrelid = is_now AND a.attnum > 0 AND NOT a.attisdropped AND col_description(was, o.attnum) IS NOT NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', is_now, c.attname, c.words);
    END LOOP;
END $$;
