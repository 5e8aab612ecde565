-- The audit trail: one append-only table, partitioned by month, and the chain of blocks that seals it. Every statement may be
-- repeated, and keeps what is there: the log is evidence, it outlives a rollback and is continued afterwards.
CREATE SCHEMA IF NOT EXISTS audit;
COMMENT ON SCHEMA audit IS 'what public.audit_log_enhanced is made of: partitions, the functions that fill it, the chain over it';

CREATE TABLE IF NOT EXISTS audit.chain (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    log uuid NOT NULL DEFAULT gen_random_uuid(),
    shift bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE audit.chain IS 'which log this is, and what is added to a transaction''s number (audit.settle)';
INSERT INTO audit.chain DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS audit.blocks (
    number bigint PRIMARY KEY CHECK (number > 0),
    until_xact bigint NOT NULL,
    until_id bigint NOT NULL,
    leaves bytea NOT NULL,
    prev bytea NOT NULL,
    hash bytea NOT NULL,
    sealed_at timestamptz NOT NULL
);
ALTER TABLE audit.blocks ALTER COLUMN leaves SET STORAGE EXTERNAL; -- Hashes do not compress.
COMMENT ON TABLE audit.blocks IS 'sealed rows in the order (xact, id): 8 bytes of id and the SHA-256 of each; every block holds the hash of the one before it';

-- Where a row stands in the order of the log: the number of its transaction, and never one below a sealed one. An inlined
-- constant is added, because reading audit.chain for every row would cost more than all else here.
DO $$BEGIN
    IF to_regprocedure('audit.place()') IS NULL THEN
        CREATE FUNCTION audit.place() RETURNS bigint LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8 + 0';
    END IF;
END$$;

-- A database that was restored into another cluster counts its transactions anew: what comes is placed behind what is there.
-- Returns how far it had to be moved, 0 almost always. To be called before a restored database gets its first writer.
CREATE OR REPLACE FUNCTION audit.settle() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ahead bigint := greatest(
        coalesce((SELECT max(l.xact) FROM public.audit_log_enhanced AS l), 0),
        coalesce((SELECT b.until_xact FROM audit.blocks AS b ORDER BY b.number DESC LIMIT 1), 0)
    ) - pg_snapshot_xmax(pg_current_snapshot())::text::bigint - (SELECT c.shift FROM audit.chain AS c);
BEGIN
    IF ahead < 0 THEN
        RETURN 0;
    END IF;
    UPDATE audit.chain SET shift = shift + ahead + 1;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION audit.place() RETURNS bigint LANGUAGE sql VOLATILE'
        ' AS ''SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8 + %s''', (SELECT c.shift FROM audit.chain AS c)
    );
    RETURN ahead + 1;
END$$;

DO $$BEGIN
    IF to_regclass('public.audit_log_enhanced') IS NULL THEN
        CREATE TABLE public.audit_log_enhanced (
            id bigint NOT NULL,
            tenant_id uuid,
            user_id uuid,
            action varchar(100) NOT NULL,
            resource_type varchar(100) NOT NULL,
            resource_id text NOT NULL,
            old_values jsonb,
            new_values jsonb,
            ip_address inet,
            user_agent text,
            session_id uuid,
            created_at timestamptz NOT NULL DEFAULT now(),
            xact bigint NOT NULL DEFAULT audit.place(),
            CONSTRAINT audit_log_enhanced_pkey PRIMARY KEY (id, created_at)
        ) PARTITION BY RANGE (created_at);
        IF current_setting('server_version_num')::int >= 170000 THEN
            ALTER TABLE public.audit_log_enhanced ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;
        ELSE -- No partitioned table has an identity before.
            CREATE SEQUENCE audit.log_id;
            ALTER TABLE public.audit_log_enhanced ALTER COLUMN id SET DEFAULT nextval('audit.log_id');
        END IF;
    END IF;
