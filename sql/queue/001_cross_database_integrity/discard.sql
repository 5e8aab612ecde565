-- queue, discard: the comments are as found again; findings are kept, they are facts about the data.
SELECT rollout.document_reference(d.objoid::regclass, a.attname, '{}')
FROM pg_description AS d
JOIN pg_attribute AS a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
WHERE d.classoid = 'pg_class'::regclass AND d.objsubid > 0
    AND d.description ~ '(^|\n)references oltp\.[^\n]*; validated by rollout\.references(\n|$)';
