"""Which server can read what another one wrote: told from product, version and the RDB's number, before anything moves.

Redis up to 7.2 and Valkey share a history. From RDB 12 on (Redis 7.4) and RDB 80 on (Valkey 9) they do not: each
refuses the other's files and payloads. What is left then is the content as commands, which every server understands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rollout.errors import Failed, Refused

SHARED_RDB = 11
VALKEY_RDB = 80
# The highest RDB that a Redis reads, by its first version; what is newer reads at least the last of them.
REDIS_RDB = {(2, 6): 6, (3, 2): 7, (4, 0): 8, (5, 0): 9, (7, 0): 10, (7, 2): 11, (7, 4): 12}


@dataclass(frozen=True)
class Written:
    """What was written, and by whom. `rdb` is magic and number, as an RDB begins: REDIS0011, VALKEY080."""

    rdb: str
    product: str
    version: tuple[int, int]

    @property
    def number(self) -> int:
        """Return the number of the RDB's format."""
        return int(self.rdb.lstrip("REDISVALKY"))


def of(product: str, version: tuple[int, int]) -> Written:
    """Return what a server of this product and version writes, in a file or as the payload of DUMP."""
    if product == "valkey":
        return Written(f"VALKEY{VALKEY_RDB:03d}" if version >= (9, 0) else f"REDIS{SHARED_RDB:04d}", product, version)
    number = max((rdb for since, rdb in REDIS_RDB.items() if since <= version), default=6)
    return Written(f"REDIS{number:04d}", product, version)


def of_file(path: Path, product: str, version: tuple[int, int]) -> Written:
    """Return what an RDB says of itself; raise Failed when the file is none."""
    with open(path, "rb") as file:
        head = file.read(9)
    if not head.startswith((b"REDIS", b"VALKEY")) or not head.lstrip(b"REDISVALKY").isdigit():
        raise Failed("the copied file is no RDB", limit="REDIS or VALKEY and a number", next="take the snapshot again")
    return Written(head.decode(), product, version)


def reads(written: Written, product: str, version: tuple[int, int]) -> bool:
    """Say whether a server reads it: the writer's own kind when it is no older, or both know that format."""
    if product == written.product and version >= written.version:
        return True
    if written.rdb.startswith("VALKEY"):
        return False
    return written.number <= (SHARED_RDB if product == "valkey" else of(product, version).number)


def require_reads(written: Written, host: str, product: str, version: tuple[int, int]) -> None:
    """Raise Refused when a server cannot read it, and name the way out."""
    if not reads(written, product, version):
        raise Refused(
            f"{host} is {product} {'.'.join(map(str, version))}, which does not read {written.rdb}",
            limit=f"a server that reads what {written.product} {'.'.join(map(str, written.version))} wrote",
            next="restore it the logical way (way='logical'), or run the snapshot's product and version there",
            page="runbooks/restore.md",
        )
