-- Expand content/002_content_consolidation: the unified shadow v2.email_messages, kept in step by both old tables' writers.
CREATE SCHEMA IF NOT EXISTS v1;
CREATE SCHEMA IF NOT EXISTS v2;

CREATE TABLE IF NOT EXISTS v2.email_messages (
    storage_key varchar(500) PRIMARY KEY,
    tenant_id uuid NOT NULL,
    email_account_id uuid,
    campaign_id uuid,
    lead_id uuid,
    parent_message_id varchar(500),
    direction varchar(20) CHECK (direction IN ('inbound', 'outbound')),
    message_type varchar(20) CHECK (message_type IN ('email', 'bounce', 'auto_reply')),
    from_email varchar(254),
    to_email varchar(254),
    subject varchar(500),
    status varchar(50) CHECK (status IN ('queued', 'sent', 'delivered', 'bounced', 'failed', 'opened', 'replied')),
    processed timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    -- In which old table the row lives: needed for the way back, dropped by contract.
    origin text NOT NULL CHECK (origin IN ('email_messages', 'content_inbox_message_refs', 'both'))
);
CREATE INDEX IF NOT EXISTS idx_messages_tenant_id ON v2.email_messages (tenant_id);
CREATE INDEX IF NOT EXISTS idx_messages_campaign_id ON v2.email_messages (campaign_id);
CREATE INDEX IF NOT EXISTS idx_messages_status ON v2.email_messages (status);
CREATE INDEX IF NOT EXISTS idx_messages_created_at ON v2.email_messages (created_at);
CREATE INDEX IF NOT EXISTS idx_messages_email_account_id ON v2.email_messages (email_account_id);
CREATE INDEX IF NOT EXISTS idx_messages_parent_message_id ON v2.email_messages (parent_message_id);
COMMENT ON TABLE v2.email_messages IS 'every message, in either direction; successor of email_messages and content_inbox_message_refs';
SELECT rollout.copy_comments('public.email_messages', 'v2.email_messages');

