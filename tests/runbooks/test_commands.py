"""README and runbooks against what they are about: commands, links, pages that errors name, snippets, headings."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.program import Program

from rollout import gates

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "runbooks"
PAGES = [ROOT / "README.md", *sorted(RUNBOOKS.rglob("*.md"))]
REFERENCE = ("changes.md",)  # what may be declared; nothing that is done in steps
OPERATIONS = sorted(page for page in RUNBOOKS.glob("*.md") if page.name not in REFERENCE)
SHELLS = ("sh", "bash", "shell", "console")
FENCE = re.compile(r"^\s*```(\w*)\s*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"runbooks/[\w./-]*(?:#[\w-]+)?")
SPAN = re.compile(r"`(invoke [^`]+)`")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$", re.MULTILINE)
TASK = r"[a-z]+\.[a-z]+|deploy|finalize|rollback|status|checklist|monitor|audit"
PROPOSED = re.compile(rf"\binvoke ({TASK})((?: -{{1,2}}[a-z][\w-]*(?:[ =](?:\{{[^}}]*\}}|[\w./]+))?)*)")
FLAG = re.compile(r"(?<= )-{1,2}[a-z][\w-]*")


class Block(NamedTuple):
    """A fenced block: where it begins (`page:line`), its language and its text without the indentation of a list."""

    where: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence and opened is None:
            opened, lines = (number, fence[1]), []
        elif fence and opened is not None:
            yield Block(f"{page.relative_to(ROOT)}:{opened[0]}", opened[1], textwrap.dedent("\n".join(lines)))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page}:{opened[0] if opened else 0}: the block is not closed"


def words(line: str) -> list[str]:
    """Return a shell line's words from the command on: no comment, no variable before it, no path of the venv."""
    found = shlex.split(line, comments=True)
    while found and re.match(r"^\w+=", found[0]):
        found.pop(0)
    return [found[0].removeprefix(".venv/bin/"), *found[1:]] if found else []


def commands(first: str) -> list[tuple[str, list[str]]]:
    """Return (where, words) of each fenced shell command whose first word begins so."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.language in SHELLS:
                lines = [words(line) for line in block.text.splitlines()]
                found += [(block.where, line) for line in lines if line and line[0].startswith(first)]
    return found


@cache
def tasks() -> ModuleType:
    """Return tasks.py as a module, wherever pytest was started."""
    spec = importlib.util.spec_from_file_location("rollout_tasks", ROOT / "tasks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(argv: list[str]) -> list[str]:
    """Parse the words after `invoke` as Invoke would and return the tasks' names; raise ParseError. Nothing is run."""
    return [context.name for context in _parser().parse_argv(argv) if context.name]


def unknown(name: str, rest: str) -> list[str]:
    """Return what is not there of a task and of the flags in the words behind it, as commands."""
    known = {n: context.flags for context in tasks().namespace.to_contexts() for n in (context.name, *context.aliases)}
    if name not in known:
        return [f"invoke {name}"]
    return [f"invoke {name} {flag}" for flag in FLAG.findall(rest) if flag not in known[name]]


@cache
def _parser() -> Parser:
    namespace = tasks().namespace
    return Parser(contexts=namespace.to_contexts(), initial=Program(namespace=namespace).initial_context)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    text = re.sub(r"(?ms)^\s*```.*?^\s*```\s*$", "", page.read_text())
    for heading in HEADING.findall(text):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(slug if not number else f"{slug}-{number}")
    return frozenset(found)


def missing(target: str, base: Path) -> str | None:
    """Return what is wrong with a relative link seen from the folder `base`, None when it leads somewhere."""
    path, _, anchor = target.partition("#")
    page = (base / path).resolve() if path else None
    if page is not None and not page.exists():
        return f"{target}: no such file"
    if anchor and page is not None and anchor not in anchors(page):
        return f"{target}: no such heading"
    return None


