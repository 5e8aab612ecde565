"""YAML that knows its lines: a wrong key or value is told with its line and with the right word nearest to it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollout.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str, ...]
# libyaml's where the wheel has it: a plan is read again and again, and the one in Python takes ten times as long.
FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong: its line (from 1) and what it is."""

    line: int
    words: str


@dataclass
class Document:
    """A YAML file as read. `name` is how people call the file, `twice` which keys stand in it more than once."""

    name: str
    content: Any = None
    twice: list[Wrong] = field(default_factory=list)
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, *place: str | int) -> int:
        """Return the line of a key or an item, or of the nearest thing around it that is there."""
        parts = tuple(str(part) for part in place)
        return next((self.lines[parts[:n]] for n in range(len(parts), -1, -1) if parts[:n] in self.lines), 1)

    def error(self, wrong: Wrong, next: str = "correct it") -> BadInput:
        """Return the error that a person reads."""
        return BadInput(f"{self.name}:{wrong.line}: {wrong.words}", next=next)

    def at(self, words: str, *place: str | int) -> Wrong:
        """Return what is wrong at a place."""
        return Wrong(self.line(*place), words)

    def checked(self, model: type[Model]) -> tuple[Model | None, list[Wrong]]:
        """Return the content as a model, or None, and everything that is wrong with it, by line."""
        try:
            return (model.model_validate(self.content) if not self.twice else None), self.twice
        except ValidationError as error:
            found = error.errors()
        unknown = {(*map(str, e["loc"][:-1]), _near(model, e)) for e in found if e["type"] == "extra_forbidden"}
        # What is lacking only because it is misspelt is told once, by its misspelling.
        told = [e for e in found if e["type"] != "missing" or tuple(map(str, e["loc"])) not in unknown]
        wrong = [self.at(_words(model, e), *_place(e)) for e in told]
        return None, sorted([*self.twice, *wrong], key=lambda w: w.line)

    def require(self, model: type[Model]) -> Model:
        """Return the content as a model; raise BadInput with the first thing that is wrong."""
        found, wrong = self.checked(model)
        if found is None:
            more = "correct it" if len(wrong) == 1 else f"correct it; {len(wrong) - 1} more: invoke change.lint"
            raise self.error(wrong[0], more)
        return found


class NotYaml(BadInput):
    """A file is no YAML: `document` knows its name, `wrong` the line."""

    def __init__(self, document: Document, wrong: Wrong) -> None:
        """`wrong`: what the parser says."""
        super().__init__(f"{document.name}:{wrong.line}: {wrong.words}", next="correct it")
        self.document, self.wrong = document, wrong


def read(path: Path, name: str) -> Document:
    """Read a YAML file that people call `name`; raise NotYaml when it is no YAML, FileNotFoundError when it is not there."""
    text = path.read_bytes()
    try:
        return _read(text, name, FAST)
    except NotYaml:
        return _read(text, name, yaml.SafeLoader)  # whose words say more


def _read(text: bytes, name: str, loading: Any) -> Document:
    document = Document(name)
    try:
        loader = loading(text)
        node = loader.get_single_node()
        if node is not None:
            document.lines.update(_walk(node, (), document.twice))
            document.content = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        wrong = Wrong(mark.line + 1 if mark else 1, f"this is not YAML: {error.problem}")
        raise NotYaml(document, wrong) from None
    except yaml.YAMLError as error:
        raise NotYaml(document, Wrong(1, f"this is not YAML: {' '.join(str(error).split())}")) from None
    return document


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ` (did you mean X?)`, or what is known when nothing is near."""
    close = difflib.get_close_matches(word, known, 1) or [k for k in known if word and k.startswith(word)]
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"


def _walk(node: yaml.Node, place: Place, twice: list[Wrong]) -> Iterator[tuple[Place, int]]:
    """Yield each place below a node with its line: a key's own, or where an item begins."""
    if not place:
        yield place, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*place, str(number)), item.start_mark.line + 1
            yield from _walk(item, (*place, str(number)), twice)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                twice.append(Wrong(line, f'key "{name}"{_in(place)} stands here twice (first in line {lines[name]})'))
            lines[name] = line
            yield (*place, name), line
            yield from _walk(value, (*place, name), twice)


def _place(error: ErrorDetails) -> list[str | int]:
    return [part for part in error["loc"] if part != "[key]"]


def _words(model: type[BaseModel], error: ErrorDetails) -> str:
    place, kind = _place(error), error["type"]
    if kind == "extra_forbidden":
        return f'unknown key "{place[-1]}"{_in(place[:-1])}{nearest(str(place[-1]), _known(model, place[:-1]))}'
    if kind == "missing":
        return f'key "{place[-1]}" is lacking{_in(place[:-1])}'
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))
        return f'{_shown(place)} is "{error["input"]}"{nearest(str(error["input"]), known)}'
    if kind == "value_error":
        return f"{_shown(place) + ': ' if place else ''}{error['ctx']['error']}"
    found = "nothing" if error["input"] is None else f"{error['input']!r}"
    should = "a mapping of keys to values" if kind == "model_type" else error["msg"].removeprefix("Input should be ")
    return f"{_shown(place) or 'the file'} should be {should}, not {found}"


def _near(model: type[BaseModel], error: ErrorDetails) -> str:
    place = _place(error)
    return next(iter(difflib.get_close_matches(str(place[-1]), _known(model, place[:-1]), 1)), "")


def _known(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand at a place."""
    found: Any = model
    for part in place:
        if isinstance(found, type) and issubclass(found, BaseModel):
            fields = {f.alias or name: f for name, f in found.model_fields.items()}
            found = fields[str(part)].annotation
        else:
            found = get_args(found)[-1]
        if get_origin(found) not in (list, dict):  # X | None
            found = next(iter(a for a in get_args(found) if a is not type(None)), found)
    return [f.alias or name for name, f in found.model_fields.items()]


def _shown(place: Sequence[str | int]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) or p.isdigit() else f".{p}" for p in place).removeprefix(".")


def _in(place: Sequence[str | int]) -> str:
    return f" in {_shown(place)}" if place else ""
