"""The demo: a sandbox of its own, steady load, the commands of the road as a person types them, and the sum of it.

Nothing here judges by hand: requests and latencies are the load's, losses are what the databases and Redis hold in the
end, the rollback's times are the run's own. Exit 0 only when all phases passed and nothing failed, was lost or doubled.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout import environment, runs
from rollout.children import die_with_parent
from rollout.environment import ROOT, Environment
from rollout.errors import RolloutError
from rollout.load import Verification, verify, window
from rollout.objectstore import ObjectStore
from rollout.sandbox import lifecycle

ORDER = "1,2,rollback,2,mend,3,finalize"
COMMANDS = {
    "1": ["deploy", "--phase", "1"], "2": ["deploy", "--phase", "2"], "3": ["deploy", "--phase", "3"],
    "rollback": ["rollback", "--why", "the demo takes it back"], "finalize": ["finalize", "--confirm", "sandbox"],
    "mend": ["references.mend", "--by", "the demo", "--why", "as seeded: gone before references were validated"],
}
WARM_UP_SECONDS = 4.0
BASELINE_SECONDS = 12.0
LOAD_END_SECONDS = 30.0
KILL_SECONDS = (2.0, 9.0)


@dataclass
class Measured:
    """What the demo saw so far: phases in their order, and the time of each rollback's traffic."""

    phases: list[dict[str, Any]] = field(default_factory=list)
    traffic_back_seconds: list[float] = field(default_factory=list)
    rollback_seconds: list[float] = field(default_factory=list)


