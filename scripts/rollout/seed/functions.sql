-- Session functions of the seeder. Every id and every choice is a formula of (seed, kind, number), so each database can
-- name the rows of another one without asking it. Kept in pg_temp: they are gone with the session.

create or replace function pg_temp.id(kind text, n bigint) returns uuid
immutable language sql return md5({seed}::text || ':' || kind || ':' || n::text)::uuid;

-- A number from 0 to m - 1. The salt keeps the columns of one row independent of each other.
create or replace function pg_temp.pick(salt bigint, n bigint, m bigint) returns bigint
immutable language sql return mod(hashint8extended(n, {seed}::bigint * 1000 + salt) & 9223372036854775807, m);

-- A tenant's number; the first tenants are picked more often, as large customers are.
create or replace function pg_temp.tenant_of(salt bigint, n bigint) returns bigint
immutable language sql return floor({tenants} * power(pg_temp.pick(salt, n, 1000000) / 1000000.0::float8, 1.6))::bigint;

-- An instant in the three years before 2026-11-01; fixed, because now() would make every run another state.
create or replace function pg_temp.at(salt bigint, n bigint) returns timestamptz
stable language sql return timestamptz '2023-11-01 00:00:00+00' + make_interval(secs => pg_temp.pick(salt, n, 94694400));

-- The children of tenant t are the numbers t, t + tenants, t + 2 * tenants: one of the first `each`.
create or replace function pg_temp.child_of(t bigint, each bigint, salt bigint, n bigint) returns bigint
immutable language sql return t + {tenants} * pg_temp.pick(salt, n, each);

create or replace function pg_temp.account_email(n bigint) returns text
immutable language sql return 'sender' || n::text || '@mail' || mod(n, 2 * {tenants})::text || '.example';

create or replace function pg_temp.lead_email(n bigint) returns text
immutable language sql return 'lead' || n::text || '@leads.example';

create or replace function pg_temp.campaign_status(n bigint) returns text
immutable language sql
return (array['completed', 'completed', 'completed', 'sending', 'sending', 'scheduled', 'paused', 'draft'])[1 + pg_temp.pick(10, n, 8)];

-- Messages n, n + threads, n + 2 * threads ... are one thread of one tenant.
create or replace function pg_temp.thread_tenant(n bigint) returns bigint
immutable language sql return pg_temp.tenant_of(20, mod(n, {threads}));

create or replace function pg_temp.storage_key(n bigint) returns text
immutable language sql
return 'mail/' || pg_temp.id('tenant', pg_temp.thread_tenant(n))::text || '/' || pg_temp.id('message', n)::text;
