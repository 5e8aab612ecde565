"""What the product promises of recovery, tier by tier, against what was last measured. What was not measured is no pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from rollout.environment import TIERS, Environment, Tier
from rollout.errors import RolloutError
from rollout.objectstore import ObjectStore
from rollout.recovery import base, log, proof
from rollout.snapshots import catalogue
from rollout.snapshots.proof import Proof
from rollout.snapshots.records import Manifest

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Line:
    """One tier: seconds of the newest data that could be lost now, seconds until it was back when last restored; and limits.

    None: not measured. `point_source`, `time_source` say by what. `why` and `next`: of the first that is no pass.
    """

    tier: Tier
    point_seconds: float | None
    point_limit: float
    point_source: str
    time_seconds: float | None
    time_limit: float
    time_source: str
    verdict: Verdict
    why: str = ""
    next: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-native."""
        return asdict(self)


def measure(env: Environment, store: ObjectStore) -> list[Line]:
    """Return a line for each tier of the environment, by the store's clock."""
    now = store.now()
    proven = [
        (one.manifest, one.proof)
        for one in catalogue.every(store)
        if one.state == "proven" and one.manifest and one.proof
    ]
    return [_line(env, store, tier, proven, now) for tier in TIERS if env.tier(tier)]


def _line(env: Environment, store: ObjectStore, tier: Tier, proven: list[tuple[Manifest, Proof]], now: datetime) -> Line:
    hosts = [one.host for one in env.tier(tier)]
    points = [p for p in (_of_snapshot(tier, hosts, proven, now), _of_log(store, hosts, now)) if p[0] is not None]
    point, point_source = min(points, key=lambda p: p[0] or 0.0, default=(None, f"nothing that holds all of {tier} is proven"))
    seconds, time_source = _time(store, hosts, proven)
    limits = env.settings.recovery_point_max_seconds[tier], env.settings.recovery_time_max_seconds[tier]
    verdict, why, following = _judge(tier, (point, limits[0]), (seconds, limits[1]))
    return Line(tier, point, limits[0], point_source, seconds, limits[1], time_source, verdict, why, following)


def _of_snapshot(
    tier: Tier, hosts: list[str], proven: list[tuple[Manifest, Proof]], now: datetime
) -> tuple[float | None, str]:
    for manifest, _ in proven:
        began = [one.started_at for one in manifest.databases if one.origin.host in hosts]
        if len(began) == len(hosts):
            return _since(min(began), now), f"snapshot {manifest.id}, proven"
    return None, ""


def _of_log(store: ObjectStore, hosts: list[str], now: datetime) -> tuple[float | None, str]:
    """Return how old the oldest end of the hosts' logs is; without a base backup, or with a gap, there is none."""
    ends = []
    for host in hosts:
        try:
            chosen, covered = log.choose(store, host, None)
            log.files(store, chosen, covered)
        except RolloutError:
            return None, ""
        ends.append(covered.until)
    return _since(min(ends), now), f"log, archived until {min(ends):%Y-%m-%d %H:%M:%S} UTC"


def _time(store: ObjectStore, hosts: list[str], proven: list[tuple[Manifest, Proof]]) -> tuple[float | None, str]:
    tried = []
    for host in hosts:
        bases = list(base.every(store, host))
        found = proof.newest(store, bases[-1]) if bases else None
        if found and found.verdict == "pass":
            tried.append(found)
    if tried and len(tried) == len(hosts):
        last = max(tried, key=lambda one: one.seconds)
        return last.seconds, f"recovery from the log at {last.at:%Y-%m-%d %H:%M} UTC"
    for manifest, one in proven:
        took = [seconds for host, seconds in one.recovered_seconds.items() if host in hosts]
        if len(took) == len(hosts):
            return max(took), f"restore of {manifest.id} at {one.verified_at:%Y-%m-%d %H:%M} UTC"
    return None, "no restore was timed"


def _since(moment: datetime, now: datetime) -> float:
    return max(0.0, round((now - moment).total_seconds(), 1))


def _judge(tier: Tier, point: tuple[float | None, float], time: tuple[float | None, float]) -> tuple[Verdict, str, str]:
    if point[0] is None:
        return "inconclusive", "nothing that is proven holds it", "invoke snapshot.take --verify"
    if point[0] > point[1]:
        words = f"the newest {point[0]:,.1f} s of {tier} could be lost (limit: {point[1]:,.0f} s)"
        return "fail", words, f"invoke snapshot.take --verify, or keep its log: invoke snapshot.receive --tier {tier}"
    if time[0] is None:
        return "inconclusive", "no restore of it was timed", "invoke snapshot.verify"
    if time[0] > time[1]:
        words = f"a restore of {tier} took {time[0]:,.0f} s (limit: {time[1]:,.0f} s)"
        return "fail", words, "raise snapshot_jobs in the inventory, then invoke snapshot.verify"
    return "pass", "", ""