def sources() -> Iterator[Path]:
    """Yield the files of the program that may name a page."""
    yield ROOT / "tasks.py"
    for folder in ("scripts", "playbooks", "inventories", "sql"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def test_every_invoke_line_parses() -> None:
    """Each `invoke ...` line in a block names a task and flags that exist, with values where they are needed."""
    found = commands("invoke")
    assert len(found) > 20
    wrong = []
    for where, line in found:
        try:
            if not parse(line[1:]):
                wrong.append(f"{where}: {shlex.join(line)}: no task")
        except ParseError as error:
            wrong.append(f"{where}: {shlex.join(line)}: {error}")
    assert not wrong, "\n".join(wrong)


def test_every_inline_invoke_parses() -> None:
    """Each `invoke ...` within a sentence parses as well, but for those that the pages say do not exist yet."""
    wrong = []
    for page in PAGES:
        for span in SPAN.findall(page.read_text()):
            try:
                parse(words(span)[1:])
            except ParseError as error:
                wrong.append(f"{page.relative_to(ROOT)}: {span}: {error}")
    assert not wrong, "\n".join(wrong)


def test_every_command_that_the_program_proposes_exists() -> None:
    """Each `invoke ...` in an error text, comment or template names a task and flags that exist."""
    wrong = []
    for path in sources():
        for name, rest in set(PROPOSED.findall(path.read_text(errors="replace"))):
            wrong += [f"{path.relative_to(ROOT)}: {command}" for command in unknown(name, rest)]
    assert not wrong, "\n".join(wrong)


def test_every_script_exists() -> None:
    """Each scripts/... command in a block is an executable file that knows the flags shown."""
    found = commands("scripts/")
    assert {line[0] for _, line in found} >= {"scripts/bootstrap", "scripts/demo", "scripts/test"}
    wrong = []
    for where, line in found:
        path = ROOT / line[0]
        if not os.access(path, os.X_OK):
            wrong.append(f"{where}: {line[0]} is no executable file")
            continue
        text = path.read_text()
        for module in re.findall(r"-m (rollout[\w.]*)", text):
            source = ROOT / "scripts" / module.replace(".", "/")
            text += "".join(p.read_text() for p in (source.glob("*.py") if source.is_dir() else [source.with_suffix(".py")]))
        wrong += [f"{where}: {line[0]} knows no {f}" for f in line[1:] if f.startswith("--") and f not in text]
    assert not wrong, "\n".join(wrong)


def test_every_task_is_documented() -> None:
    """Each task stands in a block of README or a runbook, and has help of its own."""
    shown = {name for _, line in commands("invoke") for name in parse(line[1:])}
    known = set(tasks().namespace.task_names)
    assert known - shown == set()
    assert [name for name in known if not tasks().namespace[name].__doc__] == []


def test_every_link_leads_somewhere() -> None:
    """Each relative link of README and runbooks names a file, and a heading, that exists."""
    wrong = []
    for page in PAGES:
        for target in LINK.findall(page.read_text()):
            if "://" in target:
                continue
            own = f"{page.name}{target}" if target.startswith("#") else target
            problem = missing(own, page.parent)
            if problem:
                wrong.append(f"{page.relative_to(ROOT)}: {problem}")
    assert not wrong, "\n".join(wrong)


def test_every_page_that_the_program_names_exists() -> None:
    """Each `runbooks/...#anchor` in library, tasks, playbooks, inventories and SQL exists; each gate has its page."""
    texts = [(path, path.read_text(errors="replace")) for path in sources()]
    named = {(path, target.rstrip(".")) for path, text in texts for target in NAMED.findall(text)}
    assert len({target for _, target in named}) > 15
    problems = [(path, missing(target, ROOT)) for path, target in sorted(named)]
    assert [f"{path.relative_to(ROOT)}: {problem}" for path, problem in problems if problem] == []
    assert [name for name in gates.registry() if not (ROOT / gates.page(name)).is_file()] == []


def test_python_snippets_name_what_exists() -> None:
    """Each Python block compiles, and what it takes from the library is there."""
    wrong = []
    for page in PAGES:
        known: dict[str, object] = {}  # a page's later blocks go on with the names of the earlier ones
        for block in (b for b in blocks(page) if b.language == "python"):
            tree = ast.parse(block.text, filename=block.where)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    for name in node.names:
                        found = getattr(module, name.name, None)
                        try:
                            known[name.name] = found or importlib.import_module(f"{node.module}.{name.name}")
                        except ModuleNotFoundError:
                            wrong.append(f"{block.where}: {node.module} has no {name.name}")
            wrong += [
                f"{block.where}: {node.value.id}.{node.attr} does not exist"
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
                and node.value.id in known and not hasattr(known[node.value.id], node.attr)
            ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("folder", "headings"),
    [
        (".", ["Purpose", "When to use / when not", "Before you start", "Steps", "Rollback", "Afterwards"]),
        ("gates", ["Meaning", "Impact", "Diagnosis", "Mitigation"]),
        ("decisions", ["Question", "Options", "Choice", "What would change it"]),
    ],
)
def test_pages_have_their_headings(folder: str, headings: list[str]) -> None:
    """Pages of one kind have the same headings in the same order, whatever stands between them."""
    for page in OPERATIONS if folder == "." else sorted((RUNBOOKS / folder).glob("*.md")):
        found = [h for h in re.findall(r"(?m)^## (.*)$", page.read_text()) if h in headings]
        assert found == headings, page.relative_to(ROOT)


@pytest.mark.parametrize("page", OPERATIONS, ids=lambda page: page.name)
def test_each_step_says_what_to_expect(page: Path) -> None:
    """Steps are numbered without a gap, and each says what is expected and what to do if it is not so."""
    text = page.read_text().partition("\n## Steps\n")[2].partition("\n## ")[0]
    steps = re.split(r"(?m)^(\d+)\. ", text)[1:]
    assert [int(n) for n in steps[::2]] == list(range(1, len(steps) // 2 + 1))
    bodies = dict(zip(steps[::2], steps[1::2], strict=True))
    assert [n for n, body in bodies.items() if body.count("**expect:**") != body.count("**if not:**")] == []
    assert text.count("**expect:**") >= 2


@pytest.mark.parametrize(
    "line", ["invoke deploi --phase 1", "invoke deploy --fase 1", "invoke deploy --phase", "invoke sandbox.up --json"]
)
def test_a_wrong_line_is_found(line: str) -> None:
    """The parser behind these tests refuses an unknown task, an unknown flag, and a flag without its value."""
    with pytest.raises(ParseError):
        parse(words(line)[1:])


def test_a_wrong_link_is_found() -> None:
    """A file or a heading that is not there is told; both being there is not."""
    assert missing("runbooks/deploy.md#phase-9", ROOT) == "runbooks/deploy.md#phase-9: no such heading"
    assert missing("runbooks/none.md", ROOT) == "runbooks/none.md: no such file"
    assert missing("runbooks/deploy.md#phase-1", ROOT) is None
