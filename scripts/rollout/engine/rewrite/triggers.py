"""The triggers of a rewrite, armed and disarmed, and what every part of its statements knows of the shape."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.shape import Shape

SYNC = '"0_rollout_sync"'  # sorts before RI triggers and users' own: later triggers of a statement find it done
TRUNCATE = "rollout_no_truncate"


@dataclass(frozen=True)
class Triggers:
    """Names and triggers of one rewrite."""

    shape: Shape

    def arm(self) -> list[str]:
        """Return what arms the sync from old to new."""
        made = []
        for side in self.shape.sides:
            made += self._sync(side.relation, self.shape.function(f"forward_{side.bit}"))
            made += self._no_truncate([side.relation, *self.shape.old_partitions[side.relation]])
            if side.moving:
                made += self._always(
                    side.relation, "rollout_moving", "BEFORE UPDATE", self.shape.function(f"hold_{side.bit}")
                )
        return made

    def disarm(self) -> list[str]:
        """Return what disarms it."""
        made = []
        for side in self.shape.sides:
            made.append(f"DROP TRIGGER IF EXISTS {SYNC} ON {side.relation}")
            made.append(f"DROP TRIGGER IF EXISTS rollout_moving ON {side.relation}")
            made += [
                f"DROP TRIGGER IF EXISTS {TRUNCATE} ON {t}"
                for t in [side.relation, *self.shape.old_partitions[side.relation]]
            ]
        return made

    def note(self, *, armed: bool) -> list[str]:
        """Return what arms, or disarms, the notes of keys written on the sources."""
        made = []
        for side in self.shape.sides:
            if armed:
                made += self._always(
                    side.relation,
                    "zz_rollout_note",
                    "AFTER INSERT OR UPDATE OR DELETE",
                    self.shape.function(f"note_{side.bit}"),
                )
            else:
                made.append(f"DROP TRIGGER IF EXISTS zz_rollout_note ON {side.relation}")
        return made

    def _sync(self, relation: str, function: str) -> list[str]:
        return self._always(relation, SYNC, "AFTER INSERT OR UPDATE OR DELETE", function)

    def _always(
        self, relation: str, name: str, when: str, function: str, *, each: str = "ROW", condition: str = ""
    ) -> list[str]:
        """Return a trigger that fires for writers with session_replication_role = replica too; `condition`: its WHEN."""
        return [
            f"CREATE OR REPLACE TRIGGER {name} {when} ON {relation} FOR EACH {each}{condition} EXECUTE FUNCTION {function}()",
            f"ALTER TABLE {relation} ENABLE ALWAYS TRIGGER {name}",
        ]

    def _no_truncate(self, relations: list[str]) -> list[str]:
        made = []
        for relation in relations:
            create, always = self._always(
                relation, TRUNCATE, "BEFORE TRUNCATE", "rollout.refuse_truncate", each="STATEMENT"
            )
            made += [create, always.replace("ALTER TABLE ", "ALTER TABLE ONLY ", 1)]
        return made

    def _filled(self) -> bool:
        return any(side.filled or side.unfilled for side in self.shape.sides)

    def _arbiter(self) -> str:
        return f" ({', '.join(ident(k) for k in self.shape.key)})" if self.shape.deferrable else ""

    def _type(self, column: str) -> str:
        return next(c.type for c in self.shape.columns if c.name == column)


def differ(columns: list[str]) -> str:
    """Return the condition under which a row's columns are other values, bit for bit."""
    new, old = (", ".join(f"{r}.{ident(c)}" for c in columns) for r in ("NEW", "OLD"))
    # Not IS DISTINCT FROM: 1.0 and 1.00, or two spellings that a collation calls one, are equal and not the same. The function
    # and not its operator *<>: a dump prints that without its casts, and such a trigger cannot be restored from it.
    return f"pg_catalog.record_image_ne(ROW({new}), ROW({old}))"
