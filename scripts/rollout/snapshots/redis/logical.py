"""The content of a Redis key by key: SCAN and DUMP with expiries, and back with RESTORE or the commands of a rewrite.

Needs no replication, so it works on managed servers, across versions and into clusters. Each key is whole; two keys may
be of different moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import redis
from redis.cluster import RedisCluster

from rollout.errors import Failed
from rollout.snapshots.records import Progress, quiet
from rollout.snapshots.redis.client import Ask, batch, command, databases, encode, scan, session
from rollout.snapshots.redis.stream import Words

BATCH_KEYS = 500
BATCH_BYTES = 4 * 1024 * 1024
ERRORS_SHOWN = 3
Client = redis.Redis | RedisCluster
Dumped = tuple[bytes, bytes | None, int]  # key, payload (None: there is no such key), expiry in ms since 1970 or 0


def knows_expiretime(client: redis.Redis) -> bool:
    """Say whether the server tells when a key expires (Redis 7.0 and newer), and not only how long it has left."""
    try:
        command(client, "PEXPIRETIME", "rollout:no such key")
    except redis.ResponseError:
        return False
    return True


def read_keys(ask: Ask, keys: list[bytes], *, exact: bool, atomic: bool = True) -> list[Dumped]:
    """Return payload and expiry of keys of the selected database; `atomic`: each key's two in a transaction of its own.

    `exact`: PEXPIRETIME; else the server's clock and PTTL, which may be some milliseconds off.
    """
    asked = [b"PEXPIRETIME"] if exact else [b"TIME", b"PTTL"]
    commands = []
    for key in keys:
        reading = [encode([word] if word == b"TIME" else [word, key]) for word in [*asked, b"DUMP"]]
        commands += [encode(["MULTI"]), *reading, encode(["EXEC"])] if atomic else reading
    answers, step = ask(commands), len(asked) + 1
    per_key = answers[step + 1 :: step + 2] if atomic else [answers[n : n + step] for n in range(0, len(answers), step)]
    found: list[Dumped] = []
    for key, answer in zip(keys, per_key, strict=True):
        if isinstance(answer, Exception) or any(isinstance(one, Exception) for one in answer):
            raise Failed(
                f"the server refused to DUMP {key[:40]!r}: {answer}", next="give the runner's user +dump +multi"
            )
        found.append((key, answer[-1], _expiry(answer[:-1])))
    return found


def records(
    client: redis.Redis, progress: Progress = quiet, match: str | None = None, only: int | None = None
) -> Iterator[tuple[int, list[Dumped]]]:
    """Yield every key of every database, or of the `only` one, in batches with the database's number; what vanished
    meanwhile is left out.

    A key that SCAN shows twice comes twice: the later one holds. Memory is bounded by 500 keys.
    """
    exact = knows_expiretime(client)
    held = [one for one in databases(client) if only in {None, one[0]}]
    total, done = sum(keys for _, keys, _ in held), 0
    for database, _, _ in held:
        command(client, "SELECT", database)
        for keys in scan(client, BATCH_KEYS, match):
            with session(client) as ask:
                found = [one for one in read_keys(ask, keys, exact=exact) if one[1] is not None]
            done += len(keys)
            progress("read Redis keys", done, total)
            if found:
                yield database, found
    command(client, "SELECT", 0)


def restoring(batches: Iterable[tuple[int, list[Dumped]]]) -> Iterator[Words]:
    """Yield the commands that bring such keys back: SELECT where the database changes, RESTORE of each."""
    selected = None
    for database, found in batches:
        if database != selected:
            yield [b"SELECT", b"%d" % database]
            selected = database
        for one in found:
            yield restore_words(*one)


def restore_words(key: bytes, payload: bytes | None, expires_ms: int) -> Words:
    """Return the command that makes a key what it was; one that was not there is unlinked."""
    if payload is None:
        return [b"UNLINK", key]
    return [b"RESTORE", key, b"%d" % expires_ms, payload, b"REPLACE", b"ABSTTL"]


def send(client: Client, commands: Iterable[Words], host: str, progress: Progress = quiet) -> int:
    """Send commands in pipelines and return how many; raise Failed with the first errors when the server refused some.

    The client's selected database is the first again afterwards. A cluster's client routes each by its key.
    """
    sent, waiting, size = 0, [], 0
    for words in commands:
        waiting.append(words)
        size += sum(map(len, words))
        if len(waiting) >= BATCH_KEYS or size >= BATCH_BYTES:
            sent += _send_batch(client, waiting, host)
            waiting, size = [], 0
            progress("write Redis commands", sent, None)
    sent += _send_batch(client, [*waiting, [b"SELECT", b"0"]], host) - 1
    progress("write Redis commands", sent, None)
    return sent


def unlink_others(client: redis.Redis, source: redis.Redis, progress: Progress = quiet) -> int:
    """Unlink every key of a server that `source` has not, and return how many; memory is bounded by 500 keys."""
    gone = 0
    for database, _, _ in databases(client):
        for end in (client, source):
            command(end, "SELECT", database)
        for keys in scan(client, BATCH_KEYS):
            with source.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.exists(key)
                others = [key for key, there in zip(keys, pipe.execute(), strict=True) if not there]
            with client.pipeline(transaction=False) as pipe:
                for key in others:
                    pipe.unlink(key)
                gone += sum(pipe.execute())
            progress("unlink Redis keys", gone, None)
    for end in (client, source):
        command(end, "SELECT", 0)
    return gone


def _send_batch(client: Client, waiting: list[Words], host: str) -> int:
    if isinstance(client, RedisCluster):
        waiting = [words for words in waiting if words != [b"SELECT", b"0"]]  # a cluster has no other
        with client.pipeline() as pipe:  # type: ignore[no-untyped-call]
            for words in waiting:
                pipe.execute_command(words[0].decode(), *words[1:])
            answers = pipe.execute(raise_on_error=False)
    else:
        answers = batch(client, map(encode, waiting))
    wrong = [(w, a) for w, a in zip(waiting, answers, strict=True) if isinstance(a, Exception)]
    if wrong:
        said = "; ".join(f"{w[0].decode()} {w[1][:40]!r}: {a}" for w, a in wrong[:ERRORS_SHOWN])
        raise Failed(
            f"{host} refused {len(wrong):,} of {len(waiting):,} commands: {said}",
            next="see what it lacks: a type, a module, memory, or the rights of the runner's user",
        )
    return len(waiting)


def _expiry(answers: list[Any]) -> int:
    """Return when a key expires in ms since 1970, 0 for never, from PEXPIRETIME, or TIME and PTTL."""
    if len(answers) == 1:
        return max(0, int(answers[0]))
    (seconds, micros), left = answers
    return int(seconds) * 1000 + int(micros) // 1000 + int(left) if int(left) >= 0 else 0
