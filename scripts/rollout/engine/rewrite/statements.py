"""Every statement of a rewrite, stage by stage, from its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout.engine.rewrite import carry
from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.resolve import ORIGIN
from rollout.engine.rewrite.shape import Shape, Side, function_name
from rollout.engine.rewrite.templates import render, render_bound

SYNC = '"0_rollout_sync"'  # sorts before RI triggers and users' own: later triggers of a statement find it done
TRUNCATE = "rollout_no_truncate"
ATTEMPTS = 10
AWAY = "rollout_away"


@dataclass(frozen=True)
class Statements:
    """The statements of one rewrite. Lists hold statements; chunked work takes %(after)s, %(limit)s and the like."""

    shape: Shape

    def authorities(self) -> list[str]:
        """Return the sources' names, in the order in which they are locked."""
        return [side.relation for side in self.shape.sides]

    def functions(self) -> list[str]:
        """Return the functions of both syncs and of what else fires."""
        shape = self.shape
        if shape.merged:
            made = [render("merge.sql.j2", shape=shape, key_types=[self._type(k) for k in shape.key])]
        else:
            made = [self._forward(shape.sides[0]), self._reverse(shape.sides[0])]
        made.append(render("helpers.sql.j2", shape=self.shape, filled=self._filled()))
        return made

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
                condition=f" WHEN ({_changed(self.shape.sides[0].held_key)})",
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
        return [*self.disarm(), f"DROP TABLE IF EXISTS {self.shape.target}", *self.drop_functions()]

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

    def _forward(self, side: Side) -> str:
        columns = [c.name for c in side.columns]
        keys = {k: side.forward[k] for k in self.shape.key}
        if side.moving:
            rows = [", ".join(f"{r}.{ident(c)} AS {ident(c)}" for c in columns) for r in ("NEW", "OLD")]
            changed = " *<> ".join(
                f"(SELECT ROW({', '.join(keys.values())}) FROM (SELECT {row}) AS s)" for row in rows
            )
        else:
            changed = _changed(side.key)
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
            key_changed=_changed(side.held_key), copying=False, survives=side.held_key if self.shape.partitioned else [],
            rejects=side.fallible or bool(lossy), attempts=ATTEMPTS,
            arbiter=f" ({', '.join(ident(k) for k in side.key)})" if self.shape.deferrable else "",
            conflict=f"{side.source_name} has another row in place of key %s", change=self.shape.change,
            relation=side.source_name, lossy=" OR ".join(lossy),
            round_trip=f"SELECT {trip or 'NULL'} FROM ({old_row}) AS s",
            lossy_reason=f"{side.source_name} cannot say this of {', '.join([*side.lossy, *side.defaults])}",
        )  # fmt: skip

    def _filled(self) -> bool:
        return any(side.filled or side.unfilled for side in self.shape.sides)

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

    def _arbiter(self) -> str:
        return f" ({', '.join(ident(k) for k in self.shape.key)})" if self.shape.deferrable else ""

    def _type(self, column: str) -> str:
        return next(c.type for c in self.shape.columns if c.name == column)


def _changed(columns: list[str]) -> str:
    new, old = (", ".join(f"{r}.{ident(c)}" for c in columns) for r in ("NEW", "OLD"))
    # Not IS DISTINCT FROM: 1.0 and 1.00, or two spellings that a collation calls one, are equal and not the same.
    return f"ROW({new})::record *<> ROW({old})::record"


def _schema_of(qualified: str, name: str) -> str:
    return qualified[: -len(ident(name)) - 1]
