-- Two servers print the same value alike only under the same settings; names are qualified by an empty search_path.
SELECT set_config(name, value, false)
FROM (VALUES
    ('search_path', ''),
    ('TimeZone', 'UTC'),
    ('DateStyle', 'ISO, YMD'),
    ('IntervalStyle', 'postgres'),
    ('extra_float_digits', '3'),
    ('bytea_output', 'hex'),
    ('xmlbinary', 'base64'),
    ('lc_monetary', 'C'),
    ('row_security', 'off'),
    ('lock_timeout', '5s'),
    ('statement_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0')
) AS wanted (name, value);
