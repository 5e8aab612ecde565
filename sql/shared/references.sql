-- Shared by 001 of every tier that refers to oltp: documented references, and what scans of them find.
-- One line a reference, below the comment as found; the scan reads these lines, they are its only list:
--     references oltp.<table>(<column>) from <source>[ within <source> = <its column>]; validated by rollout.references
-- <source> is a column of this table or <column>->>'<key>'; `within` names what must agree, mostly the tenant.
CREATE OR REPLACE FUNCTION rollout.document_reference(relation regclass, column_name text, lines text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number int := (
        SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = column_name AND NOT attisdropped
    );
    as_found text;
BEGIN
    IF number IS NULL THEN
        RAISE undefined_column USING MESSAGE = format('%s has no column %s', relation, column_name);
    END IF;
    SELECT string_agg(line, E'\n' ORDER BY n) INTO as_found
    FROM unnest(string_to_array(col_description(relation, number), E'\n')) WITH ORDINALITY AS l (line, n)
    WHERE line NOT LIKE 'references oltp.%; validated by rollout.references';
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', relation, column_name, nullif(concat_ws(E'\n', as_found, (
        SELECT string_agg('references oltp.' || line || '; validated by rollout.references', E'\n' ORDER BY n)
        FROM unnest(lines) WITH ORDINALITY AS l (line, n)
    )), ''));
END $$;
REVOKE ALL ON FUNCTION rollout.document_reference(regclass, text, text[]) FROM PUBLIC;

-- What a scan found: one row a reference and scan, so that "nothing found" and "never looked" differ ...
CREATE TABLE IF NOT EXISTS rollout.reference_scans (
    scan text,
    relation text,
    column_name text,
    referent text,
    source text,
    scanned_at timestamptz NOT NULL DEFAULT now(),
    rows bigint NOT NULL,
    orphans bigint NOT NULL,
    malformed bigint NOT NULL,
    foreign_tenant bigint NOT NULL,
    PRIMARY KEY (scan, relation, column_name, referent, source)
);
COMMENT ON COLUMN rollout.reference_scans.orphans IS 'rows whose referent does not exist, malformed ids among them';

-- ... and every id that is wrong.
CREATE TABLE IF NOT EXISTS rollout.reference_findings (
    scan text,
    relation text,
    column_name text,
    referent text,
    source text,
    kind text CHECK (kind IN ('orphan', 'malformed', 'foreign_tenant')),
    id text,
    scope text NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (scan, relation, column_name, referent, source, kind, id, scope),
    FOREIGN KEY (scan, relation, column_name, referent, source) REFERENCES rollout.reference_scans ON DELETE CASCADE
);
COMMENT ON COLUMN rollout.reference_findings.scope IS
'what `within` names on the referencing side, mostly the tenant; empty when nothing';
COMMENT ON COLUMN rollout.reference_findings.rows IS 'rows that hold this id';

CREATE OR REPLACE FUNCTION rollout.verify_documented_references(stage text, columns_expanded int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Of the tables as found: a later change may have moved one to v1, or replaced it for good.
    least_wanted int := CASE stage WHEN 'expand' THEN columns_expanded WHEN 'revert' THEN 0 ELSE 1 END;
    found int := (
        SELECT count(DISTINCT (c.relname, d.objsubid)) FROM pg_description AS d JOIN pg_class AS c ON c.oid = d.objoid
        WHERE d.classoid = 'pg_class'::regclass AND d.objsubid > 0 AND c.relnamespace::regnamespace::text IN ('public', 'v1')
            AND d.description ~ '(^|\n)references oltp\.[^\n]*; validated by rollout\.references(\n|$)'
    );
BEGIN
    IF found < least_wanted OR (stage = 'revert' AND found > 0) THEN
        RAISE EXCEPTION '%: % columns document a reference, % should', stage, found, least_wanted;
    END IF;
END $$;
REVOKE ALL ON FUNCTION rollout.verify_documented_references(text, int) FROM PUBLIC;
