"""The functions of a rewrite's syncs, both ways."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.shape import Side
from rollout.engine.rewrite.templates import render
from rollout.engine.rewrite.triggers import Triggers, differ

ATTEMPTS = 10


@dataclass(frozen=True)
class Syncs(Triggers):
    """What writes to the shadow whatever is written to the authority."""

    def functions(self) -> list[str]:
        """Return the functions of both syncs and of what else fires."""
        shape = self.shape
        if shape.merged:
            made = [render("merge.sql.j2", shape=shape, key_types=[self._type(k) for k in shape.key])]
        else:
            made = [self._forward(shape.sides[0]), self._reverse(shape.sides[0])]
        made.append(render("helpers.sql.j2", shape=self.shape, filled=self._filled()))
        return made

    def _forward(self, side: Side) -> str:
        columns = [c.name for c in side.columns]
        keys = {k: side.forward[k] for k in self.shape.key}
        if side.moving:
            rows = [", ".join(f"{r}.{ident(c)} AS {ident(c)}" for c in columns) for r in ("NEW", "OLD")]
            changed = " *<> ".join(
                f"(SELECT ROW({', '.join(keys.values())}) FROM (SELECT {row}) AS s)" for row in rows
            )
        else:
            changed = differ(side.key)
        return render(
            "sync.sql.j2",
            side=side, function=self.shape.function(f"forward_{side.bit}"), columns=columns, reread=side.reread,
            source=side.relation, source_key=side.key, to=self.shape.target, mapping=side.forward, key=self.shape.key,
            key_mapping=keys, nullable=self.shape.nullable_key, values=[c for c in side.forward if c not in keys],
            key_changed=changed, copying=True, survives=[], rejects=False, attempts=ATTEMPTS, arbiter=self._arbiter(),
            conflict=f"the shadow of {side.source_name} has another row in place of key %s", change=self.shape.change,
            relation=side.source_name, lossy="", round_trip="", lossy_reason="",
        )  # fmt: skip

    def _reverse(self, side: Side) -> str:
        columns = [c.name for c in self.shape.columns]
        row = f"(SELECT {', '.join(f'NEW.{ident(c)} AS {ident(c)}' for c in columns)}) AS s"
        old_row = f"SELECT {', '.join(f'{e} AS {ident(c)}' for c, e in side.face.items())} FROM {row}"
        trip = ", ".join(f"{side.forward[c]} AS {ident(c)}" for c in side.lossy)
        lossy = [f"f.{ident(c)} IS DISTINCT FROM NEW.{ident(c)}" for c in side.lossy]
        lossy += [f"NEW.{ident(c)} IS DISTINCT FROM ({d})" for c, d in side.defaults.items()]
        return render(
            "sync.sql.j2",
            side=side, function=self.shape.function(f"reverse_{side.bit}"), columns=columns, reread=side.reread,
            source=self.shape.target, source_key=side.held_key, to=side.old, mapping=side.back, key=side.key,
            key_mapping={k: side.back[k] for k in side.key}, nullable=[], values=[c for c in side.back if c not in side.key],
            key_changed=differ(side.held_key), copying=False, survives=side.held_key if self.shape.partitioned else [],
            rejects=side.fallible or bool(lossy), attempts=ATTEMPTS,
            arbiter=f" ({', '.join(ident(k) for k in side.key)})" if self.shape.deferrable else "",
            conflict=f"{side.source_name} has another row in place of key %s", change=self.shape.change,
            relation=side.source_name, lossy=" OR ".join(lossy),
            round_trip=f"SELECT {trip or 'NULL'} FROM ({old_row}) AS s",
            lossy_reason=f"{side.source_name} cannot say this of {', '.join([*side.lossy, *side.defaults])}",
        )  # fmt: skip
