-- A sample of the content's columns: their bytes as text and as stored (compressed in TOAST or not), 100,000 rows at most.
SELECT count(*) AS n,
       sum(coalesce(octet_length(content_text), 0) + coalesce(octet_length(content_html), 0)) AS raw,
       sum(coalesce(pg_column_size(content_text), 0) + coalesce(pg_column_size(content_html), 0)) AS stored
FROM (SELECT content_text, content_html FROM public.email_content LIMIT 100000) AS sample;
