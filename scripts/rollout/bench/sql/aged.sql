-- A table that has lived: every tenth row was written again and stands elsewhere now.
UPDATE orders SET status = 'returned', updated_at = now() WHERE id % 10 = 3;
