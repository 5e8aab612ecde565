COMMENT ON TABLE v2.email_messages IS 'every message, in either direction; successor of email_messages and content_inbox_message_refs';
CREATE TABLE IF NOT EXISTS rollout.orphan_parents (
    storage_key varchar(500) PRIMARY KEY,
    parent_message_id varchar(500) NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rollout.orphan_parents IS '002: messages whose parent stands in neither message table';
