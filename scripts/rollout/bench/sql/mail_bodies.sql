-- The rows of the seed's email_content, by its own keys, with the bodies that were copied in; a third has an HTML part of the same text.
insert into email_content (
    storage_key, tenant_id, content_text, content_html, headers, raw_size_bytes, compressed_size_bytes, content_hash, compression_algorithm, created
)
select
    pg_temp.storage_key(n), pg_temp.id('tenant', pg_temp.thread_tenant(n)), body,
    case when mod(n, 3) = 0 then '<html><body><p>' || replace(body, E'\n\n', '</p><p>') || '</p></body></html>' end,
    jsonb_build_object(
        'message-id', '<' || pg_temp.id('header', n) || '@mail.example>', 'received', 'from mx' || mod(n, 9) || '.example; ' || pg_temp.at(21, n)
    ),
    octet_length(body), octet_length(body) / 2, md5(body), 'zstd', pg_temp.at(21, n)
from body
order by n;
