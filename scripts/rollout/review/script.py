"""A change as one script for a reviewer: made on a real database in a transaction that is rolled back, then written out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

from rollout.engine import auditing, backfill, changes, ledger, renaming
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection
from rollout.engine.rewrite.making import Making
from rollout.engine.rewrite.shape import Shape
from rollout.engine.rewrite.statements import Statements
from rollout.engine.rewriting import TRIED_ROWS
from rollout.engine.security import rules
from rollout.environment import Database
from rollout.errors import BadInput, Failed
from rollout.review.parts import Part, of_files, of_rename, of_rewrite, of_security

LIMITS = (
    "SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '30s';"
    " SET LOCAL idle_in_transaction_session_timeout = '30s'"
)
WIDTH = 120
HEAD = """\
-- {change} ({kind}), as it would run on {host}; files {sha256}
-- {folder}: {summary}
-- The runner adds to each transaction: its fencing token, lock_timeout and statement_timeout from the stall budget, and what the
-- ledger keeps (stage, checkpoints, notes). It installs the ledger first: scripts/rollout/engine/ledger.sql.
-- NULL, '{{}}' and a LIMIT of 500 stand for keys and sizes that are found while it runs.
"""


def render(database: Database, change: Change) -> str:
    """Return every statement of a change as SQL with comments; nothing stays behind in the database.

    Raises BadInput or Refused for what cannot be made here, Failed when a statement of the change fails.
    """
    with ledger.connect(database, "rollout-render") as connection:
        parts = _parts(connection, change)
    head = HEAD.format(
        change=change.name, kind=change.declaration.kind, host=database.host, sha256=change.sha256[:12],
        folder=changes.short(change.folder), summary=" ".join(change.declaration.summary.split()),
    )  # fmt: skip
    return head + "\n".join(_written(parts))


def _parts(connection: Connection, change: Change) -> list[Part]:
    known = ledger.installed(connection)
    stage = ledger.stage(connection, change.name) if known else None
    if change.rewrites and stage == "contracted":
        raise BadInput(f"{change.name} is contracted here: nothing of it is left to run", next="invoke change.plan")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(LIMITS)
            if not known:
                connection.execute(ledger.DDL.read_bytes())
            _shared(connection, change, known=known)
            if change.secures:
                return list(of_security(rules.of(connection, change)))
            kind = _rewrite if change.rewrites else _rename if change.renames else _files
            return kind(connection, change)
    except psycopg.Error as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        first = f" (it requires {', '.join(change.requires)})" if change.requires else ""
        raise Failed(
            f"{change.name} cannot be made here{first}: {words[0]}", next="correct the change; nothing was changed"
        ) from error


def _shared(connection: Connection, change: Change, *, known: bool) -> None:
    """Run what the changes that this one requires include of sql/shared, unless they stand here: it is the rollout's own."""
    for path in dict.fromkeys(
        path
        for earlier in changes.required(change)
        if not (known and ledger.stage(connection, earlier.name))
        for path in earlier.included()
    ):
        connection.execute(path.read_bytes())


def _rewrite(connection: Connection, change: Change) -> list[Part]:
    stored = ledger.shape(connection, change.name)
    if stored is not None:
        statements = Statements(Shape.model_validate(stored))
        row = connection.execute("SELECT stage, run FROM rollout.changes WHERE change = %s", (change.name,)).fetchone()
        when = f" and is {row['stage']} by run {row['run']}" if row else ""
        note = f"The shadow {statements.shape.target} stands here already{when}; what made it is not kept."
        return [Part("make", note, []), *of_rewrite(change, statements)]
    making = Making(connection, change.name, change.declaration, change.sql("shadow"))
    statements = Statements(making.run())
    functions = statements.functions()
    tried = ["SAVEPOINT tried"]
    for side in statements.shape.sides:
        trial = statements.trial(side, TRIED_ROWS)
        tried += ["SET LOCAL search_path = pg_catalog, pg_temp", *trial, "ROLLBACK TO SAVEPOINT tried"]
    for statement in [*functions, *tried]:  # what does not compile, or cannot write, is better found here
        connection.execute(statement.encode())
    note = "The shadow, empty, and what will keep it in step. One transaction that no client waits for."
    return [Part("make", note, [*making.said, *functions, *tried], together=True), *of_rewrite(change, statements)]


def _rename(connection: Connection, change: Change) -> list[Part]:
    exchanged = renaming.exchanged(connection, change.name)
    return list(of_rename(change, renaming.tables(connection, change), exchanged))


def _files(connection: Connection, change: Change) -> list[Part]:
    work = backfill.work(connection, change) if change.declaration.backfill else None
    armed = {}
    if change.declaration.kind == "audit":
        armed = {found.relation: auditing.arm(one, found) for one, found in auditing.authorities(connection, change) if found}
    return list(of_files(change, work.careful if work else (), armed))


def _written(parts: list[Part]) -> Iterator[str]:
    stage = ""
    for part in parts:
        if not part.statements and part.stage != "make":
            continue
        if part.stage != stage:
            stage = part.stage
            yield f"\n-- {'=' * (WIDTH - 4 - len(stage))} {stage}"
        yield f"-- {part.note}"
        yield from _transactions(part)


def _transactions(part: Part) -> Iterator[str]:
    statements = [_ended(statement) for statement in part.statements]
    if part.together or part.mode:
        locks = [f"LOCK TABLE {relation} IN {part.mode} MODE;" for relation in part.relations]
        yield "\n".join(["BEGIN;", *locks, *statements, "COMMIT;\n"])
    elif statements:
        yield "\n".join(statements) + "\n"


def _ended(statement: str) -> str:
    """Return a statement, or a file of them, with a semicolon at its end."""
    text = statement.strip()
    code = re.sub(r"(\s*--[^\n]*)+\Z", "", text)
    if not code or code.endswith(";"):
        return text
    return f"{text};" if code == text else f"{text}\n;"
