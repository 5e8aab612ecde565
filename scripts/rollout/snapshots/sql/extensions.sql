-- `needed`: something that is not itself part of the extension depends on one of its members.
SELECT
    e.extname AS name,
    e.extversion AS version,
    EXISTS (
        SELECT FROM pg_catalog.pg_depend AS member
        JOIN pg_catalog.pg_depend AS user_of
          ON user_of.refclassid = member.classid AND user_of.refobjid = member.objid AND user_of.deptype IN ('n', 'a')
        WHERE member.refclassid = 'pg_catalog.pg_extension'::regclass AND member.refobjid = e.oid AND member.deptype = 'e'
          AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_depend AS own
              WHERE own.classid = user_of.classid AND own.objid = user_of.objid AND own.deptype IN ('e', 'i'))
    ) AS needed
FROM pg_catalog.pg_extension AS e
ORDER BY 1;
