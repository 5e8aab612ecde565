"""What one client does next: a transaction as a list of writes, drawn from its own random numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from cases import Case, Column, q
from faces import Row
from kinds import TEMPLATES
from universe import LOOKUPS, refs, value, values
from writes import Beside, Delete, Insert, Key, Read, Rekey, Update, Write

SHARED = 120  # numbers of new rows that all clients draw from, so that they meet
HOT_SHARE = 0.4
OWN = 1500  # numbers that only one client draws from


@dataclass
class Pool:
    """Keys that probably stand; all clients share it. Lists of Python are safe to append to from threads."""

    keys: list[Key] = field(default_factory=list)

    def some(self, chance: random.Random, count: int) -> list[Key]:
        keys = self.keys[-40:] if chance.random() < HOT_SHARE else self.keys
        return list(dict.fromkeys(chance.choice(keys) for _ in range(count))) if keys else []

    def gone(self, key: Key) -> None:
        if key in self.keys:
            self.keys.remove(key)


@dataclass
class Plan:
    """A transaction; `savepoints`: which of the writes have one, and whether it is rolled back."""

    writes: list[Write]
    repeatable: bool = False
    rollback: bool = False
    savepoints: dict[int, bool] = field(default_factory=dict)


class Planner:
    """Draws transactions for client `number`. `replica`: its sessions skip ordinary triggers, so it leaves references alone."""

    def __init__(self, case: Case, pool: Pool, number: int, *, replica: bool) -> None:
        self.case, self.pool, self.number, self.replica = case, pool, number, replica
        self.chance = random.Random(case.seed * 31 + number)
        self.made = 0
        self.server = any(c.filled == "server" for c in case.columns)
        self.free = [c for c in case.columns if self._free(c)]
        self.careful = replica and (case.child or bool(case.up or case.lookup or case.deferred))

    def _free(self, column: Column) -> bool:
        referring = column.name in (self.case.lookup, self.case.up)
        return not (
            column.name in self.case.key
            or column.filled in ("generated", "server")
            or column.derived
            or referring
            or column.fresh
            or column.name == "touched"
        )

    def plan(self) -> Plan:
        """Draw the next transaction."""
        chance, single = self.chance, self.case.profile.single
        count = 1 if single or chance.random() < 0.6 else chance.randint(2, 4)
        writes = [self._write(most=1 if single else chance.choice((1, 1, 3, 8))) for _ in range(count)]
        plan = Plan(writes, repeatable=chance.random() < 0.25, rollback=chance.random() < 0.08)
        plan.savepoints = {n: chance.random() < 0.4 for n in range(count) if chance.random() < 0.25}
        return plan

    def _write(self, most: int) -> Write:
        chance, case = self.chance, self.case
        dice, keys = chance.random(), self.pool.some(chance, chance.randint(1, most))
        if self.careful:
            return self._update(keys)
        if dice < 0.25 or not keys:
            return self._insert(most)
        if dice < 0.5:
            return self._update(keys)
        if dice < 0.58:
            sets = self._refer()
            return Update(case, keys, sets, count=case.counter not in sets and chance.random() < 0.5)
        if dice < 0.68 and not any(c.filled == "server" and "ALWAYS" in c.rest for c in case.columns):
            # A new key that is another row's old one would make the outcome hang on the order of the rows.
            pairs = [(key, new) for key in keys if (new := self._key()) not in keys]
            return Rekey(case, pairs) if pairs else Read(case, keys)
        if dice < 0.78:
            return Delete(case, keys)
        if dice < 0.88 and (beside := self._beside(keys[0])):
            return beside
        return Read(
            case, keys, chance.choice(("FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR UPDATE SKIP LOCKED"))
        )

    def _number(self, *, own: bool = False) -> int:
        if own or self.chance.random() < 0.5:
            self.made += 1
            return self.case.rows + SHARED + self.number * OWN + self.made % OWN
        return self.case.rows + self.chance.randrange(SHARED)

    def _key(self) -> Key:
        row = values(self.case, self.chance, self._number())
        return tuple(
            row.get(name) or value(self.case, self.case.column(name), self.chance, self._number())
            for name in self.case.key
        )

    def _insert(self, most: int) -> Write:
        chance, case = self.chance, self.case
        numbered = self.server and chance.random() < 0.7
        rows, left = [], {c.name for c in case.columns if c.filled == "default" and chance.random() < 0.4}
        for _ in range(chance.randint(1, most)):
            number = self._number(own=numbered)
            row = values(case, chance, number)
            if self.server and not numbered:
                row |= {c.name: value(case, c, chance, number) for c in case.columns if c.filled == "server"}
            if case.lookup and numbered and case.profile.twin_first:
                row[case.lookup] = None  # the lock order of the other clients is the other one
            if case.up and not numbered and chance.random() < 0.3 and self.pool.keys:
                row[case.up] = chance.choice(self.pool.keys)[0]
            rows.append({name: text for name, text in row.items() if name not in left})
        conflict = (
            chance.choice(("", "", "UPDATE", "NOTHING")) if case.upserts and not numbered and len(rows) == 1 else ""
        )
        return Insert(case, rows, conflict, subject_first=numbered)

    def _update(self, keys: list[Key]) -> Write:
        chance, case = self.chance, self.case
        if chance.random() < 0.25:
            return Update(case, keys, {}, count=True, only=str(chance.randint(0, 9)) if chance.random() < 0.3 else None)
        sets: Row = {}
        for column in chance.sample(self.free, min(len(self.free), chance.randint(1, 3))):
            sets[column.name] = None if column.nullable and chance.random() < 0.25 else value(case, column, chance, 0)
        if case.word in sets:
            sets |= {c.name: TEMPLATES[c.derived[1]](sets[case.word]) for c in case.columns if c.derived}
        return Update(case, keys, sets)

    def _refer(self) -> Row:
        """Set a reference, or nothing but the counter."""
        chance, case = self.chance, self.case
        sets: Row = {case.counter: str(chance.randint(0, 9))}
        if case.lookup and chance.random() < 0.7:
            sets = {case.lookup: chance.choice((None, str(chance.randrange(LOOKUPS + 1))))}
        elif case.up and self.pool.keys:
            sets = {case.up: chance.choice((None, chance.choice(self.pool.keys)[0]))}
        elif unique := [c for c in case.columns if c.fresh]:
            sets = {c.name: value(case, c, chance, self._number()) for c in unique[:1]}
        return sets

    def _beside(self, key: Key) -> Write | None:
        chance, case = self.chance, self.case
        around: list[Write] = []
        places = ", ".join("%s" for _ in key)
        if case.child:
            self.made += 1
            detail = str(10**6 * (self.number + 1) + self.made)
            around.append(
                Beside(
                    f"INSERT INTO <around>.details (id, {refs(case)}, note) VALUES (%s, {places}, 'more') RETURNING *",
                    [detail, *key],
                )
            )
            around.append(
                Beside(
                    f"UPDATE <around>.details SET ({refs(case)}) = ROW({places}) WHERE id = %s RETURNING *",
                    [*key, str(chance.randint(1, 200))],
                )
            )
            around.append(
                Beside("DELETE FROM <around>.details WHERE id = %s RETURNING *", [str(chance.randint(1, 200))])
            )
        if case.lookup and not case.profile.single:
            one, other = (str(chance.randrange(LOOKUPS)) for _ in range(2))
            around.append(Beside("DELETE FROM <around>.lookups WHERE id = %s RETURNING *", [one]))
            around.append(
                Beside(
                    "INSERT INTO <around>.lookups VALUES (%s, 'again')"
                    " ON CONFLICT (id) DO UPDATE SET label = 'twice' RETURNING *",
                    [one],
                )
            )
            around.append(Beside("UPDATE <around>.lookups SET id = %s WHERE id = %s RETURNING *", [other, one]))
        if case.writable:
            names = [q(name) for name in case.key]
            condition = " AND ".join(f"{name} = %s" for name in names).replace("%", "%%").replace("%%s", "%s")
            counter = q(case.counter).replace("%", "%%")
            around.append(
                Beside(
                    f"UPDATE <around>.{q(case.writable)} SET {counter} = %s WHERE {condition} RETURNING *",
                    [str(chance.randint(0, 9)), *key],
                )
            )
        return chance.choice(around) if around else None
