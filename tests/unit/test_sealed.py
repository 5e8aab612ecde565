"""Encryption on the way to the store and back: whole or an error, never half; and no word of a private key in any message."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyrage
import pytest

from rollout import sealed
from rollout.errors import BadInput, Failed


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    """A public key, and the file of its private one."""
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path / "identity"
    path.touch(0o600)
    path.write_text(f"# a comment\n{identity}\n")
    return str(identity.to_public()), str(path)


def _sealed(body: bytes, recipient: str) -> bytes:
    with sealed.seal(io.BytesIO(body), recipient) as stream:
        return stream.read()


def _opened(body: bytes, identity_file: str) -> bytes:
    out = io.BytesIO()
    opener = sealed.opener("k.age", out, identity_file)
    for at in range(0, len(body), 65_536):
        opener.write(body[at : at + 65_536])
    opener.close()
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_what_is_sealed_opens(keys: tuple[str, str], size: int) -> None:
    """Of any size, as a stream and in one piece; in between nothing of it can be read."""
    body = b"secret words " * (size // 13) + b"x" * (size % 13)
    packed = _sealed(body, keys[0])
    assert b"secret words" not in packed
    assert _opened(packed, keys[1]) == body
    assert sealed.open_bytes("k.age", sealed.seal_bytes(body, keys[0]), keys[1]) == body


def test_without_a_recipient_nothing_changes() -> None:
    """Keys and streams pass as they are."""
    stream = io.BytesIO(b"plain")
    assert sealed.seal(stream, None) is stream
    assert sealed.key_of("a/b", None) == "a/b"
    assert sealed.key_of("a/b", "age1x") == "a/b.age"
    assert sealed.open_bytes("a/b", b"plain", None) == b"plain"


def test_an_error_of_the_stream_is_not_its_end(keys: tuple[str, str]) -> None:
    """A program that fails behind the stream must not leave an object that looks whole."""

    class Broken(io.RawIOBase):
        left = 3

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise Failed("pg_dump exited with 1", next="")
            return b"x" * min(size, 100_000)

    with pytest.raises(Failed, match="pg_dump exited"), sealed.seal(Broken(), keys[0]) as stream:  # type: ignore[arg-type]
        stream.read()


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:-20] + bytes([b[-20] ^ 1]) + b[-19:], lambda b: b + b"x"])
def test_damage_does_not_open(keys: tuple[str, str], change: Any) -> None:
    """Cut, flipped or longer: said by name."""
    packed = change(_sealed(b"y" * 200_000, keys[0]))
    with pytest.raises(Failed, match=r"k\.age does not decrypt"):
        _opened(packed, keys[1])


def test_keys_that_are_none_are_bad_input(keys: tuple[str, str], tmp_path: Path) -> None:
    """A wrong public key, no private one, one that others can read, one that is another's."""
    packed = _sealed(b"y", keys[0])
    with pytest.raises(BadInput, match="no age public key"):
        sealed.seal(io.BytesIO(), "age1nonsense")
    with pytest.raises(BadInput, match="encrypted"):
        sealed.open_bytes("k.age", packed, None)
    Path(keys[1]).chmod(0o644)
    with pytest.raises(BadInput, match="read by others") as said:
        sealed.open_bytes("k.age", packed, keys[1])
    other = tmp_path / "other"
    other.touch(0o600)
    other.write_text("AGE-SECRET-KEY-1NOTAKEY")
    with pytest.raises(BadInput, match="holds no age private key") as also:
        sealed.open_bytes("k.age", packed, str(other))
    assert "NOTAKEY" not in f"{said.value}{also.value}"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(Failed, match="does not decrypt"):
        sealed.open_bytes("k.age", packed, str(other))
