"""What a step works with, and the register of steps."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rollout import environment as environments
from rollout import runs
from rollout.engine.comparison import source_of
from rollout.engine.ledger import Fence
from rollout.environment import Environment
from rollout.errors import Failed, Fenced, RolloutError
from rollout.objectstore import ObjectStore
from rollout.order import PhaseName
from rollout.progress import Progress
from rollout.session import Session

Facts = dict[str, Any]
REPORT_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Request:
    """What a command hands to the workers of its playbook, by way of Ansible's extra variables; JSON-native, no secrets."""

    environment_file: str
    run: str
    token: int
    operator: str
    folder: str
    check: bool = False
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the request as a dict for `-e`."""
        return dict(self.__dict__)


class Context:
    """A worker's view: the environment, the run's session (attached, under its token), progress and the clock."""

    def __init__(self, request: Request) -> None:
        """Read the environment; the store is asked only when the session is first used."""
        self.request = request
        self.environment: Environment = environments.read(request.environment_file)
        self.folder = Path(request.folder)
        self.progress = Progress(self.folder / "progress.jsonl")

    @cached_property
    def store(self) -> ObjectStore:
        """The environment's object store."""
        return ObjectStore(self.environment.object_store)

    @cached_property
    def session(self) -> Session:
        """The session of the run, attached under the command's token."""
        return runs.attach(
            self.store, self.request.run, self.request.token, operator=self.request.operator, mirror=self.folder.parent
        )

    @property
    def fence(self) -> Fence:
        """The fence under which every ledger is written."""
        return Fence(self.request.run, self.request.token)

    def report(self, step: str, host: str, totals: dict[str, int]) -> Callable[[str, int, float], None]:
        """Return a reporter of chunked work for the screen, at most one line a second, with what is left of it.

        `totals`: rows by the relation that a work such as copy_1_jobs is about; without it there is no ETA.
        """
        last = [0.0]

        def say(work: str, done: int, rate: float) -> None:
            now = time.monotonic()
            if now - last[0] < REPORT_EVERY_SECONDS:
                return
            last[0] = now
            total = totals.get(source_of(work.partition(" (")[0]))  # what slows it stands behind the name
            eta = (total - done) / rate if total and rate > 0 and total >= done else None
            self.progress.say(
                step=step, host=host, text=work, done=done, total=total, rate=round(rate), eta_seconds=eta
            )

        return say

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the workers of this command from racing each other for the run's objects: a lost race costs seconds."""
        with (self.folder / ".writing").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def set_fact(self, name: str, value: Any) -> None:
        """Set a fact of the run; raise Fenced when another runner took over."""
        with self._alone():
            self.session.set_fact(name, value)

    def journal(self, kind: str, **facts: Any) -> None:
        """Append an event to the run's journal; raise Fenced when another runner took over."""
        with self._alone():
            self.session.check()
            self.session.journal.append(kind, **facts)

    def record(self, name: str, value: Any) -> None:
        """Set a fact of the phase at work, which an attempt at it keeps; raise Fenced like `set_fact`."""
        with self._alone():
            self.session.record({name: value})

    def recorded(self, name: str) -> Any:
        """Return a fact of the phase at work, or None."""
        return self.session.state().phases[self.phase].facts.get(name)

    @property
    def phase(self) -> PhaseName:
        """The phase at work; a worker without one is a defect."""
        assert self.session.phase is not None
        return self.session.phase

    def stamp(self) -> Facts:
        """Return what a measurement carries, so that a later one can tell whether it still counts."""
        return {"phase": self.phase, "token": self.request.token, "at": time.time()}

    def fact(self, name: str) -> Any:
        """Return a fact of the run, or None."""
        return self.session.state().facts.get(name)

    def facts(self, prefix: str) -> dict[str, Any]:
        """Return the run's facts whose names begin with `prefix.`, without it."""
        found = self.session.state().facts
        return {
            name.removeprefix(prefix + "."): value for name, value in found.items() if name.startswith(prefix + ".")
        }


Step = Callable[..., Facts]
REGISTER: dict[str, Step] = {}


def step(name: str) -> Callable[[Step], Step]:
    """Register a function as the step `name`; it takes (context, host, **options) and returns JSON-native facts.

    Facts with a meaning: `changed` (bool, default true) and `say` (a sentence for the screen).
    """

    def register(function: Step) -> Step:
        REGISTER[name] = function
        return function

    return register


def run(request: Request, name: str, host: str, task: str, options: dict[str, Any]) -> Facts:
    """Run one step on one host: journaled before and after, shown, and its failure kept for the command.

    In check mode nothing is run and nothing is written but the screen. Raises RolloutError.
    """
    context = Context(request)
    if request.check:
        context.progress.say(step=name, host=host, text=f"would: {task}")
        return {"changed": True, "say": f"would: {task}"}
    started = time.monotonic()
    context.progress.say(step=name, host=host, text=f"start: {task}")
    try:
        context.journal("step_started", step=name, host=host, task=task, options=options)
        facts = REGISTER[name](context, host, **options)
        seconds = round(time.monotonic() - started, 3)
        context.journal("step_done", step=name, host=host, seconds=seconds, facts=facts)
    except RolloutError as error:
        _keep(context, name, host, error)
        raise
    except Exception as error:
        wrapped = Failed(
            f"{name} on {host}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
            next="repeat the command; with --debug it shows the trace", page="runbooks/deploy.md#step-failed",
        )
        _keep(context, name, host, wrapped)
        raise wrapped from error
    context.progress.say(step=name, host=host, text=f"done: {facts.get('say', task)}", rate=seconds)
    return facts


def _keep(context: Context, name: str, host: str, error: RolloutError) -> None:
    """Leave the first failure where the command finds it, and in the journal when this runner may still write there."""
    context.progress.say(step=name, host=host, text=f"failed: {error.observed}")
    path = context.folder / "failure.json"
    if not path.exists():
        path.write_text(json.dumps({"step": name, "host": host, **error.to_dict()}))
    if not isinstance(error, Fenced):
        try:
            context.journal(
                "step_failed", step=name, host=host, **{k: v for k, v in error.to_dict().items() if k != "kind"}
            )
        except RolloutError as also:
            context.progress.say(step=name, host=host, text=f"the failure is not journaled: {also.observed}")
