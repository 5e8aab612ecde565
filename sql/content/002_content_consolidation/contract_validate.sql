ALTER TABLE v2.email_messages VALIDATE CONSTRAINT fk_email_messages_parent;