def main() -> int:
    """Run the demo; 0 when everything passed, 1 when not, 2 on bad input."""
    given = _arguments()
    home, name = ROOT / "artifacts" / given.name, given.name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    os.environ["ROLLOUT_SANDBOX"] = name
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    load: subprocess.Popen[bytes] | None = None
    measured, began = Measured(), time.monotonic()
    try:
        _say(f"$ invoke sandbox.up --name {name} --scale {given.scale:g} --seed {given.seed}")
        lifecycle.down(name, purge=True)
        lifecycle.up(name, scale=given.scale, seed=given.seed, say=lambda line: None)
        found = environment.load("sandbox")
        _say(f"16 servers are up and seeded after {time.monotonic() - began:.0f} s\n")
        load = _load(found, home, given.rate, given.seed)
        _say(f"steady load: {given.rate:g} requests a second, arriving whether or not earlier ones have been answered")
        time.sleep(WARM_UP_SECONDS)
        from_time = time.time()
        time.sleep(BASELINE_SECONDS)
        to_time = time.time()
        kills = random.Random(given.seed)
        passed = all(_phase(found, p, measured, kills if p in given.kill else None) for p in given.order)
        _end(load)
        verified = verify(found, home / "load")
        summary = _summary(home, measured, verified, (from_time, to_time))
        (home / "summary.json").write_text(json.dumps(summary, indent=1))
        _tell(summary)
        good = passed and verified.passed and summary["failed_requests"] == 0
        _say(
            f"\n{'everything passed' if good else 'NOT everything passed'} in {time.monotonic() - began:.0f} s;"
            f" artifacts/{name}/summary.json"
        )
        return 0 if good else 1
    except RolloutError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    finally:
        if load is not None:
            _end(load)
        if given.keep:
            _say(
                f"the sandbox is kept: ROLLOUT_SANDBOX={name} invoke status; invoke sandbox.down --name {name} --purge"
            )
        else:
            lifecycle.down(name, purge=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The whole road, on real servers, under load.")
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 100,000 messages and 200,000 jobs")
    parser.add_argument("--seed", type=int, default=1, help="of the data and of the requests")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--order", default=ORDER, help=f"phases, and mend, comma separated (default {ORDER})")
    parser.add_argument("--name", default="demo", help="of its sandbox and of its folder below artifacts/")
    parser.add_argument(
        "--kill", default="", help="phases whose command is killed (-9) once in its middle and given again, comma separated"
    )
    parser.add_argument("--keep", action="store_true", help="leave the sandbox up")
    given = parser.parse_args()
    given.order = [name.strip() for name in given.order.split(",")]
    given.kill = [name.strip() for name in given.kill.split(",") if name.strip()]
    unknown = sorted(set(given.order + given.kill) - set(COMMANDS))
    if unknown:
        parser.error(f"unknown phases {', '.join(unknown)}; known: {', '.join(COMMANDS)}")
    if given.rate <= 0 or given.scale <= 0:
        parser.error("--rate and --scale are more than 0")
    return given


def _load(found: Environment, home: Path, rate: float, seed: int) -> subprocess.Popen[bytes]:
    environment.save(found, home / "environment.json")
    with (home / "load.log").open("wb") as log:
        load = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "rollout.load",
                "--url",
                found.load_balancer.url,
                "--rate",
                str(rate),
                "--seed",
                str(seed),
                "--environment",
                str(home / "environment.json"),
                "--into",
                str(home / "load"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
        )
    deadline = time.monotonic() + LOAD_END_SECONDS
    while not (home / "load" / "status.json").exists():
        if load.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the load did not start; read {home / 'load.log'}")
        time.sleep(0.1)
    return load


def _end(load: subprocess.Popen[bytes]) -> None:
    """Let the load end what is in flight and write its summary."""
    if load.poll() is None:
        load.terminate()
        try:
            load.wait(LOAD_END_SECONDS)
        except subprocess.TimeoutExpired:
            load.kill()


def _phase(found: Environment, name: str, measured: Measured, kills: random.Random | None) -> bool:
    """Type one command, show what it prints, and note its time and verdict; with `kills`, kill it once before."""
    words = COMMANDS[name]
    _say(f"\n$ invoke {' '.join(words)}")
    if kills is not None:
        _kill(words, kills.uniform(*KILL_SECONDS))
    began, clock = time.monotonic(), time.time()
    status = subprocess.run([str(Path(sys.executable).with_name("invoke")), *words], cwd=ROOT, check=False).returncode
    seconds = round(time.monotonic() - began, 2)
    state = runs.current(ObjectStore(found.object_store))
    verdict = "fail"
    if state and status == 0:
        verdict = next((phase.verdict for known, phase in state.phases.items() if known == name), "pass")
    measured.phases.append({"name": name, "seconds": seconds, "verdict": verdict})
    if name == "rollback" and state is not None and status == 0:
        back: Any = state.facts.get("traffic_back")
        measured.traffic_back_seconds.append(round(float(back["at"]) - clock, 2))
        measured.rollback_seconds.append(seconds)
    return status == 0 and verdict == "pass"


def _kill(words: list[str], seconds: float) -> None:
    """Give a command and end it with SIGKILL after so many seconds, if it still runs then."""
    process = subprocess.Popen([str(Path(sys.executable).with_name("invoke")), *words], cwd=ROOT)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        _say(f"kill -9 after {seconds:.1f} s; the same command again:")


def _summary(home: Path, measured: Measured, verified: Verification, baseline: tuple[float, float]) -> dict[str, Any]:
    sums = json.loads((home / "load" / "summary.json").read_text())
    series = home / "load" / "series.jsonl"
    before, during = window(series, *baseline), window(series, baseline[1], time.time())
    return {
        "requests": sums["requests"],
        "failed_requests": sums["failed"],
        "acknowledged_writes": verified.acknowledged_writes,
        "lost_writes": verified.lost_writes,
        "duplicate_jobs": verified.duplicate_jobs,
        "counted_twice": verified.counted_twice,
        "doubled_entries": verified.doubled_entries,
        "lost": verified.lost,
        "baseline_p99_ms": before.p99_ms,
        "rollout_p99_ms": during.p99_ms,
        "max_latency_ms": during.max_ms,
        # The slowest of all rollbacks; from the moment that the command was given.
        "traffic_back_seconds": max(measured.traffic_back_seconds, default=None),
        "rollback_seconds": max(measured.rollback_seconds, default=None),
        "by_release": sums["by_release"],
        "phases": measured.phases,
    }


def _tell(summary: dict[str, Any]) -> None:
    back = summary["traffic_back_seconds"]
    _say(f"""
requests            {summary["requests"]:,}, failed {summary["failed_requests"]}, by release {summary["by_release"]}
acknowledged writes {summary["acknowledged_writes"]:,}, each looked up: lost {summary["lost_writes"]}; jobs worked twice {summary["duplicate_jobs"]}
latency             p99 {_ms(summary["baseline_p99_ms"])} before, {_ms(summary["rollout_p99_ms"])} during all phases, longest {_ms(summary["max_latency_ms"])}""")  # noqa: E501  (a table)
    if back is not None:
        _say(
            f"rollback            traffic on blue after {back:.1f} s,"
            f" all of it taken back after {summary['rollback_seconds']:.1f} s"
        )
    for phase in summary["phases"]:
        _say(f"  {phase['name']:<9} {phase['verdict']:<5} {phase['seconds']:6.1f} s")


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f} ms"


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
