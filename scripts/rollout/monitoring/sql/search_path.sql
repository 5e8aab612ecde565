-- For the rest of the transaction: names of the product's, what a change has not brought home yet, and wherever the extension is.
SELECT set_config('search_path', 'pg_catalog, public, v2' || coalesce((
    SELECT ', ' || quote_ident(n.nspname) FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
), ''), true);
