"""Which server reads what, and streams of commands: whole or refused."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import environment
from rollout.errors import BadInput, Failed, Refused
from rollout.snapshots.records import KeyBucket, Keyspace
from rollout.snapshots.redis import beside, client, compat, keyspace, rewrite, stream

WORDS = st.lists(
    st.lists(st.binary(max_size=50), min_size=1, max_size=4).filter(lambda w: w[0] != b"ECHO"), max_size=30
)


@pytest.mark.parametrize(
    ("written", "reader", "reads"),
    [
        (("redis", (7, 2)), ("valkey", (8, 0)), True),
        (("redis", (7, 2)), ("valkey", (9, 1)), True),
        (("redis", (7, 4)), ("valkey", (9, 1)), False),
        (("redis", (8, 0)), ("redis", (7, 4)), True),  # the same RDB 12
        (("redis", (7, 2)), ("redis", (7, 0)), False),
        (("redis", (6, 2)), ("redis", (6, 0)), True),
        (("redis", (7, 0)), ("redis", (6, 2)), False),
        (("valkey", (8, 1)), ("redis", (7, 2)), True),  # RDB 11 is shared
        (("valkey", (9, 0)), ("valkey", (8, 1)), False),
        (("valkey", (9, 0)), ("redis", (8, 4)), False),
        (("valkey", (8, 0)), ("valkey", (9, 0)), True),
    ],
)
def test_who_reads_what(written: tuple[str, tuple[int, int]], reader: tuple[str, tuple[int, int]], reads: bool) -> None:
    """By product, version and the number of the RDB; a refusal names the logical way."""
    assert compat.reads(compat.of(*written), *reader) is reads
    if not reads:
        with pytest.raises(Refused) as refused:
            compat.require_reads(compat.of(*written), "redis-1", *reader)
        assert "logical" in refused.value.next


@given(WORDS)
def test_a_stream_comes_back_as_it_was(words: list[list[bytes]]) -> None:
    """Any bytes, any number of commands."""
    packed = stream.Compressed({"host": "redis-1"}, words).readall()
    assert packed is not None
    assert list(stream.commands(io.BytesIO(packed))) == words


@given(WORDS, st.integers(min_value=0, max_value=10_000), st.booleans())
def test_a_cut_or_changed_stream_is_never_taken_for_another(words: list[list[bytes]], place: int, cut: bool) -> None:
    """Wherever it ends or one byte differs, reading it fails, or it has every command (its last bytes are a sum)."""
    packed = bytearray(stream.Compressed({}, words).readall() or b"")
    place %= len(packed)
    if cut:
        del packed[place:]
    else:
        packed[place] ^= 0xFF
    with contextlib.suppress(Failed):
        assert list(stream.commands(io.BytesIO(bytes(packed)))) == words


def test_a_rewrite_begins_each_key_anew_and_speaks_to_old_servers() -> None:
    """Else lists would grow; what streams count since 7.0 and functions are left out for Redis 6."""
    written = [
        [b"FUNCTION", b"LOAD", b"code"], [b"SELECT", b"0"], [b"RPUSH", b"l", b"1"], [b"RPUSH", b"l", b"2"],
        [b"XSETID", b"s", b"5-0", b"ENTRIESADDED", b"9", b"MAXDELETEDID", b"0-0"],
        [b"XGROUP", b"CREATE", b"s", b"g", b"0-0", b"ENTRIESREAD", b"3"],
    ]  # fmt: skip
    assert list(rewrite.replacing(written, functions=False, modern=False)) == [
        [b"SELECT", b"0"], [b"UNLINK", b"l"], *written[2:4], [b"UNLINK", b"s"], [b"XSETID", b"s", b"5-0"],
        [b"XGROUP", b"CREATE", b"s", b"g", b"0-0"],
    ]  # fmt: skip
    assert [b"FUNCTION", b"LOAD", b"REPLACE", b"code"] in list(rewrite.replacing(written, functions=True, modern=True))


def test_parts_of_a_cluster_add_up() -> None:
    """Counts, digests and types of disjoint keys."""
    parts = [
        Keyspace(reference_ms=1, read_until_ms=n, buckets={"0/never": KeyBucket(keys=n, sum=f"{n:x}")}, functions="",
                 types={"0/string": n})
        for n in (3, 20)
    ]  # fmt: skip
    whole = keyspace.total(parts)
    assert whole.buckets == {"0/never": KeyBucket(keys=23, sum="17")} and whole.types == {"0/string": 23}
    assert whole.read_until_ms == 20


def test_passwords_come_from_private_files(tmp_path: Path) -> None:
    """One that others can read is refused; the word is in no error."""
    file = tmp_path / "file"
    file.write_text("s3cret\n")
    file.chmod(0o644)
    server = environment.Redis(host="r", host_set="live", address="127.0.0.1", port=1, user="u", passfile=str(file))
    with pytest.raises(BadInput, match="0644") as refused:
        client.password(server)
    assert "s3cret" not in str(refused.value)
    file.chmod(0o600)
    assert client.password(server) == "s3cret"


@pytest.mark.parametrize(
    "name", ["requirepass", "masterauth", "primaryauth", "tls-key-file-pass", "tls-client-key-file-pass"]
)
def test_settings_that_hold_a_secret_are_known(name: str) -> None:
    """By their names."""
    assert beside.SECRET.search(name)
    assert not beside.SECRET.search("tls-auth-clients") and not beside.SECRET.search("maxmemory")
