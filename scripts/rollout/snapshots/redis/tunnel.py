"""A way for a helper server, which speaks no TLS, to a server that speaks nothing else: bytes through a port of
127.0.0.1."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rollout import environment
from rollout.snapshots.redis.client import CONNECT_SECONDS

BLOCK_BYTES = 64 * 1024


@contextmanager
def way_to(server: environment.Redis) -> Iterator[tuple[str, int]]:
    """Yield the address and port where a plain client finds a server, until the end of the block: its own, or a
    tunnel's when it wants TLS. Certificate and name are checked for each connection."""
    if not server.tls:
        yield server.address, server.port
        return
    context = ssl.create_default_context(cafile=server.tls_ca)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, server, context), daemon=True).start()
        try:
            yield "127.0.0.1", listening.getsockname()[1]
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, server: environment.Redis, context: ssl.SSLContext) -> None:
    while True:
        try:
            near, _ = listening.accept()
        except OSError:
            return  # the block has ended
        try:
            far = context.wrap_socket(
                socket.create_connection((server.address, server.port), CONNECT_SECONDS),
                server_hostname=server.address,
            )
            far.settimeout(None)
        except OSError:
            near.close()
            continue
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=_pass, args=(one, other), daemon=True).start()


def _pass(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while block := one.recv(BLOCK_BYTES):
            other.sendall(block)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
