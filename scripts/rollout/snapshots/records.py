"""What a snapshot knows about itself: the records that a manifest holds, and what a comparison answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DIFFERENCES_MAX = 50
Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much is done, and the total (None when unknown), in the units of the act."""


def quiet(what: str, done: int, total: int | None) -> None:
    """Report no progress."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoredObject(_Record):
    """One object of the store, pinned to the version that was written; `size` is in bytes."""

    key: str
    version_id: str | None
    sha256: str
    size: int


class DumpPart(StoredObject):
    """One object of a database's dump, readable by pg_restore once it is unpacked.

    `section`: `all` of the database, its `schema` (what comes before and after the data), or `data`. `tables`: of a data
    part that holds these alone; without them it holds the data that no other part does.
    """

    section: Literal["all", "schema", "data"] = "all"
    tables: list[str] = []


class TableDigest(_Record):
    """The content of one table in any physical order: row count and the sums of two unrelated 64-bit hashes of its
    rows."""

    rows: int
    sums: tuple[int, int]


class SequenceRange(_Record):
    """Where a sequence stood before and after the dump read it; sequences do not obey a transaction's snapshot."""

    before: int
    after: int
    increment: int

    def holds(self, value: int) -> bool:
        """Say whether a restored sequence stands where the dump may have read it."""
        low, high = (self.before, self.after) if self.increment > 0 else (self.after, self.before)
        wrapped = high < low
        return (value >= low or value <= high) if wrapped else low <= value <= high


class Contents(_Record):
    """What a database holds, as far as a comparison looks: tables, sequences, and every object of its catalogue."""

    tables: dict[str, TableDigest]
    sequences: dict[str, SequenceRange]
    objects: dict[str, str]

    @property
    def rows(self) -> int:
        """Return the number of rows of all tables."""
        return sum(table.rows for table in self.tables.values())


class Origin(_Record):
    """Where a database snapshot was taken, and the properties that a database has outside its dump."""

    host: str
    tier: str
    dbname: str
    address: str
    port: int
    system_identifier: str
    server_version: str
    server_major: int
    lsn: str
    database_bytes: int
    encoding: str
    locale_provider: str
    collate: str
    ctype: str
    locale: str | None
    grants: list[tuple[str, str, bool]] | None
    settings: list[str]


class Role(_Record):
    """A role as a restore elsewhere needs it: attributes in SQL's words, memberships and settings; no password."""

    name: str
    attributes: str
    member_of: list[str]
    settings: list[str]


class Marker(_Record):
    """What ties the parts of a snapshot together: its name, a row in each database, a restore point in its log, a key in Redis.

    `lsn`: where the log stood then; `restore_point`: whether the server let us make one.
    """

    name: str
    lsn: str
    restore_point: bool


class DatabaseSnapshot(_Record):
    """One database at one instant: its dump in the store and what a restored copy has to equal.

    `roles`: those of the server that own, are granted or are named in anything of it.
    """

    origin: Origin
    parts: list[DumpPart]
    roles: list[Role] = []
    marker: Marker | None = None
    client_version: str
    compression: str
    contents: Contents
    started_at: datetime
    finished_at: datetime
    snapshot_held_seconds: float

    @property
    def size(self) -> int:
        """Return the bytes that the store holds of it."""
        return sum(part.size for part in self.parts)


class KeyBucket(_Record):
    """Keys that expire in one span of time (or never): how many, and the sum of their 160-bit digests modulo 2**160."""

    keys: int = 0
    sum: str = "0"


class Keyspace(_Record):
    """The content of a Redis: buckets by `<db>/<start of the span in ms since 1970, or never>`, its functions, and how
    many keys that never expire each type has, by `<db>/<type>`."""

    reference_ms: int
    read_until_ms: int
    buckets: dict[str, KeyBucket]
    functions: str
    types: dict[str, int] = {}

    @property
    def keys(self) -> int:
        """Return the number of keys of all databases."""
        return sum(bucket.keys for bucket in self.buckets.values())


class Slots(_Record):
    """A span of a cluster's hash slots, both ends included."""

    first: Annotated[int, Field(ge=0, le=16383)]
    last: Annotated[int, Field(ge=0, le=16383)]


