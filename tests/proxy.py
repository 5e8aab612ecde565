"""A proxy before an S3 server that does to requests what a bad day does: refuses, stalls, cuts, answers 503, tells another time.

Every connection carries one request. Rules are looked at in order; each acts as often as it says.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

BLOCK_BYTES = 1 << 16
UNAVAILABLE = b"<Error><Code>SlowDown</Code><Message>test</Message></Error>"


class Cut(Exception):
    """Raised by a rule: both connections end here."""


class Unavailable(Exception):
    """Raised by a rule without `after_bytes`: the answer is 503."""


@dataclass
class Rule:
    """What is done to requests of a method whose target contains a text: at once, or when that much of the body has passed.

    The body of a GET is the answer's, of anything else the request's.
    """

    method: str
    containing: str
    act: Callable[[], None]
    after_bytes: int | None = None
    times: int = 1


class Proxy:
    """Listens on a port of its own before an upstream one, both on loopback, until `close`."""

    def __init__(self, upstream: int) -> None:
        """Start listening."""
        self.rules: list[Rule] = []
        self.skew = timedelta(0)
        self.bytes_per_second: float | None = None
        self.requests = 0
        self.closed = threading.Event()
        self._upstream = upstream
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._listen()

    def close(self) -> None:
        """End every connection and stop listening."""
        self.closed.set()
        self._refuse()

    def reset(self) -> None:
        """Forget all faults."""
        with self._lock:
            self.rules.clear()
        self.skew, self.bytes_per_second = timedelta(0), None

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections within the block, and cut those that are there."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()

    def refuse(self) -> None:
        """Refuse connections from now on, and cut those that are there."""
        self._refuse()

    def accept(self) -> None:
        """Listen again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listen()

    def stall(self) -> None:
        """Act of a rule: say nothing until the proxy is closed."""
        self.closed.wait()
        raise Cut

    def cut(self) -> None:
        """Act of a rule: end the connection."""
        raise Cut

    def unavailable(self) -> None:
        """Act of a rule: answer 503."""
        raise Unavailable

    def _refuse(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            left = list(self._open)
        for one in left:
            _end(one)

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            with self._lock:
                self._open.add(client)
            head, body = _head(client)
            if not head:
                return
            self.requests += 1
            method, target = head.split(b" ", 2)[0].decode(), head.split(b" ", 2)[1].decode()
            length = int(found[1]) if (found := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)) else 0
            try:
                self._act(method, target, None)
            except Unavailable:
                if b"100-continue" not in head.lower():
                    _drain(client, length - len(body))
                _answer(client, method)
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            with self._lock:
                self._open.add(server)
            server.sendall(_closing(head))
            threading.Thread(target=self._send, args=(client, server, method, target, body, length), daemon=True).start()
            self._receive(client, server, method, target)
        except (OSError, Cut):
            pass
        finally:
            for one in (client, server):
                if one is not None:
                    with self._lock:
                        self._open.discard(one)
                    _end(one)

    def _send(self, client: socket.socket, server: socket.socket, method: str, target: str, block: bytes, length: int) -> None:
        passed = 0
        try:
            while True:
                passed = self._pass(server, block, passed, None if method == "GET" else (method, target))
                if passed >= length or not (block := client.recv(min(BLOCK_BYTES, length - passed))):
                    return
        except (OSError, Cut):
            _end(client)
            _end(server)

    def _receive(self, client: socket.socket, server: socket.socket, method: str, target: str) -> None:
        while True:
            head, block = _head(server)
            if not head.startswith(b"HTTP/1.1 100"):
                break
            client.sendall(head)
        if not head:
            return
        client.sendall(_closing(self._dated(head)))
        passed = 0
        while block or (block := server.recv(BLOCK_BYTES)):
            passed = self._pass(client, block, passed, (method, target) if method == "GET" else None)
            block = b""

    def _pass(self, to: socket.socket, block: bytes, passed: int, request: tuple[str, str] | None) -> int:
        if block:
            to.sendall(block)
            if self.bytes_per_second:
                time.sleep(len(block) / self.bytes_per_second)
        if request and block:
            self._act(*request, passed + len(block))
        return passed + len(block)

    def _act(self, method: str, target: str, passed: int | None) -> None:
        """Let the first rule that fits act; `passed`: how much of the body is through, None before any of it."""
        with self._lock:
            for rule in self.rules:
                due = passed is None if rule.after_bytes is None else passed is not None and passed >= rule.after_bytes
                if due and rule.times > 0 and rule.method in (method, "*") and rule.containing in target:
                    rule.times -= 1
                    break
            else:
                return
        rule.act()

    def _dated(self, head: bytes) -> bytes:
        def shifted(found: re.Match[bytes]) -> bytes:
            return b"\r\nDate: " + format_datetime(parsedate_to_datetime(found[1].decode()) + self.skew, usegmt=True).encode()

        return re.sub(rb"(?i)\r\ndate: *([^\r]+)", shifted, head)


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return a head with its empty line, and what came of the body with it; two times nothing when the connection ends."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(BLOCK_BYTES)
        if not block:
            return b"", b""
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _closing(head: bytes) -> bytes:
    kept = re.sub(rb"(?i)\r\nconnection: *[^\r]*", b"", head)
    return kept.removesuffix(b"\r\n\r\n") + b"\r\nConnection: close\r\n\r\n"


def _answer(client: socket.socket, method: str) -> None:
    body = b"" if method == "HEAD" else UNAVAILABLE
    head = f"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode() + body)


def _drain(client: socket.socket, missing: int) -> None:
    while missing > 0 and (block := client.recv(min(BLOCK_BYTES, missing))):
        missing -= len(block)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
