-- Publications that a new table joins by itself, and that publish what needs a replica identity.
SELECT format('publication %I is FOR ALL TABLES: it makes every UPDATE and DELETE of a new table without replica identity'
              ' fail; publish tables by name', pubname) AS observed
FROM pg_publication
WHERE puballtables AND (pubupdate OR pubdelete)
ORDER BY 1;
