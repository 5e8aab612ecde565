"""What a run is, and which phase may follow which. Nothing here touches a store: it reads a state and answers."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from rollout.errors import BadInput, Refused
from rollout.lease import Lease

PhaseName = Literal["1", "2", "3", "finalize", "rollback"]
Verdict = Literal["pending", "running", "pass", "fail", "inconclusive"]
PHASES: tuple[PhaseName, ...] = ("1", "2", "3", "finalize", "rollback")
COMMANDS: dict[PhaseName, str] = {
    "1": "invoke deploy --phase 1",
    "2": "invoke deploy --phase 2",
    "3": "invoke deploy --phase 3",
    "finalize": "invoke finalize",
    "rollback": "invoke rollback",
}
RESTORE = "restore"
ACTS = ("change.revert", "change.discard", "references.mend", RESTORE)
PAGES: dict[PhaseName, str] = {
    "1": "runbooks/deploy.md#phase-1",
    "2": "runbooks/deploy.md#phase-2",
    "3": "runbooks/deploy.md#phase-3",
    "finalize": "runbooks/deploy.md#finalize",
    "rollback": "runbooks/rollback.md",
}


class _Strict(BaseModel):
    """A state written by another version of this program is an error, not a guess."""

    model_config = ConfigDict(extra="forbid")


class PhaseState(_Strict):
    """One phase of a run. `started`, `finished` and `seconds` are of the last of its `attempts`."""

    verdict: Verdict = "pending"
    attempts: int = 0
    started: AwareDatetime | None = None
    finished: AwareDatetime | None = None
    seconds: float | None = None
    why: str = ""
    facts: dict[str, JsonValue] = {}


class RolledBack(_Strict):
    """When phases 2 and 3 of a run were taken back, and why; `snapshot`: by which one, "" when nothing was lost."""

    when: AwareDatetime
    why: str
    snapshot: str = ""


class RunState(_Strict):
    """One rollout, from phase 1 to finalize or rollback.

    `token` is the fencing token of its last session, `lease` who holds the environment now (filled in on reading).
    `rolled_back` holds from a rollback until phase 2 begins again; `no_return` since contract began to drop things.
    """

    run: str
    environment: str
    plan_digest: str
    created: AwareDatetime
    operator: str
    previous: str | None = None
    token: int = 0
    lease: Lease | None = None
    phases: dict[PhaseName, PhaseState]
    rolled_back: RolledBack | None = None
    no_return: AwareDatetime | None = None
    finalized: bool = False
    facts: dict[str, JsonValue] = {}

    def has_begun(self) -> bool:
        """Tell whether live databases or traffic may have been changed and not taken back."""
        touched = any(self.phases[p].verdict != "pending" for p in ("2", "3"))
        return touched and self.rolled_back is None


def decide(
    state: RunState | None, phase: PhaseName, plan_digest: str, *, to_snapshot: bool = False
) -> Literal["new", "same"]:
    """Say whether `phase` may begin now, in a new run or in this one; raise BadInput or Refused with what to do.

    `to_snapshot`: a rollback that brings a snapshot back, which leads back from beyond the point of no return too.
    """
    if to_snapshot and phase == "rollback" and state is not None:
        return "same"
    if state is None:
        if phase == "1":
            return "new"
        raise _early(phase, "no run has begun in this environment", "1")
    if state.finalized:
        if phase == "1":
            return "new"
        if phase == "rollback":
            raise _past(state)
        raise _early(phase, f"run {state.run} is finalized", "1")
    if state.no_return is not None and phase != "finalize":
        if phase == "rollback":
            raise _past(state)
        raise _early(phase, f"finalize of run {state.run} has begun", "finalize")
    if phase == "rollback":
        return "same"
    if state.phases["rollback"].verdict not in ("pending", "pass"):
        raise _early(phase, f"the rollback of run {state.run} has not ended ({_ended(state, 'rollback')})", "rollback")
    return _decide_1(state, plan_digest) if phase == "1" else _decide_later(state, phase, plan_digest)


def allow(state: RunState | None) -> None:
    """Say whether one change may be taken back or discarded now; raise BadInput or Refused with what to do."""
    if state is None:
        raise BadInput(
            "no run has begun in this environment, so nothing is expanded or swapped", next="invoke change.plan"
        )
    if state.finalized or state.no_return is not None:
        raise _past(state)
    if state.phases["rollback"].verdict not in ("pending", "pass"):
        raise _early("rollback", f"the rollback of run {state.run} has not ended ({_ended(state, 'rollback')})", "rollback")


def allow_restore(state: RunState | None) -> None:
    """Say whether restored databases may take the place of live ones now; raise Refused with what to do."""
    if state is None or state.finalized:
        return
    if state.no_return is not None:
        raise _early("finalize", f"finalize of run {state.run} has begun", "finalize")
    if state.has_begun():
        raise Refused(
            f"run {state.run} has begun and is not rolled back: two schemas are served",
            next="invoke rollback  first, or  invoke rollback --to-snapshot ID  for schema and data at once",
            page="runbooks/restore.md#to-a-snapshot",
        )


def allow_mending(state: RunState | None) -> None:
    """Say whether data may be mended now, also when all is final; raise BadInput or Refused with what to do."""
    if state is None:
        raise BadInput("no run has begun in this environment, so no reference is documented", next=COMMANDS["1"])
    if not state.finalized and state.no_return is None:
        allow(state)


def take_apart(state: RunState, why: str) -> None:
    """Mark in `state` that a change is no longer where phase 2 had brought it: phase 2 has to pass again before phase 3."""
    if state.rolled_back is None and state.phases["2"].verdict != "pending":
        state.phases["2"] = state.phases["2"].model_copy(update={"verdict": "fail", "why": why})
        if state.phases["3"].verdict == "pass":
            state.phases["3"] = PhaseState()


def command(work: str) -> str:
    """Return the command of a phase or an act, as a lease names it."""
    return next((words for phase, words in COMMANDS.items() if phase == work), f"invoke {work}")


def begin(state: RunState, phase: PhaseName) -> None:
    """Mark in `state` what the beginning of a phase makes void: going forward again ends the state of rolled back."""
    if phase == "2" and state.rolled_back is not None:
        state.rolled_back = None
        state.phases["3"] = PhaseState()
        state.phases["finalize"] = PhaseState()
    if phase in ("2", "3"):
        state.phases["rollback"] = PhaseState()


def _decide_1(state: RunState, plan_digest: str) -> Literal["new", "same"]:
    if state.has_begun():
        following: PhaseName = "3" if state.phases["2"].verdict == "pass" else "2"
        if state.phases["3"].verdict == "pass":
            following = "finalize"
        raise BadInput(
            f"phase {'2' if following == '2' else '3' if state.phases['3'].attempts else '2'} of run {state.run} has "
            "begun and is not rolled back; a new run would lose sight of it",
            next=f"{COMMANDS[following]}  to go on, or  {COMMANDS['rollback']}  first",
            page=PAGES["1"],
        )
    # What was proven before an interruption was proven for the plan of then.
    interrupted = state.phases["1"].verdict in ("pending", "running") and state.plan_digest == plan_digest
    return "same" if interrupted else "new"


def _decide_later(state: RunState, phase: PhaseName, plan_digest: str) -> Literal["same"]:
    needs: dict[PhaseName, PhaseName] = {"2": "1", "3": "2", "finalize": "3"}
    before = needs[phase]
    passed = state.phases[before].verdict == "pass" and (phase == "2" or state.rolled_back is None)
    if not passed:
        observed = f"phase {before} of run {state.run} has not passed ({_ended(state, before)})"
        raise _early(phase, observed, _missing(state))
    if phase != "finalize" and state.phases[phase].verdict == "pass" and state.rolled_back is None:
        following: PhaseName = "finalize" if state.phases["3"].verdict == "pass" else "3"
        raise _early(phase, f"phase {phase} of run {state.run} has passed already", following)
    if state.plan_digest != plan_digest:
        first = "invoke rollback  and then  " if state.has_begun() else ""
        raise BadInput(
            f"the plan changed since phase 1 of run {state.run} proved it "
            f"(proven {state.plan_digest[:12]}, found {plan_digest[:12]})",
            next=f"{first}{COMMANDS['1']}, or put the plan back as it was",
            page=PAGES[phase],
        )
    return "same"


def _missing(state: RunState) -> PhaseName:
    """Return the first phase on the way forward that still has to pass."""
    if state.phases["1"].verdict != "pass":
        return "1"
    return "2" if state.rolled_back is not None or state.phases["2"].verdict != "pass" else "3"


def _ended(state: RunState, phase: PhaseName) -> str:
    found = state.phases[phase]
    if state.rolled_back is not None and phase in ("2", "3") and found.verdict != "pending":
        why = f", {state.rolled_back.why}" if state.rolled_back.why else ""
        return f"rolled back at {state.rolled_back.when:%H:%M} UTC{why}"
    if found.verdict == "running":
        return f"interrupted, begun at {found.started:%H:%M} UTC" if found.started else "interrupted"
    words = {"pending": "it has not begun", "fail": "it failed", "inconclusive": "it was inconclusive", "pass": "pass"}
    return words[found.verdict] + (f": {found.why}" if found.why else "")


def _early(phase: PhaseName, observed: str, following: PhaseName) -> BadInput:
    return BadInput(observed, next=COMMANDS[following], page=PAGES[phase])


def _past(state: RunState) -> Refused:
    when = f" at {state.no_return:%Y-%m-%d %H:%M} UTC" if state.no_return else ""
    return Refused(
        f"run {state.run} passed the point of no return{when}: the old relations are dropped",
        next="restore a snapshot by its name, into a new place",
        page="runbooks/restore.md",
    )
