-- What a restore may have left wrong without a word: each row is a sentence. Constraints are compared with their NOT VALID.
SELECT format('index %s is not valid', i.indexrelid::regclass)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relkind = 'i'
