-- Whether a column may be empty.
SELECT NOT a.attnotnull AS nullable FROM pg_attribute AS a WHERE a.attrelid = %(relation)s::regclass AND a.attname = %(column)s;
