"""The receivers of an environment as one service: one a database, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from rollout.environment import Environment, Tier
from rollout.errors import RolloutError
from rollout.objectstore import ObjectStore
from rollout.recovery import server
from rollout.recovery.archive import Receiver, held_bytes, interval_seconds, slot_name

LOOK_SECONDS = 1.0
HELD_EVERY_SECONDS = 300.0


def run(env: Environment, store: ObjectStore, tiers: list[Tier], say: Callable[[str], None]) -> None:
    """Receive the log of every live database of the tiers until SIGTERM or SIGINT; raise what the first receiver ended with."""
    receivers: list[Receiver] = []
    for live in (database for tier in tiers for database in env.tier(tier)):
        server.replication(live)  # refused before anything is started
        every = interval_seconds(env.settings.recovery_point_max_seconds[live.tier])
        slot, folder = slot_name(env.name, live.host), Path(env.artifacts) / "log" / live.host
        receivers.append(Receiver(live, store, folder, slot=slot, every_seconds=every, say=_named(live.host, say)))
    errors: list[BaseException] = []
    stop = threading.Event()

    def work(receiver: Receiver) -> None:
        try:
            receiver.run()
        except BaseException as error:  # noqa: BLE001  raised below, by the thread that waits
            errors.append(error)
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [threading.Thread(target=work, args=(one,), name=one.database.host) for one in receivers]
    for thread in threads:
        thread.start()
    waited = 0.0
    try:
        say(f"receiving the log of {', '.join(one.database.host for one in receivers)}")
        while not stop.wait(LOOK_SECONDS):
            waited += LOOK_SECONDS
            if waited >= HELD_EVERY_SECONDS:
                waited = 0.0
                _say_held(receivers, say)
    finally:
        for one in receivers:
            one.stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _say_held(receivers: list[Receiver], say: Callable[[str], None]) -> None:
    for one in receivers:
        try:
            held = held_bytes(one.database, one.slot)
        except RolloutError as error:
            say(f"{one.database.host}: {error.observed}")
            continue
        if held is None or not held[1]:
            say(f"{one.database.host}: the slot {one.slot} is lost: there is a gap; invoke snapshot.base")


def _named(host: str, say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda words: say(f"{host}: {words}")
