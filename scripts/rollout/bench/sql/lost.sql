-- Of what clients were promised (`promised`: the last acknowledged revision of each key, NULL when it was deleted), what is not so.
SELECT count(*) FROM promised AS p LEFT JOIN orders AS o USING (id) WHERE o.revision IS DISTINCT FROM p.revision;
