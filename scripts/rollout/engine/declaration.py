"""What change.yml and plan.yml may say."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rollout.engine.relations import Locked, Relation
from rollout.engine.security.model import RowSecurity, Tenancy


class _Strict(BaseModel):
    """A typo is an error before anything runs."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Locks(_Strict):
    """Relations that a stage locks before it runs, in the application's own order, each `schema.name`, read as SQL has it."""

    expand: list[Locked] = Field(default_factory=list)
    swap: list[Locked] = Field(default_factory=list)
    revert: list[Locked] = Field(default_factory=list)
    contract_prepare: list[Locked] = Field(default_factory=list)
    contract: list[Locked] = Field(default_factory=list)
    discard: list[Locked] = Field(default_factory=list)


class Table(_Strict):
    """A table and its key, see Source."""

    table: Relation
    key: list[str] = Field(default_factory=list)

    @property
    def schema_name(self) -> str:
        """The schema's name."""
        return self.table.partition(".")[0]

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.partition(".")[2]


class Backfill(Table):
    """Columns of one table filled in chunks. `set`: column to SQL over the row; `where`: which rows need it, by default
    those where one of the columns is NULL."""

    set: dict[str, str]
    where: str = ""


class Source(Table):
    """A table that is rewritten.

    `table`: `schema.name` as the catalogue spells it, unquoted. `key`: its columns; by default the primary key, else the only
    unique index that will do. `rename`: its column to the target's. `from`: target column to SQL over this table's columns.
    `back`: its column to SQL over the target's columns, where the target does not hold the column as it is. `owns`: with
    several sources, which new rows of the target belong here (SQL over the target's columns); the rest goes to the first.
    """

    rename: dict[str, str] = Field(default_factory=dict)
    from_: dict[str, str] = Field(default_factory=dict, alias="from")
    back: dict[str, str] = Field(default_factory=dict)
    owns: str = ""


class Partition(_Strict):
    """How the target is partitioned: by target columns; `partitions`: name to bound, as in FOR VALUES ... or DEFAULT."""

    by: Literal["list", "range", "hash"]
    columns: list[str]
    partitions: dict[str, str] = Field(default_factory=dict)


class Target(_Strict):
    """What the sources become. `columns`: those added or given another type, as a column definition; `drop`: the
    sources' columns that end with contract; `key`: target columns, by default the first source's key."""

    name: str = ""
    key: list[str] = Field(default_factory=list)
    columns: dict[str, str] = Field(default_factory=dict)
    drop: list[str] = Field(default_factory=list)
    partition: Partition | None = None


class Audited(Table):
    """A table whose changes go to the audit trail.

    `table`: its old name; whichever relation has authority under it gets the triggers. `key`: what names a row, by default `id`,
    else the primary key. `tenant`: the column of its tenant, where no session names one. `digest`: columns whose content is not
    kept but its SHA-256 and length: secrets, and what is large.
    """

    tenant: str = "tenant_id"
    digest: list[str] = Field(default_factory=list)


class Audit(_Strict):
    """What is audited, and which roles may read the trail (all tenants)."""

    tables: list[Audited]
    readers: list[str] = Field(default_factory=list)


class Mend(_Strict):
    """What becomes of rows that a constraint would refuse; each is kept as evidence in `rollout.mended`, with `why`.

    One of: `set`: column to SQL over the row; `delete`; `parent`: column to SQL over the row, of a parent row that is made for
    a foreign key's missing one (its referenced columns are given by the row).
    """

    why: str
    set: dict[str, str] = Field(default_factory=dict)
    parent: dict[str, str] = Field(default_factory=dict)
    delete: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [bool(self.set), bool(self.parent), self.delete].count(True) != 1:
            raise ValueError("a mend says one of set, parent and delete")
        return self


