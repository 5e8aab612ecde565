"""Objects that are encrypted before they leave the runner: the age format, through pyrage, in bounded memory.

The inventory names the public key (`object_store.recipient`) and, where snapshots are to be proven or restored, the file of the
private one (`object_store.identity_file`, mode 0600). What was encrypted carries `.age` at the end of its key; the SHA-256 that
is kept is of the encrypted bytes, so that an object can be verified without the private key.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from pathlib import Path
from typing import IO, Any

import pyrage  # type: ignore[import-untyped]

from rollout.errors import BadInput, Failed

SUFFIX = ".age"
PAGE = "runbooks/snapshots.md#encryption"


def key_of(key: str, recipient: str | None) -> str:
    """Return the key under which an object is stored, encrypted or not."""
    return f"{key}{SUFFIX}" if recipient else key


def seal(stream: IO[bytes], recipient: str | None) -> IO[bytes]:
    """Return a stream of what is to be stored; raise BadInput when the recipient is no age public key."""
    return io.BufferedReader(_Sealing(stream, _recipient(recipient)), 1 << 20) if recipient else stream


def seal_bytes(body: bytes, recipient: str | None) -> bytes:
    """Return what is to be stored of a small object."""
    return bytes(pyrage.encrypt(body, [_recipient(recipient)])) if recipient else body


def open_bytes(key: str, body: bytes, identity_file: str | None) -> bytes:
    """Return what was sealed; raise Failed when it does not open, BadInput without a usable private key."""
    if not key.endswith(SUFFIX):
        return body
    try:
        return bytes(pyrage.decrypt(body, [_identity(identity_file)]))
    except pyrage.DecryptError as error:
        raise _damaged(key, error) from None


def opener(key: str, to: Any, identity_file: str | None) -> Any:
    """Return a writer that passes what it is given on to `to`, decrypted; to be closed when all is written."""
    return _Opening(key, to, _identity(identity_file))


class _Sealing(io.RawIOBase):
    """The encrypted bytes of a stream, as they are read; an error of the stream is raised here, at the end or before it."""

    def __init__(self, stream: IO[bytes], recipient: Any) -> None:
        self._error: BaseException | None = None
        self._reading, writing = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(stream, writing, recipient), name="seal", daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = os.read(self._reading, len(buffer))
        if not block:
            self._thread.join()
            if self._error is not None:  # else half a stream would look like a whole one
                raise self._error
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            os.close(self._reading)  # a thread that still writes then ends
            self._thread.join()
        super().close()

    def _run(self, stream: IO[bytes], writing: int, recipient: Any) -> None:
        guarded = _Guarded(stream)
        try:
            with os.fdopen(writing, "wb") as out:
                pyrage.encrypt_io(guarded, out, [recipient])
        except BaseException as error:  # noqa: BLE001  handed to whoever reads
            self._error = guarded.error or error


class _Guarded(io.RawIOBase):
    """A stream whose own error is kept: what calls it from native code tells of it in its own words."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._stream.read(len(buffer))
        except BaseException as error:
            self.error = error
            raise
        buffer[: len(block)] = block
        return len(block)


class _Opening:
    """Decrypts what it is given in a thread, and passes it on."""

    def __init__(self, key: str, to: Any, identity: Any) -> None:
        self._key, self._to = key, to
        self._error: BaseException | None = None
        reading, self._writing = os.pipe()
        self._out: IO[bytes] = os.fdopen(self._writing, "wb")
        self._thread = threading.Thread(target=self._run, args=(reading, identity), name="open", daemon=True)
        self._thread.start()

    def write(self, block: bytes) -> int:
        try:
            return self._out.write(block)
        except BrokenPipeError:
            self._thread.join()
            raise self._error or _damaged(self._key, "it is longer than it was") from None

    def close(self) -> None:
        """Return when everything was passed on; raise what went wrong."""
        with contextlib.suppress(BrokenPipeError):  # the thread has said why
            self._out.close()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, reading: int, identity: Any) -> None:
        guarded = _GuardedWriter(self._to)
        with os.fdopen(reading, "rb") as sealed:
            try:
                pyrage.decrypt_io(sealed, guarded, [identity])
            except BaseException as error:  # noqa: BLE001  handed to whoever closes
                self._error = guarded.error or _damaged(self._key, error)


class _GuardedWriter:
    """A writer whose own error is kept, for the same reason."""

    def __init__(self, to: Any) -> None:
        self._to = to
        self.error: BaseException | None = None

    def write(self, block: bytes) -> int:
        try:
            self._to.write(block)
        except BaseException as error:
            self.error = error
            raise
        return len(block)

    def flush(self) -> None:
        """Do nothing: `to` is flushed by its owner."""


def _damaged(key: str, why: object) -> Failed:
    return Failed(
        f"{key} does not decrypt: {why}",
        next="see that object_store.identity_file is the private key of then; else use an older object",
        page=PAGE,
    )


def _recipient(text: str | None) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text or "")
    except pyrage.RecipientError:
        words = f"object_store.recipient {text!r} is no age public key"
        raise BadInput(words, limit="age1...", next="age-keygen makes one", page=PAGE) from None


def _identity(path: str | None) -> Any:
    if path is None:
        limit = "object_store.identity_file in the inventory"
        raise BadInput("the object is encrypted", limit=limit, next="name the private key's file", page=PAGE)
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
        lines = Path(path).read_text().splitlines()
        found = pyrage.x25519.Identity.from_str(next(line for line in lines if line.startswith("AGE-SECRET-KEY-")))
    except (OSError, StopIteration, UnicodeDecodeError, pyrage.IdentityError):  # never quote a line of it
        limit = "as age-keygen writes it"
        raise BadInput(f"{path} holds no age private key", limit=limit, next="name its file", page=PAGE) from None
    if mode & 0o077:
        raise BadInput(f"{path} can be read by others (mode {mode:04o})", limit="mode 0600", next=f"chmod 600 {path}")
    return found
