"""Redis commands as a stream of bytes, as a server itself reads and writes them, compressed with zstd.

A stream describes itself and shows whether it is whole: it begins with an ECHO of a header and ends with an ECHO of
how many commands stand between. `zstd -d | redis-cli --pipe` restores it without this program.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

import zstandard

from rollout.errors import Failed
from rollout.snapshots.redis.client import encode

FORMAT = "penguin-rollout redis commands 1"
LEVEL = 3
BLOCK_BYTES = 1024 * 1024
LINE_MAX = 64
Words = list[bytes]


def decode(stream: IO[bytes]) -> Iterator[Words]:
    """Yield the commands of a stream; memory is bounded by the largest. Raise Failed at whatever is no command."""
    while line := stream.readline(LINE_MAX):
        if line.startswith(b"#"):
            continue  # an append-only file may hold timestamps
        yield [_word(stream) for _ in range(_number(line, b"*"))]


class Compressed(io.RawIOBase):
    """What a generator of commands yields, as a readable stream: framed and compressed; `commands` counts them."""

    def __init__(self, header: dict[str, Any], commands: Iterable[Words]) -> None:
        """`header`: what the stream says of itself, beside its format."""
        super().__init__()
        self.commands = 0
        self._source = self._framed(header, commands)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._ready = bytearray()
        self._ended = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill `target` as far as possible, and return how far; 0 at the end."""
        while not self._ready and not self._ended:
            block = bytearray()
            for words in self._source:
                block += words
                if len(block) >= BLOCK_BYTES:
                    break
            self._ended = not block
            self._ready += self._compressor.flush() if self._ended else self._compressor.compress(bytes(block))
        taken = min(len(target), len(self._ready))
        target[:taken] = self._ready[:taken]
        del self._ready[:taken]
        return taken

    def _framed(self, header: dict[str, Any], commands: Iterable[Words]) -> Iterator[bytes]:
        yield encode(["ECHO", json.dumps({"format": FORMAT, **header})])
        for words in commands:
            self.commands += 1
            yield encode(words)
        yield encode(["ECHO", json.dumps({"commands": self.commands})])


def commands(source: IO[bytes]) -> Iterator[Words]:
    """Yield the commands between header and end of a compressed stream; raise Failed when it is cut off or another's."""
    reader = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True), BLOCK_BYTES)
    count, told = -1, -1
    try:
        for words in decode(reader):
            if words[0] == b"ECHO":
                about = json.loads(words[1])
                if count < 0 and about.get("format") != FORMAT:
                    raise Failed(f"the stream is of the format {about.get('format')}", next="read it with its program")
                told = about.get("commands", told)
            else:
                yield words
            count += 1
    except (zstandard.ZstdError, json.JSONDecodeError) as error:
        raise _broken(str(error)) from None
    if told != count - 1 or count < 1:
        raise _broken(f"{max(0, count):,} commands and no end")


def _word(stream: IO[bytes]) -> bytes:
    size = _number(stream.readline(LINE_MAX), b"$")
    word = stream.read(size + 2)
    if len(word) != size + 2 or not word.endswith(b"\r\n"):
        raise _broken("a command without its end")
    return word[:-2]


def _number(line: bytes, kind: bytes) -> int:
    if not line.startswith(kind) or not line.endswith(b"\r\n") or not line[1:-2].isdigit():
        raise _broken(f"{line[:20]!r} where a command should be")
    return int(line[1:-2])


def _broken(how: str) -> Failed:
    return Failed(f"the stream of commands is broken: {how}", next="use another snapshot, and keep this one")
