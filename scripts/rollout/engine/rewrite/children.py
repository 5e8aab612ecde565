"""The foreign keys of other tables that point at a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout.engine.rewrite import carry
from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.shape import function_name
from rollout.engine.rewrite.templates import render
from rollout.engine.rewrite.triggers import Triggers


@dataclass(frozen=True)
class Children(Triggers):
    """They stay on the old table until contract, and get successors on the target then."""

    def children(self, *, every: bool = False) -> list[str]:
        """Return the tables whose foreign keys point at a source: those that get a trigger at the swap, or every one."""
        return list(dict.fromkeys(c["table"] for c in (self.shape.children if every else self._held_children())))

    def rebind_children(self) -> list[tuple[str, str, str]]:
        """Return for each foreign key of others its table, its successor (NOT VALID), and what validates that, if it was."""
        made = []
        for child in self.shape.children:
            if child["leave"]:
                continue
            found = carry.FOREIGN_KEY.match(child["definition"].replace(" NOT VALID", ""))
            assert found
            made.append((
                str(child["table"]),
                (f"ALTER TABLE {child['table']} ADD CONSTRAINT {self._interim(child)} FOREIGN KEY"
                f" ({', '.join(ident(c) for c in child['columns'])}) REFERENCES {self.shape.target}"
                f" ({', '.join(ident(c) for c in child['holds'])}){found['rest']} NOT VALID"),
                f"ALTER TABLE {child['table']} VALIDATE CONSTRAINT {self._interim(child)}" if child["validated"] else "",
            ))  # fmt: skip
        return made

    def _held_children(self) -> list[dict[str, Any]]:
        return [c for c in self.shape.children if c["holds"]]

    def _child_trigger(self, number: int) -> str:
        return ident(function_name(f"rollout_{self.shape.change}", f"child_{number}"))

    def _interim(self, child: dict[str, Any]) -> str:
        return ident(function_name(f"{child['name']}", "rollout"))

    def _child(self, number: int, child: dict[str, Any]) -> str:
        """Whoever deletes a row locks the authority's first, then the old table's: a row that points at it does the same."""
        where = " AND ".join(
            f"t.{ident(held)} = NEW.{ident(own)}" for held, own in zip(child["holds"], child["columns"], strict=True)
        )
        return render(
            "child.sql.j2", function=self.shape.function(f"child_{number}"), target=self.shape.target, where=where
        )
