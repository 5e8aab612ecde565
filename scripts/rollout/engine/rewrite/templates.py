"""Jinja over the .sql.j2 files: identifiers and literals go through filters, an unknown name is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from rollout.engine.rewrite.carry import literal
from rollout.engine.rewrite.description import named as ident
from rollout.engine.rewrite.shape import Held, Side

SQL = Path(__file__).with_name("sql")


def render(template: str, **values: Any) -> str:
    """Return the SQL of a template, without the blank lines that its conditions leave."""
    text = _environment().get_template(template).render(**values)
    return re.sub(r"\n\s*\n", "\n", text).strip()


def render_bound(template: str, **values: Any) -> str:
    """Return the SQL of a template that binds values: `@name@` becomes psycopg's placeholder, a % stays one."""
    return re.sub(r"@(\w+)@", r"%(\1)s", render(template, **values).replace("%", "%%"))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701  (SQL, not HTML; what is put in goes through the filters below)
        loader=jinja2.FileSystemLoader(SQL), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"dict": dict, "plain_text": _plain_text}
    environment.filters |= {
        "ident": ident,
        "literal": literal,
        "of": _of,
        "pick": _pick,
        "values": _values,
        "numbered": _numbered,
    }
    return environment


def _of(record: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{record}.{ident(c)}" for c in columns)


def _plain_text(side: Side) -> str:
    """Return the settings under which a key's text means one thing whatever its writer's session says of dates and numbers."""
    if any(re.match("date|time|interval|double|real|money", side.key_type(k)) for k in side.key):
        return " SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = '3'"
    return ""


def _numbered(columns: Iterable[str], alias: str, prefix: str) -> str:
    return " AND ".join(f"{alias}.{ident(c)} = {prefix}{n}" for n, c in enumerate(columns, 1))


def _pick(mapping: Mapping[str, str], names: Iterable[str]) -> list[str]:
    return [mapping[name] for name in names]


def _values(columns: Iterable[Held], alias: str) -> str:
    """Return columns as values that are equal only when they are the same bit for bit, also where a type has no equality."""
    return ", ".join(f"{alias}.{ident(c.name)}" if c.exact else f"{c.send}({alias}.{ident(c.name)})" for c in columns)
