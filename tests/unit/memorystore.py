"""An object store in memory for tests of what is built on it: the same promises, and a clock that a test can move."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

from rollout.objectstore import AlreadyExists, Conflict, NotFound, ObjectStore


class MemoryStore:
    """Holds objects in a dict; counts requests; `die_before` names a key whose next write raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.clock = datetime(2026, 11, 22, 3, 12, tzinfo=UTC)
        self.requests = 0
        self.die_before = ""
        self._etags = itertools.count()
        self._lock = threading.Lock()

    def create(self, key: str, data: bytes) -> str:
        with self._lock:
            self._arrive(key)
            if key in self.objects:
                raise AlreadyExists(key, next="")
            return self._write(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with self._lock:
            self._arrive(key)
            if key not in self.objects or self.objects[key][1] != etag:
                raise Conflict(key, next="")
            return self._write(key, data)

    def read(self, key: str) -> tuple[bytes, str]:
        with self._lock:
            self.requests += 1
            if key not in self.objects:
                raise NotFound(key, next="")
            return self.objects[key]

    def exists(self, key: str) -> bool:
        self.requests += 1
        return key in self.objects

    def versions(self, key: str) -> int | None:
        return 1 if key in self.objects else None

    def remove(self, key: str) -> None:
        self._arrive(key)
        self.objects.pop(key, None)

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def now(self) -> datetime:
        return self.clock

    def advance(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    def _arrive(self, key: str) -> None:
        self.requests += 1
        if self.die_before and key.endswith(self.die_before):
            self.die_before = ""
            raise KeyboardInterrupt

    def _write(self, key: str, data: bytes) -> str:
        etag = f'"{next(self._etags)}"'
        self.objects[key] = (data, etag)
        return etag


def as_store(memory: MemoryStore) -> ObjectStore:
    """Tell the type checker that it will do."""
    return cast(ObjectStore, memory)