END$$;
CREATE INDEX IF NOT EXISTS idx_audit_tenant_action ON public.audit_log_enhanced (tenant_id, action, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_audit_resource ON public.audit_log_enhanced (resource_type, resource_id);
CREATE INDEX IF NOT EXISTS idx_audit_session ON public.audit_log_enhanced (session_id) WHERE session_id IS NOT NULL;
-- Rows arrive all but in this order, so that the smallest of indexes finds a block's.
CREATE INDEX IF NOT EXISTS idx_audit_xact ON public.audit_log_enhanced USING brin (xact) WITH (pages_per_range = 16, autosummarize = on);
COMMENT ON TABLE public.audit_log_enhanced IS 'who changed what: append-only, sealed by audit.blocks; of an UPDATE the values that changed';
COMMENT ON COLUMN public.audit_log_enhanced.tenant_id IS 'app.current_tenant_id, else the row''s own tenant_id, else null: nobody''s alone';
COMMENT ON COLUMN public.audit_log_enhanced.resource_id IS 'its key as text: keys are uuids, numbers and words here; a JSON array of several columns';
COMMENT ON COLUMN public.audit_log_enhanced.xact IS 'the transaction''s place in the order of the log';

CREATE OR REPLACE FUNCTION audit.refuse_edit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'old months are detached and kept: runbooks/audit.md';
END$$;

-- What keeps a relation of the log from being edited. The owner has a policy too: its trigger function must not fail for want of
-- BYPASSRLS, since with it every writer of the product would.
CREATE OR REPLACE FUNCTION audit.dress(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given record;
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = relation);
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_edit()', relation
    );
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', relation);
    FOR given IN
        SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS grantee
        FROM pg_class AS c, aclexplode(c.relacl) AS x
        WHERE c.oid = relation AND x.grantee <> c.relowner AND x.privilege_type <> 'SELECT'
    LOOP -- Default privileges may have given them.
        EXECUTE format('REVOKE ALL ON %s FROM %s', relation, given.grantee);
    END LOOP;
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM %I', relation, owner);
    IF relation <> 'audit.blocks'::regclass THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
        IF NOT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = relation AND p.polname = 'audit_owner') THEN
            EXECUTE format('CREATE POLICY audit_owner ON %s TO %I USING (true) WITH CHECK (true)', relation, owner);
        END IF;
    END IF;
END$$;

-- Raise when somebody may edit the log, or a relation of it has lost what refuses that.
CREATE OR REPLACE FUNCTION audit.refuse_editors() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong text;
BEGIN
    WITH log AS (
        SELECT c.* FROM pg_class AS c
        WHERE c.oid = 'audit.blocks'::regclass OR c.oid IN (SELECT t.relid FROM pg_partition_tree('public.audit_log_enhanced') AS t)
    ), found AS (
        SELECT format('%s of %s on %s', x.privilege_type, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END, l.oid::regclass) AS what
        FROM log AS l, aclexplode(l.relacl) AS x
        WHERE x.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE') OR x.privilege_type = 'INSERT' AND x.grantee <> l.relowner
        UNION ALL
        SELECT format('%s without its trigger', l.oid::regclass) FROM log AS l
        WHERE NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = l.oid AND t.tgname = 'append_only' AND t.tgenabled = 'A')
        UNION ALL
        SELECT format('%s without row security', l.oid::regclass) FROM log AS l
        WHERE l.oid <> 'audit.blocks'::regclass AND NOT (l.relrowsecurity AND l.relforcerowsecurity)
    )
    SELECT string_agg(f.what, '; ') INTO wrong FROM found AS f;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the audit trail could be edited: %', wrong;
    END IF;
END$$;

-- Make the partitions of this month and of some ahead; return the names of those made. A month of which the net has caught rows
-- stays in the net: nothing moves rows here.
CREATE OR REPLACE FUNCTION audit.make_partitions(ahead int DEFAULT 3) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since timestamptz;
    until timestamptz;
    name text;
