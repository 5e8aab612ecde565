"""Which files of an archived log lead from a base backup to a moment; what is missing is named before anything begins."""

from __future__ import annotations

from datetime import UTC, datetime

from rollout.errors import BadInput, Refused
from rollout.objectstore import ObjectStore
from rollout.recovery import archive, base
from rollout.recovery.records import Base, Covered, LogFile, log_file, ordinal, place, segment

PAGE = "runbooks/restore.md#point-in-time"


def choose(store: ObjectStore, host: str, target: datetime | None) -> tuple[Base, Covered]:
    """Return the base backup to begin with and how far the log behind it goes; `target` None: as far as there is log.

    Raises BadInput for a moment that is not covered, and says which are.
    """
    if target is not None and target.tzinfo is None:
        raise BadInput(f"{target} names no time zone", limit="such as 2026-11-22 10:15:00+00", next="add the zone", page=PAGE)
    bases = list(base.every(store, host))
    if not bases:
        raise BadInput(f"there is no base backup of {host}", next="invoke snapshot.base", page=PAGE)
    newest = bases[-1]
    covered = archive.read_covered(store, place(host, newest.system_identifier))
    if covered is None:
        raise BadInput(f"no log of {host} is archived", next="invoke snapshot.receive keeps it", page=PAGE)
    first = bases[0].finished_at
    if target is not None and target > covered.until:
        raise BadInput(
            f"the log of {host} is archived until {_told(covered.until)}, not until {_told(target)}",
            limit=f"{_told(first)} to {_told(covered.until)}",
            next="name an earlier moment, or wait until the receiver has it",
            page=PAGE,
        )
    fitting = [one for one in bases if target is None or one.finished_at <= target]
    if not fitting:
        raise BadInput(
            f"the oldest base backup of {host} ended at {_told(first)}, later than {_told(target)}",  # type: ignore[arg-type]
            limit=f"{_told(first)} to {_told(covered.until)}",
            next="name a later moment",
            page=PAGE,
        )
    chosen = fitting[-1]
    if chosen.system_identifier != newest.system_identifier:
        covered = archive.read_covered(store, place(host, chosen.system_identifier)) or covered
    return chosen, covered


def reaches(store: ObjectStore, host: str, target: datetime) -> bool:
    """Tell whether the log of a host is stored as far as a moment already."""
    newest = max(base.every(store, host), key=lambda one: one.finished_at, default=None)
    covered = archive.read_covered(store, place(host, newest.system_identifier)) if newest else None
    return covered is not None and target <= covered.until


def files(store: ObjectStore, chosen: Base, covered: Covered) -> list[LogFile]:
    """Return the files to replay, histories first, then the segments in their order.

    Raises Refused when one between the base backup and what is said to be covered is missing, or is there twice with other bytes.
    """
    found: dict[str, LogFile] = {}
    for key in store.keys(f"{place(chosen.host, chosen.system_identifier)}log/"):
        one = log_file(key)
        if one is None:
            continue
        if one.file in found:
            raise Refused(
                f"the log of {chosen.host} holds {one.file} twice, with other bytes",
                next="two servers wrote into one archive: ask which of them is the right one before you go on",
                page=PAGE,
            )
        found[one.file] = one
    size = chosen.segment_bytes
    first = ordinal(segment(chosen.start_lsn, chosen.timeline, size), size)
    last = ordinal(covered.file, size)
    of_log = [f for f in found.values() if not f.is_history and f.timeline >= chosen.timeline]
    segments = [f for f in of_log if ordinal(f.file, size) >= first]
    have = {ordinal(one.file, size) for one in segments}
    gaps = [n for n in range(first, last + 1) if n not in have]
    if gaps:
        name = segment(f"{gaps[0] * size >> 32:X}/{gaps[0] * size & 0xFFFFFFFF:X}", chosen.timeline, size)
        raise Refused(
            f"the log of {chosen.host} lacks {len(gaps)} segments since the base backup {chosen.id}, the first of them {name}",
            limit="every segment from the base backup on",
            next="invoke snapshot.base takes a new one; moments between the gap and that cannot be restored",
            page=PAGE,
        )
    histories = [f for f in found.values() if f.is_history]
    return sorted(histories, key=lambda f: f.file) + sorted(segments, key=lambda f: (ordinal(f.file, size), f.timeline))


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00"
