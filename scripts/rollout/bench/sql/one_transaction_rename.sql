ALTER TABLE orders_new RENAME TO orders;
-- The copy's sequence starts at 1: it goes on where the old one stood, or the next insert would fail.
SELECT setval(
    pg_get_serial_sequence('orders', 'id'),
    nextval(pg_get_serial_sequence('orders_old', 'id'))
);
