"""The old names: the views that take them, and where the old tables are meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.resolve import ORIGIN
from rollout.engine.rewrite.shape import Side, function_name
from rollout.engine.rewrite.triggers import Triggers

AWAY = "rollout_away"


@dataclass(frozen=True)
class Faces(Triggers):
    """What old clients see of the target."""

    def _face(self, side: Side) -> list[str]:
        """Return the view that has an old table's name and columns.

        Of several sources each gets two, nested: the inner one carries `origin` with its default, which tells whose row it is,
        the outer one has the old columns only (decision 0002).
        """
        columns = ", ".join(f"{given} AS {ident(name)}" for name, given in side.face.items())
        view = "CREATE VIEW {} WITH (security_invoker = true) AS SELECT {} FROM {}"
        if not self.shape.merged:
            return [view.format(side.relation, columns, self.shape.target), *side.grants]
        inner, mine = self._inner(side), f"{self.shape.target} WHERE {ORIGIN} & {side.bit} <> 0"
        return [
            view.format(inner, f"{columns}, {ORIGIN}", mine),
            f"ALTER VIEW {inner} ALTER COLUMN {ORIGIN} SET DEFAULT {side.bit}",
            *(g.replace(f" ON {side.relation} ", f" ON {inner} ", 1) for g in side.grants),
            view.format(side.relation, ", ".join(ident(c) for c in side.face), inner),
            *side.grants,
            (
                f"CREATE TRIGGER rollout_delete INSTEAD OF DELETE ON {side.relation} FOR EACH ROW"
                f" EXECUTE FUNCTION {self.shape.function(f'delete_{side.bit}')}()"
            ),
        ]

    def _inner(self, side: Side) -> str:
        return f"{ident(self.shape.new_schema)}.{ident(function_name('blue', side.name))}"

    def _away(self, side: Side) -> list[str]:
        """Return what drops the views of an old name, once nothing is bound to them."""
        made = [f"DROP VIEW {ident(side.schema_)}.{AWAY}_{side.bit}"]
        return [*made, f"DROP VIEW {self._inner(side)}"] if self.shape.merged else made

    def _move(self, side: Side, of: str, to: str) -> list[str]:
        schema = _schema_of(to, side.name)
        partitions = self.shape.old_partitions[side.relation]
        if of == side.old:
            partitions = [f"{_schema_of(side.old, side.name)}.{p.split('.', 1)[1]}" for p in partitions]
        return [f"ALTER TABLE {t} SET SCHEMA {schema}" for t in [of, *partitions]]


def _schema_of(qualified: str, name: str) -> str:
    return qualified[: -len(ident(name)) - 1]
