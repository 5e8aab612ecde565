-- What pg_dump does not tell of a schema (its quoted name is the argument), one line each.
SELECT format('index %%s valid %%s ready %%s', indexrelid::regclass, indisvalid, indisready)
FROM pg_index JOIN pg_class AS c ON c.oid = indrelid WHERE relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT format('%%s %%s populated %%s persistence %%s', relkind, oid::regclass, relispopulated, relpersistence)
FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT format('%%s inherits %%s', inhrelid::regclass, inhparent::regclass)
FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid WHERE relnamespace = %(schema)s::regnamespace
