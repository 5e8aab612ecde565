-- The seed's attachments, by its own keys, with bytes that do not compress: files are packed already.
insert into attachments (
    id, parent_storage_key, filename, original_filename, mime_type, size_bytes, compressed_size_bytes, content, storage_disposition,
    content_hash, compression_algorithm, is_scanned, virus_scan_result, created
)
select
    pg_temp.id('attachment', n * 10 + k), pg_temp.storage_key(n), 'file-' || n || '-' || k || '.pdf', 'Offer ' || n || '.pdf', 'application/pdf',
    octet_length(file.bytes), octet_length(file.bytes), file.bytes, case when k = 2 then 'inline' else 'attachment' end,
    encode(sha256(file.bytes), 'hex'), 'none', true, 'clean', pg_temp.at(21, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as i
cross join lateral (select i * %(attachment_every)s as n) as m
cross join lateral generate_series(1, case when mod(i, 3) = 0 then 2 else 1 end) as k
cross join lateral (
    select decode(string_agg(md5(n || ':' || k || ':' || part), ''), 'hex') as bytes
    from generate_series(1, 32 + pg_temp.pick(23, n, 700)) as part
) as file;
