"""Views on a table: bound to a relation and not to its name, they would write to the shadow once it has become one."""

from __future__ import annotations

from psycopg import errors

from rollout.engine.ledger import Connection
from rollout.engine.rewrite import carry, resolve
from rollout.engine.rewrite.description import Description, ident
from rollout.engine.rewrite.exchanged import Exchange, Say
from rollout.engine.rewrite.shape import Side, versioned

PROBE = "rollout_probe"


def unfit(connection: Connection, table: Description) -> dict[str, str]:
    """Return the views that cannot stand on a view in their table's place, and what Postgres says of it.

    A view of the old name takes that place, and not everything that may be said of a table may be said of a view: GROUP BY a
    primary key for all columns, system columns, TABLESAMPLE. Asked where nobody sees it, in the schema of the shadow.
    """
    wrong = {}
    schema = ident(versioned(table.schema_, "v2"))
    face = f"{schema}.{PROBE}"
    for d in [d for d in table.dependents if d["kind"] == "view"]:
        definition = table.rebound(d["definition"].rstrip(";"), face)
        with connection.transaction(force_rollback=True):
            columns = carry.names(c.name for c in table.columns)
            connection.execute(f"CREATE VIEW {face} AS SELECT {columns} FROM {table.relation}".encode())
            try:
                with connection.transaction():
                    connection.execute(f"CREATE VIEW {schema}.{PROBE}_2 AS {definition}".encode())
            except errors.Error as error:
                wrong[d["name"]] = error.diag.message_primary or str(error)
    return wrong


def exchange(
    table: Description, side: Side, target: str, merged: bool, leave: set[str], stay: set[str], made: Exchange, say: Say
) -> None:
    """Define views anew, word for word, over whoever has the name.

    One that runs with its owner's rights reads the new table through a view that does so too: the old name's view asks for
    the rights of whoever calls. One in `leave` goes with the old columns at contract, and is written through until then. One
    in `stay` nobody can write through: it goes on reading the old table, which is in step.
    """
    carried = [d for d in table.dependents if d["kind"] == "view" and d["name"] not in stay]
    schema = f"{versioned(table.schema_, 'v1')}_face"
    face = f"{ident(schema)}.{ident(table.name)}"
    definers = any(d["definer"] for d in carried) or bool(table.partitions and not merged)
    if definers:
        say(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")
        mine = f" WHERE {resolve.ORIGIN} & {side.bit} <> 0" if merged else ""
        columns = ", ".join(f"{given} AS {ident(name)}" for name, given in side.face.items())
        made.swap += [
            f"CREATE VIEW {face} AS SELECT {columns} FROM {target}{mine}",
            *(g.replace(f" ON {table.relation} ", f" ON {face} ", 1) for g in side.grants),
        ]
    for d in carried:
        options = f" WITH ({d['options']})" if d["options"] else ""
        anew = f"CREATE OR REPLACE VIEW {d['name']}{options} AS "
        definition = d["definition"].rstrip(";")
        made.swap.append(anew + (table.rebound(definition, face) if d["definer"] else definition))
        made.revert.append(anew + definition)
        if d["name"] not in leave:
            made.contract.append(anew + definition)
    _partitions(table, side, face, merged, made)
    if definers:
        made.revert.append(f"DROP VIEW {face}")
        made.contract.append(f"DROP VIEW {face}")
    for d in [d for d in table.dependents if d["kind"] in ("view", "materialised view") and d["name"] in leave]:
        kind = "VIEW" if d["kind"] == "view" else "MATERIALIZED VIEW"
        made.left.append(f"DROP {kind} {d['name']}")


def _partitions(table: Description, side: Side, face: str, merged: bool, made: Exchange) -> None:
    """Keep the names of the old partitions: views of the rows within their bounds, which take no other row, until contract.

    Whoever may use a partition need not have rights on the whole table, nor is bound by its policies: so the view has its
    owner's. (Of several sources only the outer view knows whose a new row is, and that one asks for the caller's rights.)
    """
    for p in table.partitions:
        name = f"{ident(p['schema'])}.{ident(p['name'])}"
        options = "security_invoker = true, check_option = local" if merged else "check_option = local"
        made.swap += [
            (
                f"CREATE VIEW {name} WITH ({options}) AS SELECT {carry.names(p['columns'])}"
                f" FROM {side.relation if merged else face} WHERE {p['bounds'] or 'true'}"
            ),
            *carry.grants([g for g in p["grants"] if g["privilege"] != "MAINTAIN"], name),
        ]
        # Before the partitions themselves come back, or home, under these names.
        made.revert_before.append(f"DROP VIEW {name}")
        made.left.append(f"DROP VIEW {name}")
