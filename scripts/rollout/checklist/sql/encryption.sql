-- Clients' sessions by role: whether they are encrypted, and whether they come over the loopback interface or a Unix socket.
SELECT a.usename::text AS role,
       coalesce(s.ssl, false) AS ssl,
       a.client_addr IS NULL OR a.client_addr << inet '127.0.0.0/8' OR a.client_addr = inet '::1' AS loopback,
       count(*) AS sessions
FROM pg_stat_activity AS a
LEFT JOIN pg_stat_ssl AS s USING (pid)
WHERE a.backend_type IN ('client backend', 'walsender')
GROUP BY 1, 2, 3;
