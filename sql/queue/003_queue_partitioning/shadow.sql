-- The seed's indexes, on every partition; the ones as found are carried.
CREATE INDEX idx_jobs_tenant ON v2.jobs (tenant_id, created_at DESC);
CREATE INDEX idx_jobs_priority ON v2.jobs (priority DESC, created_at);
COMMENT ON COLUMN v2.jobs.tenant_id IS 'from payload->>''tenant_id'' when a writer gives none; null when that is no uuid';
