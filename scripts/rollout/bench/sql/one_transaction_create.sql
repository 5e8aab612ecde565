-- As the seed sketches it; the grants are what it forgets, without which every statement would fail afterwards.
CREATE TABLE orders_new (LIKE orders INCLUDING ALL);
GRANT SELECT, INSERT, UPDATE, DELETE ON orders_new TO bench_client;
