"""Views on a table: bound to a relation and not to its name, they would write to the shadow once it has become one."""

from __future__ import annotations

from psycopg import errors

from rollout.engine.ledger import Connection
from rollout.engine.rewrite import carry, resolve
from rollout.engine.rewrite.description import Description, ident
from rollout.engine.rewrite.exchanged import Exchange, Say
from rollout.engine.rewrite.shape import Side, versioned

# What ALTER DEFAULT PRIVILEGES gives to a new view, its partition may not have had.
BARE = """DO $$DECLARE given record; BEGIN
    FOR given IN SELECT DISTINCT
            c.oid::regclass AS name, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS who
        FROM pg_class AS c, aclexplode(c.relacl) AS g WHERE c.oid IN ({}) AND g.grantee <> c.relowner
    LOOP EXECUTE format('REVOKE ALL ON %s FROM %s', given.name, given.who); END LOOP; END$$"""


def unfit(connection: Connection, table: Description) -> dict[str, str]:
    """Return the views that read what only a table has, and how Postgres says so: from the swap on the name is a view.

    It is asked, and nothing is made.
    """
    columns = ", ".join(ident(c.name) for c in table.columns)
    wrong = {}
    for d in [d for d in table.dependents if d["kind"] == "view"]:
        asked = table.rebound(d["definition"].rstrip(";"), ident(table.name))
        face = f"WITH {ident(table.name)} AS (SELECT {columns} FROM {table.relation})"
        try:
            with connection.transaction():
                connection.execute(f"EXPLAIN {face} SELECT FROM ({asked}) AS view".encode())
        except (errors.GroupingError, errors.UndefinedColumn, errors.FeatureNotSupported) as error:
            reason = str(error).splitlines()[0]
            if not isinstance(error, errors.FeatureNotSupported) or "TABLESAMPLE" in reason:
                wrong[d["name"]] = f"reads it as only a table can be read ({reason})"
        except errors.Error:
            continue  # this way of asking knows no FOR UPDATE, say
    return wrong


def strangers(table: Description) -> dict[str, str]:
    """Return the views that read with the rights of somebody whom the table's row security binds, and its owner's not."""
    return {
        d["name"]: f"runs with the rights of {d['owner']}, who does not own the table, and the table has row security"
        for d in table.dependents
        if d["kind"] == "view" and d["definer"] and d["owner"] != table.owner and table.row_security
    }


def apart(connection: Connection, table: Description) -> dict[str, str]:
    """Return the views that cannot read a view in the table's place as they read the table, and why."""
    return strangers(table) | unfit(connection, table)


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
    names = [f"{ident(p['schema'])}.{ident(p['name'])}" for p in table.partitions]
    options = "security_invoker = true, check_option = local" if merged else "check_option = local"
    made.swap += [
        f"CREATE VIEW {name} WITH ({options}) AS SELECT {carry.names(p['columns'])}"
        f" FROM {side.relation if merged else face} WHERE {p['bounds'] or 'true'}"
        for name, p in zip(names, table.partitions, strict=True)
    ]
    made.swap += [BARE.format(", ".join(f"{carry.literal(name)}::regclass" for name in names))] if names else []
    for name, p in zip(names, table.partitions, strict=True):
        made.swap += carry.grants([g for g in p["grants"] if g["privilege"] != "MAINTAIN"], name)
    # Before the partitions themselves come back, or home, under these names.
    made.revert_before += [f"DROP VIEW {name}" for name in names]
    made.left += [f"DROP VIEW {name}" for name in names]
