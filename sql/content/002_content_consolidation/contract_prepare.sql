-- Contract, first part: new rows must have a real parent from now on (blue is gone); old orphans are still tolerated.
ALTER TABLE v2.email_messages DROP CONSTRAINT IF EXISTS fk_email_messages_parent;
ALTER TABLE v2.email_messages ADD CONSTRAINT fk_email_messages_parent FOREIGN KEY (parent_message_id)
REFERENCES v2.email_messages (storage_key) ON DELETE SET NULL NOT VALID;