BEGIN
    IF to_regclass('audit.log_default') IS NULL THEN
        CREATE TABLE audit.log_default PARTITION OF public.audit_log_enhanced DEFAULT;
        PERFORM audit.dress('audit.log_default');
        RETURN NEXT 'log_default';
    END IF;
    FOR n IN 0..ahead LOOP
        since := (date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month') AT TIME ZONE 'UTC';
        until := (date_trunc('month', now() AT TIME ZONE 'UTC') + (n + 1) * interval '1 month') AT TIME ZONE 'UTC';
        name := 'log_' || to_char(since AT TIME ZONE 'UTC', 'YYYY_MM');
        CONTINUE WHEN to_regclass('audit.' || name) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM audit.log_default AS d WHERE d.created_at >= since AND d.created_at < until);
        -- Attached, not made as a partition: that would make every writer of the product wait for a lock on the whole log.
        EXECUTE format('CREATE TABLE audit.%I (LIKE public.audit_log_enhanced INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        PERFORM audit.dress(format('audit.%I', name)::regclass);
        EXECUTE format(
            'ALTER TABLE public.audit_log_enhanced ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)', name, since, until
        );
        RETURN NEXT name;
    END LOOP;
END$$;

-- Words become null when they are not what they should be: an audit trail must not make the product's writers fail. All but an
-- address before Postgres 16 are inlined into the INSERT of each row; a pattern costs less than a regular expression, and
-- pg_input_is_valid less than a pattern.
CREATE OR REPLACE FUNCTION audit.uuid_or_null(value text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE WHEN value OPERATOR(pg_catalog.~~) '________-____-____-____-____________'
        AND pg_catalog.translate(value, '0123456789abcdefABCDEF', '') OPERATOR(pg_catalog.=) '----' THEN value::pg_catalog.uuid END
$body$;
-- What a setting says. The planner casts a constant before anything guards it, so pg_input_is_valid, which is no constant, can
-- guard only what is none either: a setting, and not a value of a row.
DO $$BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        CREATE OR REPLACE FUNCTION audit.uuid_of(setting text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $body$
            SELECT CASE WHEN pg_catalog.pg_input_is_valid(pg_catalog.current_setting(setting, true), 'uuid')
                THEN pg_catalog.current_setting(setting, true)::pg_catalog.uuid END
        $body$;
        CREATE OR REPLACE FUNCTION audit.inet_of(setting text) RETURNS inet LANGUAGE sql STABLE PARALLEL SAFE AS $body$
            SELECT CASE WHEN pg_catalog.pg_input_is_valid(pg_catalog.current_setting(setting, true), 'inet')
                THEN pg_catalog.current_setting(setting, true)::pg_catalog.inet END
        $body$;
    ELSE
        CREATE OR REPLACE FUNCTION audit.uuid_of(setting text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $body$
            SELECT audit.uuid_or_null(pg_catalog.current_setting(setting, true))
        $body$;
        CREATE OR REPLACE FUNCTION audit.inet_of(setting text) RETURNS inet
        LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
        BEGIN
            IF current_setting(setting, true) = '' THEN
                RETURN NULL; -- The exception's block is a subtransaction, the dearest part of a row.
            END IF;
            BEGIN
                RETURN current_setting(setting, true)::inet;
            EXCEPTION WHEN invalid_text_representation THEN
                RETURN NULL;
            END;
        END$body$;
    END IF;
END$$;
-- What stands for a secret, or for content that is kept elsewhere: enough to tell whether it is the same.
CREATE OR REPLACE FUNCTION audit.digest(content bytea) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN content IS NOT NULL
    THEN jsonb_build_object('sha256', encode(sha256(content), 'hex'), 'bytes', octet_length(content)) ELSE 'null'::jsonb END;

REVOKE ALL ON FUNCTION audit.place(), audit.settle(), audit.refuse_edit(), audit.dress(regclass), audit.refuse_editors(), audit.make_partitions(int),
audit.uuid_or_null(text), audit.uuid_of(text), audit.inet_of(text), audit.digest(bytea) FROM PUBLIC;
SELECT audit.dress('public.audit_log_enhanced');
SELECT audit.dress('audit.blocks');
SELECT audit.settle();
SELECT audit.make_partitions();
