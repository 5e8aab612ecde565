-- WAL segments that wait for the archiver.
SELECT count(*) AS files FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready';
