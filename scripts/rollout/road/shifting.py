"""Steps that give green traffic: shift behind gates, and watch. Whatever ends one early, blue gets all of it back."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rollout import gates, traffic
from rollout.errors import Failed, Fenced, Refused
from rollout.gates import Verdict
from rollout.road.context import Context, Facts, step

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@step("shift")
def shift(context: Context, host: str, percent: int, *, passed: bool = False) -> Facts:
    """Give green a share of the traffic; when anything but a pass comes of it, give all back to blue and raise.

    A share is skipped when green has it and this run saw it pass since its last rollback. The last share of a phase
    never is: `passed` says that the shares of phase 2 are taken on the way to 100 %. Raises Refused for a gate.
    """
    environment = context.environment
    before = traffic.split(environment).percent
    last = percent == 100 or (percent == environment.settings.traffic_steps_percent[-1] and not passed)
    if before >= percent and not last and _has_passed(context, percent):
        return {"changed": False, "say": f"{before:g} % on green already, {percent} % passed its gates"}
    begun = _begun(context)
    context.session.check()
    with _back_to_blue(context, host):
        done = traffic.shift(environment, percent)
        context.journal("traffic_shifted", before=traffic.told(done.before), after=done.after, weights=dict(done.weights))
        context.progress.say(
            step="shift", host=host, text=f"{done.before:g} % -> {done.after:g} % on green; gates are watching"
        )
        verdicts = gates.evaluate(
            environment,
            gates.registry(),
            time.time(),
            begun=begun,
            baseline=context.fact("blue_baseline") if percent == 100 else None,
            on_sample=lambda v: context.progress.say(step="gates", host=host, text=_summary(v)),
        )
        _decide(context, verdicts, f"at {percent} %")
        if percent < 100:
            context.set_fact("blue_baseline", gates.baseline_of(verdicts))
        context.set_fact(f"gated.{percent}", context.stamp())
    return {
        "percent": done.after,
        "verdicts": [v.to_dict() for v in verdicts],
        "say": f"{done.after:g} % on green; {_summary(verdicts)}",
    }


@step("shift_steps")
def shift_steps(context: Context, host: str, *, passed: bool = False) -> Facts:
    """Take the environment's shares one after the other, and stop at the first that does not pass.

    In Python and not as a `loop` of the playbook: Ansible runs every item of a loop, also behind one that failed.
    """
    steps = context.environment.settings.traffic_steps_percent
    for percent in steps:
        began = time.monotonic()
        facts = shift(context, host, percent, passed=passed)
        took = round(time.monotonic() - began, 3)
        context.progress.say(step="shift", host=host, text=f"done: {facts['say']}", rate=took)
    return {"steps": steps, "say": f"{', '.join(map(str, steps))} % passed their gates"}


@step("watch")
def watch(context: Context, host: str) -> Facts:
    """Watch the gates for the agreed time at 100 %; when one does not pass, give the traffic back and raise Refused."""
    environment, started = context.environment, time.time()
    with _back_to_blue(context, host):
        verdicts = gates.watch(
            environment,
            environment.settings.cutover_watch_seconds,
            begun=_begun(context),
            baseline=context.fact("blue_baseline"),
            on_sample=lambda v: context.progress.say(step="watch", host=host, text=_summary(v)),
        )
        _decide(context, verdicts, "at 100 %")
        seen = [v.to_dict() for v in verdicts]
        context.set_fact("watched", {"since": started, "until": time.time(), "verdicts": seen})
    return {"changed": False, "seconds": round(time.time() - started, 1), "verdicts": seen, "say": _summary(verdicts)}


def _has_passed(context: Context, percent: int) -> bool:
    """Tell whether this run saw the gates pass at a share since its last rollback (tokens only grow)."""
    passed, back = context.fact(f"gated.{percent}"), context.fact("traffic_back")
    return bool(passed) and passed["token"] > (back["token"] if back else 0)


def _begun(context: Context) -> dict[str, Any]:
    """Return how things are now, and the replicas that there were when this command first asked."""
    begun = gates.start(context.environment)
    first = context.fact("replicas")
    if first and first["token"] == context.request.token:
        return begun | {"replicas": first["replicas"]}
    if "replicas" in begun:
        context.set_fact("replicas", {"replicas": begun["replicas"], **context.stamp()})
    return begun


@contextmanager
def _back_to_blue(context: Context, host: str) -> Iterator[None]:
    """Give blue all of the traffic when the block ends in an error, Ctrl-C or SIGTERM, then let that go on.

    Not when another command took over: the traffic is that one's then. A kill -9 cannot be answered: the same command
    finds the share and asks the gates again.
    """
    with _signals_raise():
        try:
            yield
        except Fenced:
            raise
        except BaseException as error:
            try:
                done = traffic.to_blue(context.environment)
            except Exception as also:  # noqa: BLE001  whatever the reason, both are told
                raise Failed(
                    f"{_line(error)}; and blue did not get its traffic back: {_line(also)}",
                    next="invoke rollback",
                    page="runbooks/rollback.md#traffic",
                ) from error
            context.progress.say(step="to_blue", host=host, text=f"{done.after:g} % on green after: {_line(error)}")
            raise


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that end a worker raise KeyboardInterrupt, once: the death of its parent sends another."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _decide(context: Context, verdicts: list[Verdict], where: str) -> None:
    """Return when all gates pass; otherwise give the traffic back to blue first, then raise Refused with the reason."""
    if gates.worst(verdicts) == "pass":
        return
    done = traffic.to_blue(context.environment)
    bad = next(v for value in ("fail", "inconclusive") for v in verdicts if v.verdict == value)
    context.journal(
        "gate_refused",
        where=where,
        verdicts=[v.to_dict() for v in verdicts],
        traffic_back_seconds=round(done.seconds, 3),
    )
    quiet = bad.verdict == "inconclusive" and context.environment.name == "sandbox"
    hint = "; gates need requests: invoke sandbox.load in another terminal" if quiet else ""
    raise Refused(
        f"gate {bad.name} {where} is {bad.verdict}: {bad.observed}; traffic is back on blue after {done.seconds:.1f} s",
        limit=bad.limit,
        next=f"invoke rollback, or mend green and repeat the phase{hint}",
        page=bad.page,
        verdict="inconclusive" if bad.verdict == "inconclusive" else "fail",
    )


def _summary(verdicts: list[Verdict]) -> str:
    return ", ".join(f"{v.name} {v.verdict}" + (f" ({v.observed})" if v.verdict != "pass" else "") for v in verdicts)


def _line(error: BaseException) -> str:
    said = getattr(error, "observed", "") or str(error)
    return said.splitlines()[0] if said else type(error).__name__
