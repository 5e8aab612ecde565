"""Chunks and ranges of a rewrite: copied, compared, taken again."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.engine.rewrite import carry
from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.resolve import ORIGIN
from rollout.engine.rewrite.shape import Side
from rollout.engine.rewrite.templates import render_bound
from rollout.engine.rewrite.triggers import Triggers


@dataclass(frozen=True)
class Bulk(Triggers):
    """Statements that take %(after)s, %(limit)s and the like."""

    def copy(self, side: Side, *, after: bool, quick: bool = False, bounded: bool = False) -> str:
        """Return one chunk of a source's copy; `quick`: without looking at the unique keys for each row, see chunks.Work.

        `bounded`: of a lane with an end, %(until)s.
        """
        return render_bound(
            "copy.sql.j2", shape=self.shape, side=side, after=after, quick=quick, bounded=bounded,
            types=[side.key_type(k) for k in side.key], arbiter=self._arbiter(),
        )  # fmt: skip

    def trial(self, side: Side, rows: int) -> list[str]:
        """Return what writes some rows of a source into the empty shadow, and finds rows on both sides, as its sync would."""
        columns, given = [ident(c) for c in side.forward], list(side.forward.values())
        if self.shape.merged:
            columns, given = [*columns, ORIGIN], [*given, str(side.bit)]
        keys = ((side.relation, carry.names(side.key)), (self.shape.target, carry.names(self.shape.key)))
        some = f"(SELECT * FROM {side.relation} LIMIT {rows}) AS s"
        into = f"INSERT INTO {self.shape.target} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE"
        finds = [f"EXPLAIN SELECT FROM {of} AS a JOIN {of} AS b USING ({key})" for of, key in keys]
        return [*finds, f"{into} SELECT {', '.join(given)} FROM {some}"]

    def compare(self, side: Side, what: str, *, reverse: bool, after: bool = False, until: bool = False) -> str:
        """Return a comparison: `what` is bound, digest, range or given; `reverse` when the target is the authority."""
        shape = self.shape
        types, held_types = [side.key_type(k) for k in side.key], [self._type(k) for k in side.held_key]
        mapping = side.back if reverse else side.forward
        columns = side.columns if reverse else shape.columns
        old = side.old if reverse else side.relation
        return render_bound(
            "compare.sql.j2", shape=shape, side=side, what=what, reverse=reverse, after=after, until=until,
            mapping=mapping, columns=[c for c in columns if c.name in mapping],
            authority=shape.target if reverse else old, shadow=old if reverse else shape.target,
            key=side.held_key if reverse else side.key, types=held_types if reverse else types,
            shadow_key=side.key if reverse else side.held_key, shadow_types=held_types if reverse else types,
            earlier=[s for s in shape.sides if s.bit < side.bit],
        )  # fmt: skip

    def resync(self, side: Side) -> list[str]:
        """Return what makes the shadow's rows of given keys say again what the authority says: lock, delete, insert."""
        types = [self._type(k) for k in side.held_key]
        return [
            render_bound("resync.sql.j2", shape=self.shape, side=side, what=what, types=types)
            for what in ("lock", "delete", "insert")
        ]
