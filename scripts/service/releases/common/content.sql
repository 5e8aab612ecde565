-- Statements on content that both releases share.

-- name: store_content
INSERT INTO email_content (storage_key, tenant_id, content_text, content_html, headers, raw_size_bytes, content_hash)
VALUES (%(storage_key)s, %(tenant_id)s::uuid, %(content_text)s, %(content_html)s, %(headers)s, %(raw_size_bytes)s, %(content_hash)s)
ON CONFLICT (storage_key) DO NOTHING;

-- name: store_content_object
-- attachments.parent_storage_key refers to the older twin, so a message with attachments is stored there as well.
INSERT INTO content_objects (storage_key, tenant_id, content_text, content_html, headers, raw_size_bytes, content_hash)
VALUES (%(storage_key)s, %(tenant_id)s::uuid, %(content_text)s, %(content_html)s, %(headers)s, %(raw_size_bytes)s, %(content_hash)s)
ON CONFLICT (storage_key) DO NOTHING;

-- name: store_attachment
INSERT INTO attachments (id, parent_storage_key, filename, original_filename, mime_type, size_bytes, content,
                         storage_disposition, content_hash)
VALUES (%(id)s::uuid, %(storage_key)s, %(filename)s, %(filename)s, %(mime_type)s, %(size_bytes)s, %(content)s,
        'attachment', %(content_hash)s);
