"""How change.yml spells a relation: `schema.name` as the catalogue has it; either part may be quoted as in SQL."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from rollout.engine.rewrite.description import ident

QUOTED = r'"(?:[^"]|"")+"'
QUALIFIED = re.compile(rf"({QUOTED}|[^.]+)\.({QUOTED}|.+)", re.DOTALL)


def _named(relation: str) -> tuple[str, str]:
    """Return schema and name of `schema.name` as the catalogue spells them; either may be quoted as in SQL."""
    found = QUALIFIED.fullmatch(relation)
    if not found:
        raise ValueError(f"table {relation!r} is not schema.name")
    schema, name = (p[1:-1].replace('""', '"') if re.fullmatch(QUOTED, p) else p for p in found.groups())
    return schema, name


def _for_sql(relation: str) -> str:
    schema, name = _named(relation)
    return f"{ident(schema)}.{ident(name)}"


def _unquoted(relation: str) -> str:
    schema, name = _named(relation)
    if "." in schema:
        raise ValueError(f"table {relation!r} is in a schema whose name has a dot")
    return f"{schema}.{name}"


def _function(signature: str) -> str:
    name, bracket, arguments = signature.partition("(")
    if not bracket or not arguments.endswith(")"):
        raise ValueError(f"function {signature!r} is not schema.name(types of its arguments)")
    types = ", ".join(part.strip() for part in arguments[:-1].split(","))
    return f"{_for_sql(name.strip())}({types})"


def _each_once(said: Any) -> Any:
    """Refuse two spellings of one relation: the second would silently take the place of the first."""
    names = [_unquoted(name) for name in said if isinstance(name, str)] if isinstance(said, dict) else []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"said twice: {', '.join(twice)}")
    return said


# Both are written alike. One is read as the catalogue has it, the other as SQL has it.
Relation = Annotated[str, AfterValidator(_unquoted)]
Locked = Annotated[str, AfterValidator(_for_sql)]
# `schema.name(types)`, as the catalogue says a function.
Function = Annotated[str, AfterValidator(_function)]
EACH_ONCE = BeforeValidator(_each_once)