-- A key in both old tables keeps the email_messages row; what the other one held differently is recorded here.
CREATE TABLE IF NOT EXISTS rollout.message_conflicts (
    storage_key varchar(500) PRIMARY KEY,
    differing text[] NOT NULL,
    inbox_row jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rollout.message_conflicts IS '002: keys that stood in both message tables, and the inbox row that gave way';
CREATE TABLE IF NOT EXISTS rollout.orphan_parents (
    storage_key varchar(500) PRIMARY KEY,
    parent_message_id varchar(500) NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rollout.orphan_parents IS '002: messages whose parent stands in neither message table';

-- Records, or clears, what a key in both tables holds differently.
CREATE OR REPLACE FUNCTION rollout.record_message_conflict(the_key varchar) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM rollout.message_conflicts WHERE storage_key = the_key)
    SELECT;
    INSERT INTO rollout.message_conflicts (storage_key, differing, inbox_row)
    SELECT the_key, array_agg(i.key ORDER BY i.key), to_jsonb(r)
    FROM public.content_inbox_message_refs AS r
    JOIN public.email_messages AS e ON e.storage_key = r.storage_key
    CROSS JOIN LATERAL jsonb_each(to_jsonb(r)) AS i
    WHERE r.storage_key = the_key AND to_jsonb(e) -> i.key IS DISTINCT FROM i.value
    GROUP BY r.storage_key, to_jsonb(r)
    ON CONFLICT (storage_key) DO UPDATE SET differing = excluded.differing, inbox_row = excluded.inbox_row, recorded_at = now();
$$;

-- authority public.email_messages -> shadow v2.email_messages, in the writer's own transaction. It wins over the inbox.
CREATE OR REPLACE FUNCTION rollout.email_messages_to_v2() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND NEW.storage_key <> OLD.storage_key) THEN
        -- Locked first, so that a writer of the inbox who makes this row 'both' is either seen below or waits for us.
        PERFORM FROM v2.email_messages WHERE storage_key = OLD.storage_key FOR UPDATE;
        DELETE FROM v2.email_messages WHERE storage_key = OLD.storage_key;
        DELETE FROM rollout.message_conflicts WHERE storage_key = OLD.storage_key;
        INSERT INTO v2.email_messages (
            storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
            message_type, from_email, to_email, subject, status, processed, created_at, updated_at, origin
        )
        SELECT
            r.storage_key, r.tenant_id, r.email_account_id, r.campaign_id, r.lead_id, r.parent_message_id,
            r.direction, r.message_type, r.from_email, r.to_email, r.subject, r.status, r.processed, r.created,
            r.updated, 'content_inbox_message_refs'
        FROM public.content_inbox_message_refs AS r WHERE r.storage_key = OLD.storage_key
        ON CONFLICT (storage_key) DO NOTHING;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO v2.email_messages AS m (
            storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
            message_type, from_email, to_email, subject, status, processed, created_at, updated_at, origin
        ) VALUES (
            NEW.storage_key, NEW.tenant_id, NEW.email_account_id, NEW.campaign_id, NEW.lead_id,
            NEW.parent_message_id, NEW.direction, NEW.message_type, NEW.from_email, NEW.to_email, NEW.subject,
            NEW.status, NEW.processed, NEW.created, NEW.updated, 'email_messages'
        ) ON CONFLICT (storage_key) DO UPDATE SET
            tenant_id = excluded.tenant_id, email_account_id = excluded.email_account_id,
            campaign_id = excluded.campaign_id, lead_id = excluded.lead_id,
            parent_message_id = excluded.parent_message_id, direction = excluded.direction,
            message_type = excluded.message_type, from_email = excluded.from_email,
            to_email = excluded.to_email, subject = excluded.subject, status = excluded.status,
            processed = excluded.processed, created_at = excluded.created_at, updated_at = excluded.updated_at,
            origin = CASE m.origin WHEN 'email_messages' THEN 'email_messages' ELSE 'both' END;
        IF EXISTS (SELECT FROM v2.email_messages WHERE storage_key = NEW.storage_key AND origin = 'both') THEN
            PERFORM rollout.record_message_conflict(NEW.storage_key);
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- authority public.content_inbox_message_refs -> the same shadow. Where email_messages holds the key, it only says 'both'.
CREATE OR REPLACE FUNCTION rollout.content_inbox_message_refs_to_v2() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND NEW.storage_key <> OLD.storage_key) THEN
        UPDATE v2.email_messages SET origin = 'email_messages' WHERE storage_key = OLD.storage_key AND origin = 'both';
        DELETE FROM v2.email_messages WHERE storage_key = OLD.storage_key AND origin = 'content_inbox_message_refs';
        DELETE FROM rollout.message_conflicts WHERE storage_key = OLD.storage_key;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO v2.email_messages AS m (
            storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
            message_type, from_email, to_email, subject, status, processed, created_at, updated_at, origin
        ) VALUES (
            NEW.storage_key, NEW.tenant_id, NEW.email_account_id, NEW.campaign_id, NEW.lead_id,
            NEW.parent_message_id, NEW.direction, NEW.message_type, NEW.from_email, NEW.to_email, NEW.subject,
            NEW.status, NEW.processed, NEW.created, NEW.updated, 'content_inbox_message_refs'
        ) ON CONFLICT (storage_key) DO UPDATE SET
            tenant_id = excluded.tenant_id, email_account_id = excluded.email_account_id,
            campaign_id = excluded.campaign_id, lead_id = excluded.lead_id,
            parent_message_id = excluded.parent_message_id, direction = excluded.direction,
            message_type = excluded.message_type, from_email = excluded.from_email,
            to_email = excluded.to_email, subject = excluded.subject, status = excluded.status,
            processed = excluded.processed, created_at = excluded.created_at, updated_at = excluded.updated_at
        WHERE m.origin = 'content_inbox_message_refs';
        IF NOT FOUND THEN
            UPDATE v2.email_messages SET origin = 'both' WHERE storage_key = NEW.storage_key AND origin = 'email_messages';
            PERFORM rollout.record_message_conflict(NEW.storage_key);
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- Before a row of v2 is written, in the window: a writer that says no origin is green, and its inbound mail belongs to the
-- inbox that blue reads. A key that stands under the other old name was free to blue, so its insert takes that row's place
-- as 'both' (email_messages' values win) instead of failing; what the inbox row says differently stays in v1 and is recorded.
CREATE OR REPLACE FUNCTION rollout.place_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other v2.email_messages;
BEGIN
    -- Two sessions that insert one key under both names at once meet here.
    PERFORM pg_advisory_xact_lock(hashtextextended('rollout.email_messages ' || NEW.storage_key, 0));
    IF NEW.origin IS NULL THEN
        NEW.origin := CASE NEW.direction WHEN 'inbound' THEN 'content_inbox_message_refs' ELSE 'email_messages' END;
        RETURN NEW;
    END IF;
    SELECT * INTO other FROM v2.email_messages
    WHERE storage_key = NEW.storage_key AND origin NOT IN (NEW.origin, 'both') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NEW;
    END IF;
    IF NEW.origin = 'content_inbox_message_refs' THEN
        INSERT INTO v1.content_inbox_message_refs (
            storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type,
            from_email, to_email, subject, status, processed, created, updated
        ) VALUES (
            NEW.storage_key, NEW.tenant_id, NEW.email_account_id, NEW.campaign_id, NEW.lead_id, NEW.parent_message_id,
            NEW.direction, NEW.message_type, NEW.from_email, NEW.to_email, NEW.subject, NEW.status, NEW.processed,
            NEW.created_at, NEW.updated_at
        ) ON CONFLICT (storage_key) DO NOTHING;
        NEW := other;
    END IF;
    -- The row is replaced, not deleted: its sync must leave v1 alone.
    PERFORM set_config('rollout.replacing', NEW.storage_key, true);
    DELETE FROM v2.email_messages WHERE storage_key = NEW.storage_key;
    PERFORM set_config('rollout.replacing', '', true);
    NEW.origin := 'both';
    RETURN NEW;
END $$;

-- Blue's DELETE under one of the old names. Of a key in both only that side goes; the other one's own row comes back.
CREATE OR REPLACE FUNCTION rollout.delete_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM v2.email_messages WHERE storage_key = OLD.storage_key AND origin = TG_ARGV[0];
    IF NOT FOUND AND TG_ARGV[0] = 'email_messages' THEN
        UPDATE v2.email_messages AS m SET
            tenant_id = i.tenant_id, email_account_id = i.email_account_id, campaign_id = i.campaign_id, lead_id = i.lead_id,
            parent_message_id = i.parent_message_id, direction = i.direction, message_type = i.message_type, from_email = i.from_email,
            to_email = i.to_email, subject = i.subject, status = i.status, processed = i.processed,
            created_at = i.created, updated_at = i.updated, origin = 'content_inbox_message_refs'
        FROM v1.content_inbox_message_refs AS i
        WHERE m.storage_key = OLD.storage_key AND m.origin = 'both' AND i.storage_key = m.storage_key;
    ELSIF NOT FOUND THEN
        UPDATE v2.email_messages SET origin = 'email_messages' WHERE storage_key = OLD.storage_key AND origin = 'both';
    END IF;
    RETURN CASE WHEN FOUND THEN OLD END;
END $$;

-- authority v2.email_messages -> shadows v1.*. An update writes only the columns that changed: what the inbox row of a key
-- in both tables held differently stays as it was, for the way back.
CREATE OR REPLACE FUNCTION rollout.email_messages_to_v1() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.storage_key = current_setting('rollout.replacing', true) THEN
            RETURN NULL;
        END IF;
        IF OLD.origin <> 'content_inbox_message_refs' THEN
            DELETE FROM v1.email_messages WHERE storage_key = OLD.storage_key;
        END IF;
        IF OLD.origin <> 'email_messages' THEN
            DELETE FROM v1.content_inbox_message_refs WHERE storage_key = OLD.storage_key;
        END IF;
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.origin = OLD.origin THEN
        IF NEW.origin <> 'content_inbox_message_refs' THEN
            UPDATE v1.email_messages AS o SET

                storage_key = CASE WHEN NEW.storage_key IS DISTINCT FROM OLD.storage_key THEN NEW.storage_key ELSE o.storage_key END,
                tenant_id = CASE WHEN NEW.tenant_id IS DISTINCT FROM OLD.tenant_id THEN NEW.tenant_id ELSE o.tenant_id END,
                email_account_id = CASE WHEN NEW.email_account_id IS DISTINCT FROM OLD.email_account_id THEN NEW.email_account_id ELSE o.email_account_id END,
                campaign_id = CASE WHEN NEW.campaign_id IS DISTINCT FROM OLD.campaign_id THEN NEW.campaign_id ELSE o.campaign_id END,
                lead_id = CASE WHEN NEW.lead_id IS DISTINCT FROM OLD.lead_id THEN NEW.lead_id ELSE o.lead_id END,
                parent_message_id = CASE WHEN NEW.parent_message_id IS DISTINCT FROM OLD.parent_message_id THEN NEW.parent_message_id ELSE o.parent_message_id END,
                direction = CASE WHEN NEW.direction IS DISTINCT FROM OLD.direction THEN NEW.direction ELSE o.direction END,
                message_type = CASE WHEN NEW.message_type IS DISTINCT FROM OLD.message_type THEN NEW.message_type ELSE o.message_type END,
                from_email = CASE WHEN NEW.from_email IS DISTINCT FROM OLD.from_email THEN NEW.from_email ELSE o.from_email END,
                to_email = CASE WHEN NEW.to_email IS DISTINCT FROM OLD.to_email THEN NEW.to_email ELSE o.to_email END,
                subject = CASE WHEN NEW.subject IS DISTINCT FROM OLD.subject THEN NEW.subject ELSE o.subject END,
                status = CASE WHEN NEW.status IS DISTINCT FROM OLD.status THEN NEW.status ELSE o.status END,
                processed = CASE WHEN NEW.processed IS DISTINCT FROM OLD.processed THEN NEW.processed ELSE o.processed END,
                created = CASE WHEN NEW.created_at IS DISTINCT FROM OLD.created_at THEN NEW.created_at ELSE o.created END,
                updated = CASE WHEN NEW.updated_at IS DISTINCT FROM OLD.updated_at THEN NEW.updated_at ELSE o.updated END
            WHERE o.storage_key = OLD.storage_key;
        END IF;
        IF NEW.origin <> 'email_messages' THEN
            UPDATE v1.content_inbox_message_refs AS o SET

                storage_key = CASE WHEN NEW.storage_key IS DISTINCT FROM OLD.storage_key THEN NEW.storage_key ELSE o.storage_key END,
                tenant_id = CASE WHEN NEW.tenant_id IS DISTINCT FROM OLD.tenant_id THEN NEW.tenant_id ELSE o.tenant_id END,
                email_account_id = CASE WHEN NEW.email_account_id IS DISTINCT FROM OLD.email_account_id THEN NEW.email_account_id ELSE o.email_account_id END,
                campaign_id = CASE WHEN NEW.campaign_id IS DISTINCT FROM OLD.campaign_id THEN NEW.campaign_id ELSE o.campaign_id END,
                lead_id = CASE WHEN NEW.lead_id IS DISTINCT FROM OLD.lead_id THEN NEW.lead_id ELSE o.lead_id END,
                parent_message_id = CASE WHEN NEW.parent_message_id IS DISTINCT FROM OLD.parent_message_id THEN NEW.parent_message_id ELSE o.parent_message_id END,
                direction = CASE WHEN NEW.direction IS DISTINCT FROM OLD.direction THEN NEW.direction ELSE o.direction END,
                message_type = CASE WHEN NEW.message_type IS DISTINCT FROM OLD.message_type THEN NEW.message_type ELSE o.message_type END,
                from_email = CASE WHEN NEW.from_email IS DISTINCT FROM OLD.from_email THEN NEW.from_email ELSE o.from_email END,
                to_email = CASE WHEN NEW.to_email IS DISTINCT FROM OLD.to_email THEN NEW.to_email ELSE o.to_email END,
                subject = CASE WHEN NEW.subject IS DISTINCT FROM OLD.subject THEN NEW.subject ELSE o.subject END,
                status = CASE WHEN NEW.status IS DISTINCT FROM OLD.status THEN NEW.status ELSE o.status END,
                processed = CASE WHEN NEW.processed IS DISTINCT FROM OLD.processed THEN NEW.processed ELSE o.processed END,
                created = CASE WHEN NEW.created_at IS DISTINCT FROM OLD.created_at THEN NEW.created_at ELSE o.created END,
                updated = CASE WHEN NEW.updated_at IS DISTINCT FROM OLD.updated_at THEN NEW.updated_at ELSE o.updated END
            WHERE o.storage_key = OLD.storage_key;
        END IF;
        RETURN NULL;
    END IF;
    -- A key that stood in both and has lost one side keeps the other one's row as it is.
    IF TG_OP = 'UPDATE' AND OLD.origin = 'both' THEN
        IF NEW.origin = 'email_messages' THEN
            DELETE FROM v1.content_inbox_message_refs WHERE storage_key = OLD.storage_key;
        ELSE
            DELETE FROM v1.email_messages WHERE storage_key = OLD.storage_key;
        END IF;
        RETURN NULL;
    END IF;
    -- An insert, or a key that has just come to stand in both.
    IF NEW.origin <> 'content_inbox_message_refs' THEN
        INSERT INTO v1.email_messages (
            storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
            message_type, from_email, to_email, subject, status, processed, created, updated
        ) VALUES (
            NEW.storage_key, NEW.tenant_id, NEW.email_account_id, NEW.campaign_id, NEW.lead_id,
            NEW.parent_message_id, NEW.direction, NEW.message_type, NEW.from_email, NEW.to_email, NEW.subject,
            NEW.status, NEW.processed, NEW.created_at, NEW.updated_at
        ) ON CONFLICT (storage_key) DO NOTHING;
    END IF;
    IF NEW.origin <> 'email_messages' THEN
        INSERT INTO v1.content_inbox_message_refs (
            storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction,
            message_type, from_email, to_email, subject, status, processed, created, updated
        ) VALUES (
            NEW.storage_key, NEW.tenant_id, NEW.email_account_id, NEW.campaign_id, NEW.lead_id,
            NEW.parent_message_id, NEW.direction, NEW.message_type, NEW.from_email, NEW.to_email, NEW.subject,
            NEW.status, NEW.processed, NEW.created_at, NEW.updated_at
        ) ON CONFLICT (storage_key) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
