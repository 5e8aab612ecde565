"""Rows from one database into a table of another, as one COPY stream in bounded memory."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql


def pipe(
    source: psycopg.Connection[Any], query: sql.Composable, target: psycopg.Connection[Any], table: sql.Composable
) -> int:
    """Copy what `query` returns on `source` into `table` on `target`; return the number of rows.

    Binary format, so the types of the columns must be the same on both sides: cast in the query.
    """
    with source.cursor() as reader, target.cursor() as writer:
        with (
            reader.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)) as rows,
            writer.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)) as into,
        ):
            for block in rows:
                into.write(block)
        return writer.rowcount
