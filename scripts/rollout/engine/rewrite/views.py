"""Views on a table: bound to a relation and not to its name, they would write to the shadow once it has become one."""

from __future__ import annotations

from typing import Any

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
    ahead = bool(table.partitions) and not merged
    definers = any(d["definer"] for d in carried) or ahead
    if definers:
        say(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")
        mine = f" WHERE {resolve.ORIGIN} & {side.bit} <> 0" if merged else ""
        columns = ", ".join(f"{given} AS {ident(name)}" for name, given in side.face.items())
        create = f"CREATE VIEW {face} AS SELECT {columns} FROM {target}{mine}"
        if ahead:
            say(create)
        else:
            made.swap.append(create)
        made.swap += [g.replace(f" ON {table.relation} ", f" ON {face} ", 1) for g in side.grants]
    for d in carried:
        options = f" WITH ({d['options']})" if d["options"] else ""
        anew = f"CREATE OR REPLACE VIEW {d['name']}{options} AS "
        definition = d["definition"].rstrip(";")
        made.swap.append(anew + (table.rebound(definition, face) if d["definer"] else definition))
        made.revert.append(anew + definition)
        if d["name"] not in leave:
            made.contract.append(anew + definition)
    if ahead:
        _partitions(table, face, ident(schema), made, say)
    elif table.partitions:
        _partitions_of_several(table, side, made)
    if definers:
        made.contract.append(f"DROP VIEW {face}")
        (made.discard if ahead else made.revert).append(f"DROP VIEW {face}")
    for d in [d for d in table.dependents if d["kind"] in ("view", "materialised view") and d["name"] in leave]:
        kind = "VIEW" if d["kind"] == "view" else "MATERIALIZED VIEW"
        made.left.append(f"DROP {kind} {d['name']}")


def _partitions(table: Description, face: str, schema: str, made: Exchange, say: Say) -> None:
    """Keep the names of the old partitions: views of the rows within their bounds, which take no other row, until contract.

    Whoever may use a partition need not have rights on the whole table, nor is bound by its policies: so the view has its
    owner's. They are made beforehand, where nobody may look, and only moved at the swap: of many that takes long.
    """
    waiting = [f"{schema}.{ident(p['name'])}" for p in table.partitions]
    for name, p in zip(waiting, table.partitions, strict=True):
        say(_bounded(name, p, face, "check_option = local"))
    say(BARE.format(", ".join(f"{carry.literal(name)}::regclass" for name in waiting)))
    for name, p in zip(waiting, table.partitions, strict=True):
        own = ident(p["schema"])
        made.swap += [f"ALTER VIEW {name} SET SCHEMA {own}", *_granted(p)]
        # Before the partitions themselves come back, or home, under these names.
        made.revert_before.append(f"ALTER VIEW {own}.{ident(p['name'])} SET SCHEMA {schema}")
        made.left.append(f"DROP VIEW {own}.{ident(p['name'])}")
        made.discard.append(f"DROP VIEW {name}")


def _partitions_of_several(table: Description, side: Side, made: Exchange) -> None:
    """Do the same where there are several sources: only their outer views, made at the swap, know whose a new row is.

    Those ask for the rights of whoever calls.
    """
    names = [f"{ident(p['schema'])}.{ident(p['name'])}" for p in table.partitions]
    options = "security_invoker = true, check_option = local"
    made.swap += [_bounded(n, p, side.relation, options) for n, p in zip(names, table.partitions, strict=True)]
    made.swap += [grant for p in table.partitions for grant in _granted(p)]
    made.revert_before += [f"DROP VIEW {name}" for name in names]
    made.left += [f"DROP VIEW {name}" for name in names]


def _bounded(name: str, partition: dict[str, Any], of: str, options: str) -> str:
    columns, bounds = carry.names(partition["columns"]), partition["bounds"] or "true"
    return f"CREATE VIEW {name} WITH ({options}) AS SELECT {columns} FROM {of} WHERE {bounds}"


def _granted(partition: dict[str, Any]) -> list[str]:
    grants = [g for g in partition["grants"] if g["privilege"] != "MAINTAIN"]
    return carry.grants(grants, f"{ident(partition['schema'])}.{ident(partition['name'])}")
