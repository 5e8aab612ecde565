-- One number that also tells `5, not yet given` from `5, given`.
SELECT {name} AS name, 2 * last_value::numeric + CASE WHEN is_called THEN sign({increment}) ELSE 0 END AS value FROM {sequence}
