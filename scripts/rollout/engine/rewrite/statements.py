"""Every statement of a rewrite, stage by stage, from its shape."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.engine.rewrite import carry
from rollout.engine.rewrite.bulk import Bulk
from rollout.engine.rewrite.children import Children
from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.faces import AWAY, Faces
from rollout.engine.rewrite.syncs import Syncs
from rollout.engine.rewrite.triggers import SYNC, TRUNCATE, differ


@dataclass(frozen=True)
class Statements(Syncs, Bulk, Children, Faces):
    """The statements of one rewrite. Lists hold statements; chunked work takes %(after)s, %(limit)s and the like."""

    def authorities(self) -> list[str]:
        """Return the sources' names, in the order in which they are locked."""
        return [side.relation for side in self.shape.sides]

    def swap(self) -> list[str]:
        """Return the swap: disarm, move the old tables away, put views in their places, dress the target, turn the sync."""
        made = [*self.disarm(), *self.shape.swap_before]
        for side in self.shape.sides:
            made += self._move(side, side.relation, side.old)
            made += self._face(side)
        made += self.shape.swap
        made += self._sync(self.shape.target, self.shape.function("reverse_1"))
        if self.shape.merged:
            made += self._always(self.shape.target, "zz_rollout_place", "BEFORE INSERT", self.shape.function("place"))
        if self._filled():
            made += self._always(
                self.shape.target, "zz_rollout_fill", "BEFORE INSERT OR UPDATE", self.shape.function("fill")
            )
        if not self.shape.merged:
            made += self._always(
                self.shape.target, "zz_rollout_moved", "BEFORE UPDATE", self.shape.function("moved"),
                condition=f" WHEN ({differ(self.shape.sides[0].held_key)})",
            )  # fmt: skip
        if self.shape.one_row:
            made += self._always(
                self.shape.target, "rollout_once", "BEFORE INSERT OR UPDATE", self.shape.function("once")
            )
        made += self._no_truncate([self.shape.target, *self.shape.partitions])
        for number, child in enumerate(self._held_children()):
            made += [
                self._child(number, child),
                (
                    f"CREATE TRIGGER {self._child_trigger(number)} BEFORE INSERT OR UPDATE ON {child['table']}"
                    f" FOR EACH ROW EXECUTE FUNCTION {self.shape.function(f'child_{number}')}()"
                ),
            ]
        return made

    def revert(self) -> list[str]:
        """Return the swap, the other way."""
        made = [*self._undress(), *self.shape.revert_before]
        for side in self.shape.sides:
            made += [
                f"ALTER VIEW {side.relation} RENAME TO {AWAY}_{side.bit}",
                *self._move(side, side.old, side.relation),
            ]
        made += self.shape.revert
        made += [statement for side in self.shape.sides for statement in self._away(side)]
        return [*made, *self.arm()]

    def contract(self) -> list[str]:
        """Return what drops the old tables and brings the target home."""
        shape = self.shape
        made = self._undress()
        for child in shape.children:
            made.append(f"ALTER TABLE {child['table']} DROP CONSTRAINT IF EXISTS {ident(child['name'])}")
            if not child["leave"]:
                made.append(
                    f"ALTER TABLE {child['table']} RENAME CONSTRAINT {self._interim(child)} TO {ident(child['name'])}"
                )
                if child.get("comment"):
                    made.append(
                        f"COMMENT ON CONSTRAINT {ident(child['name'])} ON {child['table']} IS {carry.literal(child['comment'])}"
                    )
        made += shape.left
        for side in shape.sides:
            made += [f"ALTER VIEW {side.relation} RENAME TO {AWAY}_{side.bit}", f"DROP TABLE {side.old}"]
        made += [f"ALTER TABLE {t} SET SCHEMA {ident(shape.schema_)}" for t in [shape.target, *shape.partitions]]
        made += shape.contract
        made += [statement for side in shape.sides for statement in self._away(side)]
        return [*made, *shape.hidden, *self.drop_functions()]

    def discard(self) -> list[str]:
        """Return what takes sync and shadow away."""
        return [*self.disarm(), *self.shape.discard, f"DROP TABLE IF EXISTS {self.shape.target}", *self.drop_functions()]

    def drop_functions(self) -> list[str]:
        """Return what drops the change's functions."""
        kinds = ["fill", "moved", "once", "place", *(f"child_{n}" for n in range(len(self._held_children())))]
        kinds += [
            f"{kind}_{side.bit}"
            for side in self.shape.sides
            for kind in ("forward", "reverse", "note", "hold", "delete")
        ]
        types = ", ".join(self._type(k) for k in self.shape.key)
        return [
            *(f"DROP FUNCTION IF EXISTS {self.shape.function(kind)}()" for kind in kinds),
            f"DROP FUNCTION IF EXISTS {self.shape.function('merge')}({types})",
        ]

    def foreign_keys(self) -> list[str]:
        """Return what gives the shadow its foreign keys out, deferred and not valid; a partitioned one its partitions first."""
        return [
            f"ALTER TABLE {table} ADD CONSTRAINT {ident(name)} {definition} NOT VALID"
            for table in self._leaves()
            for name, definition in self.shape.foreign_keys.items()
        ]

    def validate(self) -> list[str]:
        """Return what validates them."""
        return [
            f"ALTER TABLE {table} VALIDATE CONSTRAINT {ident(name)}"
            for table in self._leaves()
            for name in self.shape.foreign_keys
        ]

    def adopt(self) -> list[str]:
        """Return what gives a partitioned shadow the foreign keys that its partitions have: nothing is read for that."""
        if not self.shape.partitioned:
            return []
        return [
            f"ALTER TABLE {self.shape.target} ADD CONSTRAINT {ident(name)} {definition}"
            for name, definition in self.shape.foreign_keys.items()
        ]

    def _leaves(self) -> list[str]:
        return self.shape.leaves if self.shape.partitioned else [self.shape.target]

    def _undress(self) -> list[str]:
        """Return what disarms the sync from new to old."""
        target = self.shape.target
        made = [
            f"DROP TRIGGER IF EXISTS {name} ON {target}"
            for name in (SYNC, "rollout_once", "zz_rollout_fill", "zz_rollout_moved", "zz_rollout_place")
        ]
        made += [f"DROP TRIGGER IF EXISTS {TRUNCATE} ON {t}" for t in [target, *self.shape.partitions]]
        for number, child in enumerate(self._held_children()):
            made.append(f"DROP TRIGGER IF EXISTS {self._child_trigger(number)} ON {child['table']}")
        return made