class Added(_Strict):
    """A constraint that a rename's tables get with the swap: a `check` over the row, or a foreign key.

    `table`, `references` and `check` use the names as found; the columns that are renamed by their new names.
    """

    table: Relation
    name: str
    check: str = ""
    columns: list[str] = Field(default_factory=list)
    references: Relation = ""
    referenced: list[str] = Field(default_factory=lambda: ["id"])
    on_delete: Literal["", "CASCADE", "SET NULL"] = ""
    mend: Mend

    @model_validator(mode="after")
    def _check_or_key(self) -> Self:
        if bool(self.check) == bool(self.references) or bool(self.columns) != bool(self.references):
            raise ValueError(f"constraint {self.name} is either a check, or columns that reference a table")
        if self.mend.parent and not self.references:
            raise ValueError(f"constraint {self.name}: a check has no parent to make")
        return self


class Declaration(_Strict):
    """What change.yml may say.

    `kind` rewrite: `sources` become `target`; rename: `rename` (column: its new name) in `tables`, or in every table of `schema`
    that has one of these columns, but for those of `without` and of rewrites that it requires; `add`: new name to the definition
    that a table gets which has no such column; `constraints`: what these tables get besides; backfill: `backfill`; row_security:
    `row_security` over the `tenancy` (whose rows the relations hold) of all the tier's changes; audit: `audit`; others are
    their .sql files, `ddl` statement by statement.
    `leave` names what a source has (index, constraint, trigger, policy, statistics,
    publication, view) and the target is deliberately not to have.
    `includes`: files of sql/shared that expand begins with; `before_swap`: steps of the road that must have run on the
    expanded change; `locks`: what a stage's own file locks, in the order in which clients take it.
    """

    change: str
    kind: Literal[
        "rewrite", "rename", "ddl", "index", "backfill", "function", "policy", "view", "documentation", "row_security", "audit",
    ]  # fmt: skip
    summary: str
    sources: list[Source] = Field(default_factory=list)
    target: Target = Target()
    rename: dict[str, str] = Field(default_factory=dict)
    schema_: str = Field(default="public", alias="schema")
    tables: list[Relation] = Field(default_factory=list)
    without: list[Relation] = Field(default_factory=list)
    add: dict[str, str] = Field(default_factory=dict)
    constraints: list[Added] = Field(default_factory=list)
    leave: list[str] = Field(default_factory=list)
    backfill: Backfill | None = None
    audit: Audit | None = None
    includes: list[str] = Field(default_factory=list)
    before_swap: list[Literal["refresh_performance"]] = Field(default_factory=list)
    locks: Locks = Field(default_factory=Locks)
    row_security: RowSecurity | None = None
    tenancy: Tenancy = Tenancy()

    @model_validator(mode="after")
    def _sources_of_a_rewrite(self) -> Self:
        if (self.kind == "rewrite") != bool(self.sources):
            raise ValueError("a rewrite names its sources, and nothing else does")
        if (self.kind == "rename") != bool(self.rename):
            raise ValueError("a rename says which columns get which names, and nothing else does")
        if self.kind != "rename" and (self.tables or self.without or self.add or self.constraints):
            raise ValueError("tables, without, add and constraints are a rename's")
        if unknown := sorted(set(self.add) - set(self.rename.values())):
            raise ValueError(f"add names {', '.join(unknown)}, which no column is renamed to")
        if (self.kind == "backfill") != (self.backfill is not None):
            raise ValueError("a backfill says what it fills, and nothing else does")
        if (self.kind == "row_security") != (self.row_security is not None):
            raise ValueError("a change of kind row_security says for whom, and nothing else does")
        if (self.kind == "audit") != (self.audit is not None):
            raise ValueError("an audit names its tables, and nothing else does")
        return self

    @property
    def relations(self) -> list[str]:
        """The relations whose names the change exchanges, where it names them; a rename may find its own in the catalogue."""
        return [source.table for source in self.sources] or self.tables


class PlanEntry(_Strict):
    """One line of a plan: a change and those of the same tier that must stand before it."""

    change: str
    requires: list[str] = Field(default_factory=list)


class Plan(_Strict):
    """plan.yml: the order of a tier's changes; the only place that orders."""

    tier: Literal["oltp", "content", "queue", "olap"]
    changes: list[PlanEntry]
