-- The target shape of messages, made by hand: what release v2 expects to find. As service_v2_queue.sql, service_v2_olap.sql.
CREATE SCHEMA v2;
CREATE TABLE v2.email_messages (
    storage_key varchar(500) PRIMARY KEY REFERENCES public.email_content (storage_key),
    tenant_id uuid NOT NULL, email_account_id uuid, campaign_id uuid, lead_id uuid, parent_message_id varchar(500),
    direction varchar(20), message_type varchar(20), from_email varchar(254), to_email varchar(254), subject varchar(500),
    status varchar(50), processed timestamptz,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(),
    origin text NOT NULL DEFAULT 'email_messages'
);
CREATE INDEX ON v2.email_messages (parent_message_id);
GRANT USAGE ON SCHEMA v2 TO penguin_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA v2 TO penguin_app;
CREATE SCHEMA v1;
ALTER TABLE public.email_messages SET SCHEMA v1;
CREATE VIEW public.email_messages AS SELECT * FROM v2.email_messages;
ALTER TABLE public.content_inbox_message_refs SET SCHEMA v1;
