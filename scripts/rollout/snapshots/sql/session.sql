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
    ('idle_in_transaction_session_timeout', '0'),
    -- A digest of a large table ends soon when the runner was killed; only there can a server ask its kernel for that.
    ('client_connection_check_interval', CASE WHEN version() LIKE '%linux%' THEN '5s' ELSE '0' END)
) AS wanted (name, value);
