"""How a Redis is reached: with the password from a file, over TLS where the inventory says so, without retries."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rollout import environment
from rollout.errors import BadInput, Failed

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """What a server says about itself. `version` is (major, minor); `cluster` says whether it is a cluster's node."""

    product: str
    full_version: str
    run_id: str
    acl_users: int
    cluster: bool
    used_bytes: int
    replica: bool

    @property
    def version(self) -> tuple[int, int]:
        """Return the first two numbers of its version."""
        return major_minor(self.full_version)


def password(server: environment.Redis) -> str | None:
    """Return the password of a server's user; raise BadInput when the file cannot be used or others can read it."""
    if server.passfile is None:
        return None
    path = Path(server.passfile)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        word = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the password of {server.host} cannot be read from {path}: {type(error).__name__}",
            limit="a file with the password and nothing else",
            next=f"correct redis_passfile of {server.host} in the inventory, or the file",
        ) from None
    if mode & 0o077:
        raise BadInput(f"{path} can be read by others (mode {mode:04o})", limit="mode 0600", next=f"chmod 600 {path}")
    return word


def connect(server: environment.Redis) -> redis.Redis:
    """Return a client without retries (each wait here has its own deadline); nothing is sent yet."""
    return redis.Redis(
        host=server.address,
        port=server.port,
        username=server.user,
        password=password(server),
        ssl=server.tls,
        ssl_ca_certs=server.tls_ca,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def command(client: redis.Redis, *words: str | bytes | int) -> Any:
    """Send a command and return the answer as it comes; raise the server's error."""
    (answer,) = batch(client, [encode(words)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def encode(words: Iterable[bytes | str | int]) -> bytes:
    """Return a command in Redis's protocol."""
    raw = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"".join([b"*%d\r\n" % len(raw), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)])


Ask = Callable[[Iterable[bytes]], list[Any]]


@contextmanager
def session(client: redis.Redis) -> Iterator[Ask]:
    """Yield a function that sends encoded commands at once, over one and the same connection until the end of the
    block, and returns their answers as they come, an error being one of them.

    So WATCH, MULTI and EXEC mean what they say; nothing is put into other types on the way.
    """
    connection: Any = client.connection_pool.get_connection()

    def ask(commands: Iterable[bytes]) -> list[Any]:
        packed = list(commands)
        connection.send_packed_command([b"".join(packed)])
        return [_answer(connection) for _ in packed]

    try:
        yield ask
    except BaseException:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


def batch(client: redis.Redis, commands: Iterable[bytes]) -> list[Any]:
    """Send encoded commands at once and return their answers, as a session of its own does."""
    with session(client) as ask:
        return ask(commands)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def major_minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def asked(server: environment.Redis) -> Server:
    """Return what a server says about itself; raise Failed when it does not answer."""
    try:
        with connect(server) as client:
            try:
                users = len(cast(list[bytes], client.acl_list()))
            except redis.ResponseError:
                users = 0
            info: dict[str, Any] = client.info()
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Failed(f"Redis {server.host} does not answer: {error}", next="invoke sandbox.status") from None
    except redis.ResponseError as error:
        raise Failed(
            f"Redis {server.host} refused INFO: {error}", next="correct redis_user and redis_passfile, or its rights"
        ) from None
    product = str(info.get("server_name", "redis"))
    return Server(
        product=product,
        full_version=str(info.get(f"{product}_version", info["redis_version"])),
        run_id=str(info["run_id"]),
        acl_users=users,
        cluster=bool(int(info.get("cluster_enabled", 0))),
        used_bytes=int(info.get("used_memory", 0)),
        replica=info.get("role") == "slave",
    )


def databases(client: redis.Redis) -> list[tuple[int, int, int]]:
    """Return (number, keys, keys that expire) of each database that is not empty."""
    info = cast(dict[str, dict[str, Any]], client.info("keyspace"))
    return [(int(name.removeprefix("db")), int(e["keys"]), int(e["expires"])) for name, e in info.items()]


def scan(client: redis.Redis, count: int, match: str | None = None) -> Iterator[list[bytes]]:
    """Yield the keys of the selected database, some `count` at a time; a key may come twice, as SCAN has it."""
    cursor = 0
    while True:
        cursor, keys = cast(tuple[int, list[bytes]], client.scan(cursor, match=match, count=count))
        if keys:
            yield keys
        if cursor == 0:
            return


@contextmanager
def put_back(client: redis.Redis, name: str, value: str) -> Iterator[None]:
    """Hold a CONFIG parameter at `value` within the block; put the old value back whatever happens."""
    found = cast(dict[str, str], client.config_get(name))[name]
    client.config_set(name, value)
    try:
        yield
    except BaseException:
        with suppress(redis.ConnectionError, redis.TimeoutError):  # gone with the server: what went wrong is said
            client.config_set(name, found)
        raise
    client.config_set(name, found)
