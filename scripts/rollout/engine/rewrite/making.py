"""Make the shadow: an empty twin of the (first) source, then what the declaration says, then its shape.

One transaction, which takes no lock that a client would wait for. What the catalogue had of the source and the twin lacks is
a refusal, by name, before the declaration changes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg import errors

from rollout.engine.declaration import Declaration, Partition, Source
from rollout.engine.ledger import Connection
from rollout.engine.rewrite import carry, exchange, refusals, resolve, shape, views
from rollout.engine.rewrite.description import Description, differences, ident, read
from rollout.engine.rewrite.shape import Shape, versioned
from rollout.errors import BadInput, Refused

PAGE = "runbooks/deploy.md#not-carried"
IDENTITY_OF_PARTITIONED = 170000
NOT_OF_A_SHADOW = ("privilege ", "publication ")


@dataclass
class Making:
    """The making of one shadow over one connection, in the caller's transaction.

    `shadow_sql`: the declaration's own DDL; `said`: every statement so far.
    """

    connection: Connection
    change: str
    declaration: Declaration
    shadow_sql: bytes | None
    said: list[str] = field(default_factory=list)

    def run(self) -> Shape:
        """Make the shadow and return its shape; raise BadInput or Refused, naming what cannot be."""
        first = self.declaration.sources[0]
        self.defaults: dict[str, str] = {}
        tables = [self._source(source) for source in self.declaration.sources]
        self.name = self.declaration.target.name or first.name
        self.schema = versioned(first.schema_name, "v2")
        self.target = f"{ident(self.schema)}.{ident(self.name)}"
        for schema in {self.schema, *(versioned(s.schema_name, "v1") for s in self.declaration.sources)}:
            self._say(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")
        if read(self.connection, self.schema, self.name):
            raise Refused(
                f"{self.target} exists and is no shadow of {self.change}",
                next="drop it, or give the target another name",
                page=PAGE,
            )
        # In `leave`, or they would have been refused.
        stay = {name for table in tables for name in views.apart(self.connection, table)}
        self._twin(first, tables[0])
        self._declared(first, tables[0])
        target = self._read()
        return exchange.shape(self.change, self.declaration, tables, target, self.defaults, stay, self._say)

    def _source(self, source: Source) -> Description:
        table = read(self.connection, source.schema_name, source.name)
        if table is None:
            raise BadInput(f"{source.table} does not exist", next="correct `table` in change.yml")
        old = shape.versioned(source.schema_name, "v1")
        if len(f"{old}_face".encode()) > shape.NAME_BYTES_MAX:
            raise BadInput(
                f"the names {old} and {old}_face, of the schemas beside {source.schema_name}, are too long",
                limit=f"{shape.NAME_BYTES_MAX} bytes",
                next="give the schema a shorter name first",
            )
        if read(self.connection, old, source.name):
            raise Refused(
                f"{old}.{source.name} exists, where the swap would put {source.table}", next="drop or rename it", page=PAGE
            )
        if wrong := refusals.found(self.connection, self.declaration, source, table):
            raise Refused(
                f"{source.table} has what {self.change} does not carry: {'; '.join(wrong)}",
                next="take it away first, or name it in `leave`",
                page=PAGE,
            )
        return table

    def _twin(self, source: Source, table: Description) -> None:
        """Create what the catalogue has of the source, still under its column names, and compare."""
        target, leave = self.declaration.target, set(self.declaration.leave)
        identity = self.connection.info.server_version >= IDENTITY_OF_PARTITIONED
        back = {new: old for old, new in source.rename.items()}
        partition = target.partition
        if partition:
            partition = Partition(
                by=partition.by, columns=[back.get(c, c) for c in partition.columns], partitions=partition.partitions
            )
        added = {n: d for n, d in target.columns.items() if table.column(back.get(n, n)) is None}
        for statement in carry.table(table, self.target, self.schema, added, partition, identity):
            self._say(statement)
        self._merge_column()
        for statement in [
            *carry.partitions(table, self.target, self.schema, partition),
            *carry.keys(table, self.target, self.schema, leave),
            *carry.dress(table, self.target, self.schema, leave),
        ]:
            self._say(statement)
        twin = self._read()
        for column in table.columns:
            # LIKE makes every identity's sequence a bigint one.
            alike = twin.column(column.name)
            if column.identity and column.type in ("smallint", "integer") and alike and alike.sequence:
                self._say(f"ALTER SEQUENCE {alike.sequence} AS {column.type}")
        for grant in {g["grantee"] for g in twin.grants}:  # ALTER DEFAULT PRIVILEGES: nobody writes to a shadow
            self._say(f"REVOKE ALL ON {self.target} FROM {grant}")
        for name, grant in {(p["name"], g["grantee"]) for p in twin.partitions for g in p["grants"]}:
            self._say(f"REVOKE ALL ON {ident(self.schema)}.{ident(name)} FROM {grant}")
        wanted = _without(table.facts(), leave, *NOT_OF_A_SHADOW)
        for constraint in table.constraints:
            if constraint.type == "f":
                wanted.pop(f"constraint {constraint.name}")
        found = _without(twin.facts(), set(), *NOT_OF_A_SHADOW)
        own = {f"column {n}" for n in [*added, resolve.ORIGIN] if table.column(n) is None}
        lost = [
            d
            for d in differences(
                _as_shadow(wanted, table, partition is not None), _as_shadow(found, table, partition is not None)
            )
            if not any(d == f"{o} is additional" for o in own)
        ]
        if lost:
            raise Refused(
                f"{source.table} has what its twin would not: {'; '.join(lost)}",
                next="name it in `leave`, or report it",
                page=PAGE,
            )

    def _merge_column(self) -> None:
        if len(self.declaration.sources) > 1:
            self._say(f"ALTER TABLE {self.target} ADD COLUMN {resolve.ORIGIN} int NOT NULL")

    def _declared(self, source: Source, table: Description) -> None:
        """Change the twin as declared; Postgres carries every definition over."""
        twin = self._read()
        kept = resolve.hidden(self.declaration, source, table)
        self._rename(source, table)
        with self._no_policies():
            self._end(source, table, kept)
        self._retyped_key(source, table, kept)
        if self.shadow_sql:
            self._say(self.shadow_sql.decode())
        for column in self._read().columns:
            if column.name in source.from_ and column.default and column.name not in self.defaults:
                # An old client gives no value, and is to get what `from` says and not the default.
                self.defaults[column.name] = column.default
                self._say(f"ALTER TABLE {self.target} ALTER COLUMN {ident(column.name)} DROP DEFAULT")
        self._key(source, table)
        lost = {
            n for n in twin.facts() if n.split(" ")[0] in ("index", "constraint", "policy", "trigger", "statistics")
        }
        lost -= set(self._read().facts())
        if gone := sorted(n for n in lost if n.partition(" ")[2] not in self.declaration.leave):
            raise Refused(
                f"the declaration drops what {source.table} has: {', '.join(gone)}",
                next="name it in `leave`",
                page=PAGE,
            )

    @contextmanager
    def _no_policies(self) -> Iterator[None]:
        """Let policies stand aside: Postgres gives no column another type that one names."""
        aside = self._read()
        for policy in aside.policies:
            self._say(f"DROP POLICY {ident(policy['name'])} ON {self.target}")
        yield
        for policy in aside.policies:
            for statement in carry.policy(aside, policy, self.target):
                self._say(statement)

    def _end(self, source: Source, table: Description, kept: dict[str, str]) -> None:
        """Give columns their new types beside hidden ones of the old; let dropped ones live on until contract."""
        for column in [c for c in table.columns if c.name in kept]:
            name, old = source.rename.get(column.name, column.name), kept[column.name]
            if name != old:
                collation = f" COLLATE {column.collation}" if column.collation else ""
                if column.default and not column.sequence:
                    # In the window it stands on the hidden column: there a NULL that an old client gives can be told from none.
                    self.defaults[name] = column.default
                    self._say(f"ALTER TABLE {self.target} ALTER COLUMN {ident(name)} DROP DEFAULT")
                    collation += f" DEFAULT {column.default}"
                self._retype(source, name)
                self._say(f"ALTER TABLE {self.target} ADD COLUMN {ident(old)} {column.type}{collation}")
            elif column.not_null and not column.generated and (column.default is None or column.name in source.back):
                # New writers leave it out.
                self._say(f"ALTER TABLE {self.target} ALTER COLUMN {ident(old)} DROP NOT NULL")
            if name == old and column.name in source.back and column.default and not column.generated:
                self._say(f"ALTER TABLE {self.target} ALTER COLUMN {ident(old)} DROP DEFAULT")

    def _rename(self, source: Source, table: Description) -> None:
        """Rename columns as declared; two of them may exchange their names."""
        final = [source.rename.get(c.name, c.name) for c in table.columns]
        if twice := sorted({name for name in final if final.count(name) > 1}):
            raise BadInput(
                f"{source.table}: two columns would be called {', '.join(twice)}", next="correct `rename`",
                page="runbooks/changes.md#declaring",
            )  # fmt: skip
        between = {old: f"rollout_{number}" for number, old in enumerate(source.rename)}
        for steps in (between, {between[old]: new for old, new in source.rename.items()}):
            for old, new in steps.items():
                self._say(f"ALTER TABLE {self.target} RENAME COLUMN {ident(old)} TO {ident(new)}")

    def _retype(self, source: Source, name: str) -> None:
        """Give a column of the empty shadow its declared type; raise Refused where something depends on the one it has."""
        definition = self.declaration.target.columns[name]
        try:
            self._say(f"ALTER TABLE {self.target} ALTER COLUMN {ident(name)} TYPE {definition} USING NULL")
        except (errors.FeatureNotSupported, errors.InvalidTableDefinition) as error:
            raise Refused(
                f"{source.table}: {name} cannot become {definition}: {error.diag.message_primary}"
                f" {error.diag.message_detail or ''}".rstrip(),
                next="change what depends on it first, or leave its type as it is", page=PAGE,
            ) from None  # fmt: skip

    def _retyped_key(self, source: Source, table: Description, kept: dict[str, str]) -> None:
        """Keep the old key unique under its hidden names, where it gets another type: old clients' ON CONFLICT looks for it."""
        key = resolve.key_of(source, table)
        renamed = resolve.renames(source, table)
        partition = self.declaration.target.partition
        if partition and not set(partition.columns) <= {renamed[k] for k in key}:
            return  # no unique index can hold it alone, nor could ON CONFLICT look for it; `once` keeps it unique
        if any(kept.get(k, renamed[k]) != renamed[k] for k in key):
            columns = carry.names(kept.get(k, renamed[k]) for k in key)
            self._say(
                f"CREATE UNIQUE INDEX {ident(shape.function_name('rollout_old', f'{self.name}_key'))}"
                f" ON {self.target} ({columns})"
            )

    def _key(self, source: Source, table: Description) -> None:
        """Give the target a unique key over the declared columns unless it has one."""
        renamed = resolve.renames(source, table)
        key = self.declaration.target.key or [renamed[k] for k in resolve.key_of(source, table)]
        target = self._read()
        if any(
            i.unique and i.valid and i.plain and i.immediate and set(i.columns or []) == set(key)
            for i in target.indexes
        ):
            return
        columns = [target.column(k) for k in key]
        if missing := [k for k, c in zip(key, columns, strict=True) if c is None]:
            raise BadInput(
                f"target.key names {', '.join(missing)}, which the target does not have", next="correct change.yml"
            )
        strict = all(c and c.not_null for c in columns)
        if strict and any(i.primary for i in table.indexes) and not any(i.primary for i in target.indexes):
            # The primary key was left behind: this one takes its place, as a replica identity too.
            name, kind = shape.function_name(self.name, "pkey"), "PRIMARY KEY"
        else:
            name = shape.function_name(self.name, f"{'_'.join(key)}_key")
            kind = "UNIQUE" if strict else "UNIQUE NULLS NOT DISTINCT"
        self._say(f"ALTER TABLE {self.target} ADD CONSTRAINT {ident(name)} {kind} ({carry.names(key)})")

    def _read(self) -> Description:
        found = read(self.connection, self.schema, self.name)
        assert found is not None
        return found

    def _say(self, statement: str) -> None:
        self.said.append(statement)
        self.connection.execute(statement.encode())


def _without(facts: dict[str, str], leave: set[str], *prefixes: str) -> dict[str, str]:
    return {
        name: fact for name, fact in facts.items()
        if not name.startswith(prefixes) and name.partition(" ")[2] not in leave
    }  # fmt: skip


def _as_shadow(facts: dict[str, str], source: Description, partitioned: bool) -> dict[str, str]:
    """Leave out what differs between an authority and its shadow by intent: armed triggers, identity ALWAYS, late checks."""
    facts = {
        name: re.sub(r" enabled=[ODRA] ", " ", f) if name.startswith("trigger ") else f for name, f in facts.items()
    }
    for column in source.columns:
        name = f"column {column.name}"
        facts[name] = facts[name].replace(" identity a ", " identity d ")
        if partitioned and column.identity:  # before Postgres 17 a sequence stands in
            facts.pop(name)
    for constraint in carry.late_checks(source):
        facts.pop(f"constraint {constraint.name}", None)
    if partitioned:
        # A partitioned table has no storage of its own.
        facts |= {"access method": "", "storage parameters": "", "persistence": ""}
    return facts
