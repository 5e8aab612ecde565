"""What change.yml may say about tenants: whose rows a table holds, which roles see them, what is nobody's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rollout.engine.relations import EACH_ONCE, Function, Relation

Scope = Literal["tenant", "all", "read", "none", "bypass"]


class _Strict(BaseModel):
    """A typo is an error before anything runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Through(_Strict):
    """A row belongs to whom the row of `parent` belongs (`schema.name`) whose `key` equals this table's `column`."""

    column: str
    parent: Relation
    key: str = "id"


class Rule(_Strict):
    """Whose the rows of a table are.

    `tenant`: the column that says it (uuid, text or varchar). `expression`: SQL over the row that says it as text, where the
    relation has no such column. `through`: by way of another table. `insert`: SQL that lets a row be written although it is
    not the tenant's yet; `{tenant}` in it is the tenant that is set. `replaces`: policies as found that give way.
    """

    tenant: str = ""
    expression: str = ""
    through: Through | None = None
    insert: str = ""
    replaces: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.tenant or self.expression) == (self.through is not None):
            raise ValueError("a table says `tenant` (or `expression`) or `through`, one of them")
        return self


class Withheld(_Strict):
    """A table with rows of tenants that no tenant sees, and `why`. Only `readers` may read it, all of it, and nobody of the
    product writes it; the change that makes it gives it its policies."""

    why: str
    readers: list[str] = Field(default_factory=list)


class Tenancy(_Strict):
    """Which relations of a tier are whose. Any change may say it of those that it makes.

    `tables`: `schema.name`, as clients call it, quoted or not, to its rule. `withheld`: tables of tenants' rows that no tenant
    sees; `*` in a name stands for anything. `shared`: relations that are not multi-tenant, each with the reason. `definers`:
    functions that run with their owner's rights and that a role of the product may call, each with why that shows it nobody
    else's rows.
    """

    tables: Annotated[dict[Relation, Rule], EACH_ONCE] = Field(default_factory=dict)
    withheld: Annotated[dict[Relation, Withheld], EACH_ONCE] = Field(default_factory=dict)
    shared: Annotated[dict[Relation, str], EACH_ONCE] = Field(default_factory=dict)
    definers: dict[Function, str] = Field(default_factory=dict)


class Sessions(_Strict):
    """Who may be connected when row security goes on: of these `roles` only sessions whose application_name is LIKE one of
    `applications`, those of releases that set the tenant in every transaction."""

    roles: list[str]
    applications: list[str]


class RowSecurity(_Strict):
    """What a change of kind row_security says beside `tenancy`.

    `setting`: the setting that holds the tenant of a transaction, a uuid. `column`: what has a column of this name holds tenants'
    rows, and is not to be called shared. `roles`: role to what it sees: `tenant` the rows of
    the tenant that is set, `all` (and writes) or `read` every row it has a privilege for, `none` no row of a tenant, `bypass`
    all, by its BYPASSRLS.
    """

    setting: str
    column: str = "tenant_id"
    roles: dict[str, Scope]
    sessions: Sessions
