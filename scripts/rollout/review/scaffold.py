"""A new change: its folder with a commented declaration, and its line in the tier's plan."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import jinja2
import yaml

from rollout.engine import changes, located
from rollout.engine.declaration import Declaration, Plan
from rollout.environment import TIERS
from rollout.errors import BadInput, Failed

TEMPLATES = Path(__file__).with_name("templates")
NAME = re.compile(r"(?P<number>\d{3})_[a-z][a-z0-9_]*")
NAME_MAX = 63
KINDS: tuple[str, ...] = get_args(Declaration.model_fields["kind"].annotation)
OF_TABLES = ("rewrite", "backfill")
FILES = {"rewrite": (), "backfill": (), "ddl": ("ddl", "discard"), "index": ("indexes", "discard"),
         "row_security": (), "rename": ()}  # fmt: skip
OTHERS = ("expand", "discard")  # of an audit too: what its log is made of stands in sql/shared


@dataclass(frozen=True)
class Draft:
    """A change that is not written yet: its folder, its files by name, and the plan with it."""

    folder: Path
    files: dict[str, str]
    plan: str

    def write(self) -> None:
        """Write the folder, then the plan; what a failure leaves is taken away."""
        path = self.folder.parent / "plan.yml"
        part = path.with_suffix(".yml.part")
        self.folder.mkdir()
        try:
            for name, text in self.files.items():
                (self.folder / name).write_text(text)
            part.write_text(self.plan)
            os.replace(part, path)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            part.unlink(missing_ok=True)
            raise


def draft(tier: str, name: str, table: str = "", kind: str = "rewrite") -> Draft:
    """Return a new change; raise BadInput for a name or number that is taken or no name, an unknown tier or kind, no table."""
    choice("tier", tier, TIERS)
    choice("kind", kind, KINDS)
    _name(tier, name)
    if kind in OF_TABLES and (not all(table.partition(".")) or len(table.splitlines()) != 1):
        raise BadInput(
            f"a {kind} is of a table, and {table!r} is not schema.name" if table else f"a {kind} is of a table",
            next="--table public.orders, as the catalogue spells it, unquoted",
        )
    plan = changes.SQL / tier / "plan.yml"
    changes.plan(tier)  # what is wrong already is told before anything is added
    values = {
        "tier": tier, "name": name, "kind": kind, "table": _scalar(table) if table else "",
        "summary": _scalar(f"{table} is written anew, as it is."),
        "example": re.sub(r"\W", "_", table.partition(".")[2].lower()) or "orders",
    }  # fmt: skip
    files = {"change.yml": _render("change.yml", values)}
    for file in FILES.get(kind, OTHERS):
        files[f"{'expand' if file == 'ddl' else file}.sql"] = _render(f"{file}.sql", values)
    return Draft(plan.parent / name, files, _ordered(plan.read_text(), name))


def _name(tier: str, name: str) -> None:
    taken = {p.name: p.parent.name for t in (*(t for t in TIERS if t != tier), tier) for p in (changes.SQL / t).iterdir()}
    numbers = {int(m["number"]): n for n in taken if (m := NAME.fullmatch(n))}
    free = f"{max(numbers, default=0) + 1:03}"
    match = NAME.fullmatch(name)
    if not match or len(name.encode()) > NAME_MAX:
        raise BadInput(
            f"{name!r} is no name of a change" if name else "no name",
            limit=f"three digits and words in lower case, at most {NAME_MAX} bytes",
            next=f"--name {free}_orders",
        )
    if taken.get(name) == tier:
        raise BadInput(f"{tier} has {name} already", next=f"--name {free}{name[3:]}")
    # One change in several tiers bears one name in all of them, and so one number.
    if numbers.get(int(match["number"]), name) != name:
        raise BadInput(f"the number of {numbers[int(match['number'])]} is taken", next=f"--name {free}{name[3:]}")


def choice(flag: str, value: str, known: tuple[str, ...]) -> str:
    """Return the value of a flag that has to be one of some; raise BadInput with the nearest one."""
    if value not in known:
        raise BadInput(
            f"unknown {flag} {value!r}{located.nearest(value, known)}" if value else f"no {flag} named",
            limit=f"one of {', '.join(known)}",
            next=f"--{flag} {known[0]}",
        )
    return value


def _ordered(text: str, name: str) -> str:
    """Return a plan with one change more at its end, everything else as it was."""
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    node = next(value for key, value in top.value if key.value == "changes") if top else None
    assert isinstance(node, yaml.SequenceNode)  # the plan was read a moment ago
    if node.flow_style:
        at = node.end_mark.index - 1
        made = f"{text[:at]}{', ' if node.value else ''}{{change: {name}}}{text[at:]}"
    else:
        lines = text.splitlines(keepends=True)
        line = _last(node).end_mark.line + 1
        before = "".join(lines[:line])
        new = "" if before.endswith("\n") else "\n"
        made = f"{before}{new}{' ' * node.start_mark.column}- change: {name}\n{''.join(lines[line:])}"
    was, now = (Plan.model_validate(yaml.safe_load(t)) for t in (text, made))
    if [*[e.model_dump() for e in was.changes], {"change": name, "requires": []}] != [e.model_dump() for e in now.changes]:
        raise Failed("the plan cannot be added to without being written anew", next=f"add `- change: {name}` to it by hand")
    return made


def _last(node: yaml.Node) -> yaml.Node:
    """Return the last node of a block: its own end may lie behind the comments that follow it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return node
    return _last(node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1])


def _scalar(value: str) -> str:
    return yaml.safe_dump([value], width=1000, allow_unicode=True).removeprefix("- ").strip()


def _render(template: str, values: dict[str, str]) -> str:
    environment = jinja2.Environment(  # noqa: S701  (YAML and SQL comments, not HTML; names are checked, the table is quoted)
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(f"{template}.j2").render(**values)
