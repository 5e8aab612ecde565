"""Kinds of columns: their type and how values of it look, with the awkward ones often."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

EDGE_SHARE = 0.3
WORDS = (
    "",
    "a",
    "A",
    " a",
    "naïve",
    "日本",
    'quo"te',
    "it's",
    "back\\slash",
    "new\nline",
    "%s",
    "NULL",
    "{}",
    "\u200b",
)
LARGE_BYTES = 12_000  # not compressible, so it goes to the TOAST table


@dataclass(frozen=True)
class Kind:
    """`type`: SQL; `some`: a value as text; `edges`: awkward ones; `nth`: the n-th of endless different ones, for keys."""

    type: str
    some: Callable[[random.Random], str]
    edges: tuple[str, ...] = ()
    nth: Callable[[int], str] | None = None

    def value(self, chance: random.Random) -> str:
        """Return a value as text."""
        return chance.choice(self.edges) if self.edges and chance.random() < EDGE_SHARE else self.some(chance)


def _number(low: int, high: int) -> Callable[[random.Random], str]:
    return lambda chance: str(chance.randint(low, high))


def _word(chance: random.Random) -> str:
    return "".join(chance.choice("abcdefghij é") for _ in range(chance.randint(1, 12)))


def _bytes(chance: random.Random) -> str:
    return "\\x" + chance.randbytes(LARGE_BYTES if chance.random() < 0.05 else chance.randint(0, 40)).hex()


def _moment(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    day = f"20{10 + days // 336 % 80:02}-{days // 28 % 12 + 1:02}-{days % 28 + 1:02}"
    return f"{day} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def _range(chance: random.Random) -> str:
    low = chance.randint(0, 10_000)
    return f"[{low},{low + chance.randint(1, 5)})"


KINDS = {
    "int2": Kind("smallint", _number(-99, 99), ("-32768", "32767", "0")),
    "int": Kind("integer", _number(-1000, 1000), ("-2147483648", "2147483647", "0"), lambda n: str(n * 3 - 2000)),
    "bigint": Kind(
        "bigint", _number(0, 10**12), ("-9223372036854775808", "9223372036854775807"), lambda n: str(n * 10**9)
    ),
    "small": Kind("integer", _number(0, 9), (), str),
    "numeric": Kind(
        "numeric",
        lambda c: f"{c.randint(0, 99)}.{c.randint(0, 999):03}0",
        ("NaN", "Infinity", "-Infinity", "0", "0.000", "1e30", "-1E-20"),
        lambda n: ("NaN", "Infinity", "-Infinity")[n] if n < 3 else f"{n}.50" + "0" * (n % 3),
    ),
    "price": Kind("numeric(12,3)", lambda c: f"{c.randint(-999, 999)}.{c.randint(0, 999)}", ("NaN", "0.0005")),
    "float": Kind(
        "double precision", lambda c: repr(c.uniform(-1e6, 1e6)), ("NaN", "Infinity", "-Infinity", "-0", "1e-300")
    ),
    "real": Kind("real", lambda c: repr(c.uniform(-10, 10)), ("NaN", "-0")),
    "text": Kind("text", _word, (*WORDS, "long " * 900), lambda n: f"{WORDS[n % len(WORDS)]}{n}"),
    "plain": Kind("text", _word, ("", "A", "a")),
    "c_text": Kind('text COLLATE "C"', _word, WORDS, lambda n: f"{n % 7}/{n}/é"),
    "varchar": Kind("character varying(20)", _word, WORDS[:6], lambda n: f"v{n}"),
    "char": Kind("character(6)", lambda c: c.choice("abc"), ("", "a ", "sixsix"), lambda n: f"{n:x}"),
    "name": Kind("name", _word, ("x",)),
    "bool": Kind("boolean", lambda c: c.choice(("t", "f"))),
    "uuid": Kind(
        "uuid",
        lambda c: str(uuid.UUID(int=c.getrandbits(128))),
        ("00000000-0000-0000-0000-000000000000",),
        lambda n: str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))),
    ),
    "timestamptz": Kind(
        "timestamp with time zone",
        lambda c: _moment(c.randint(0, 10**8)) + f".{c.randint(0, 999999):06}+02",
        ("infinity", "-infinity", "2024-02-29 23:59:59.999999+00"),
        lambda n: ("infinity", "-infinity")[n] if n < 2 else _moment(n // 3) + f".00000{n % 3}+00",
    ),
    "timestamp": Kind(
        "timestamp(3) without time zone", lambda c: _moment(c.randint(0, 10**8)), ("infinity", "0044-03-15 BC")
    ),
    "date": Kind(
        "date",
        lambda c: _moment(c.randint(0, 10**8))[:10],
        ("infinity", "-infinity"),
        lambda n: _moment(n * 86_400)[:10],
    ),
    "time": Kind("time with time zone", lambda c: f"{c.randint(0, 23):02}:30:00+0{c.randint(0, 9)}", ("24:00:00+00",)),
    "interval": Kind(
        "interval", lambda c: f"{c.randint(0, 50)} mons {c.randint(-40, 40)} days", ("1 mon", "30 days", "720 hours")
    ),
    "jsonb": Kind(
        "jsonb",
        lambda c: f'{{"n": {c.randint(0, 9)}, "w": "é"}}',
        ("null", "[]", '"x"', '{"a": {"b": [1, null]}}', "1.0", "1.00"),
    ),
    "json": Kind("json", lambda c: f'{{"b" : 1,  "a": {c.randint(0, 9)}}}', ("null", '{"a":1,"a":2}', " [ ] ")),
    "bytea": Kind("bytea", _bytes, ("\\x", "\\x00ff"), lambda n: f"\\x{n:08x}"),
    "texts": Kind(
        "text[]",
        lambda c: f'{{{c.randint(0, 9)},"{c.choice("ab")}"}}',
        ("{}", "{NULL}", '{"NULL",""}', "{{a,b},{c,d}}", "[0:1]={x,y}"),
    ),
    "ints": Kind("integer[]", lambda c: f"{{{c.randint(0, 9)},{c.randint(0, 9)}}}", ("{}", "{NULL,1}")),
    "mood": Kind("kit.mood", lambda c: c.choice(("sad", "ok", "happy")), ('It\'s "fine"',)),
    "moods": Kind("kit.mood[]", lambda c: f"{{{c.choice(('sad', 'ok'))}}}", ("{}",)),
    "positive": Kind("kit.positive", _number(1, 1000), ("2147483647",), lambda n: str(n + 1)),
    "code": Kind("kit.code", _word, (" ", "%"), lambda n: f"c-{n}"),
    "pair": Kind("kit.pair", lambda c: f'({c.randint(0, 9)},"{c.choice("ab")}")', ("(,)", '(1,"a,b")')),
    "inet": Kind(
        "inet",
        lambda c: f"10.0.{c.randint(0, 255)}.{c.randint(0, 255)}",
        ("::1", "10.0.0.0/8"),
        lambda n: f"10.{n // 65536}.{n // 256 % 256}.{n % 256}",
    ),
    "range": Kind("int4range", _range, ("empty", "(,)", "[5,5]")),
    "span": Kind("tstzrange", lambda c: f"[{_moment(c.randint(0, 10**6))}+00,infinity)", ("empty", "(,)")),
    "many": Kind("int4multirange", lambda c: f"{{[1,{c.randint(2, 9)}),[20,30)}}", ("{}",)),
    "bits": Kind("bit varying(12)", lambda c: f"{c.randint(0, 4095):b}", ("", "000")),
    "point": Kind("point", lambda c: f"({c.randint(0, 9)},0.1)", ("(NaN,-0)",)),
    "tsvector": Kind("tsvector", lambda c: f"'{c.choice('ab')}':1 'z':2", ("",)),
    "slot": Kind(
        "int4range", lambda c: f"[{(n := 10 * c.randint(0, 1500))},{n + 9})", (), lambda n: f"[{n * 10},{n * 10 + 9})"
    ),
    # What the server numbers from 100 on; a client that gives the value itself takes negative ones.
    "serial": Kind("serial", _number(-9, -1), (), lambda n: str(-n - 1)),
    "numbered": Kind("integer", _number(-9, -1), (), lambda n: str(-n - 1)),
    "numbered8": Kind("bigint", _number(-9, -1), (), lambda n: str(-n - 1)),
}
SPECIAL = ("slot", "serial", "numbered", "numbered8", "small", "plain")
KEYS = tuple(name for name, kind in KINDS.items() if kind.nth and name not in SPECIAL)

# What a column may hold of a text column, as SQL and as the clients compute it.
TEMPLATES: dict[str, Callable[[str | None], str | None]] = {
    "{}": lambda over: over,
    "('x' || {})": lambda over: None if over is None else f"x{over}",
    "coalesce({}, 'none')": lambda over: "none" if over is None else over,
    "md5({})": lambda over: None if over is None else hashlib.md5(over.encode(), usedforsecurity=False).hexdigest(),
    "'fixed'": lambda over: "fixed",
}