class RedisSnapshot(_Record):
    """The content of a Redis in the store, and what a restored copy has to equal.

    `form`: an `rdb` as the server itself wrote it, of one instant; or `records`, RESTORE commands of each key (zstd),
    where every key is whole but two keys may be of different moments (`consistency`). `written_by`: product and version
    of the server that wrote them; `rdb_version`: magic and number of its RDB or payloads. `slots`: of a cluster's
    master. `beside`: users, settings, functions and modules, which no RDB holds.
    """

    host: str
    address: str
    port: int
    run_id: str
    product: str
    version: str
    rdb_version: str
    helper_version: str
    form: Literal["rdb", "records"] = "rdb"
    consistency: Literal["instant", "per key"] = "instant"
    why_records: str = ""
    content: StoredObject
    beside: StoredObject
    keyspace: Keyspace
    slots: list[Slots] = []
    modules: dict[str, int] = {}
    marker: str = ""
    acl_users: int
    left_out: list[str]
    started_at: datetime
    finished_at: datetime

    def objects(self) -> list[StoredObject]:
        """Return every object of the store that it needs."""
        return [self.content, self.beside]


class Swapped(_Record):
    """What an exchange of a live Redis's content did. `replaced`: what it held before, the last one up to the instant
    of the exchange. `paused_ms`: how long writers waited or were refused. `replicas`: of the target, which copy it
    whole again."""

    host: str
    replaced: list[RedisSnapshot]
    paused_ms: float
    replicas: int
    seconds: float


class Exchanged(_Record):
    """What an exchange of database numbers did. `aside`: for each database, the number under which what it held before
    stays in the server, up to the instant of the exchange. `swap_ms`: how long the exchange itself took."""

    host: str
    replaced: RedisSnapshot
    aside: dict[int, int]
    keys: int
    swap_ms: float
    left_out: list[str] = []
    seconds: float


class Merged(_Record):
    """What a merge by pattern did: keys restored that were there before and that were not, keys deleted because the
    snapshot has none, and, in order, objects with what each of them was before."""

    host: str
    pattern: str
    replaced: int
    added: int
    deleted: int
    kept: int
    before: list[StoredObject]
    seconds: float


class QueueClass(_Record):
    """One way in which Redis and the queue database disagree: how many entries or jobs, some of them (at most 20, as
    `<list> <id>`), the rule for them, and how many it has put right."""

    found: int = 0
    sample: list[str] = []
    rule: str
    done: int = 0


class QueueConsistency(_Record):
    """Redis lists held against the jobs of the queue database: `entries` and `jobs` looked at, and what disagreed, by
    class. `applied` is False of a look alone."""

    redis: str
    database: str
    entries: int
    jobs: int
    classes: dict[str, QueueClass]
    applied: bool
    quarantine: str = ""
    started_at: datetime
    finished_at: datetime

    @property
    def consistent(self) -> bool:
        """Say whether every disagreement that has a rule to put it right is gone."""
        return all(one.found == one.done or one.rule == "keep" for one in self.classes.values())


class Manifest(_Record):
    """A whole snapshot; written last, so that one without a manifest does not exist.

    `marker` names the restore point in each database's log and the key in Redis that tie its parts together. `run`: whose
    evidence it is, "" of none. `tools`: program and version.
    """

    format: Literal[2] = 2
    key: str
    prefix: str
    created_at: datetime
    environment: str = ""
    run: str = ""
    who: str = ""
    why: str = ""
    marker: str = ""
    tools: dict[str, str] = {}
    databases: list[DatabaseSnapshot]
    redis: list[RedisSnapshot]

    @property
    def id(self) -> str:
        """Return the name of the snapshot, as `invoke snapshot.list` shows it."""
        return self.prefix.rpartition("/")[2]

    def objects(self) -> list[StoredObject]:
        """Return every object that this snapshot needs, in the manifest's order."""
        return [
            *(part for database in self.databases for part in database.parts),
            *(part for one in self.redis for part in one.objects()),
        ]


class Restored(_Record):
    """What a restore did: how long it took and what the target could not be given."""

    host: str
    seconds: float
    left_out: list[str] = []


class Comparison(_Record):
    """What was compared and how it differs; `differences` holds at most 50 of `differences_total`.

    `tables` counts tables of a database, or key buckets of a Redis; `rows` counts rows, or keys. `left_out` says what
    was not looked at.
    """

    host: str
    tables: int
    rows: int
    objects: int = 0
    differences_total: Annotated[int, Field(ge=0)]
    differences: list[str]
    left_out: list[str] = []
    seconds: float

    @property
    def equal(self) -> bool:
        """Say whether something was compared and nothing differs; nothing compared is not equal."""
        return self.differences_total == 0 and (self.tables + self.objects) > 0


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)
