"""What somebody who knows nothing of the system reads first: the verdict in words, and a few figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rollout.order import RunState

PHASES = {"1": "prepare", "2": "rollout", "3": "cutover", "finalize": "finalize", "rollback": "rollback"}


def verdict(state: RunState, problems: list[str], counts: Counter[str]) -> dict[str, str]:
    """Return the verdict on the rollout itself, in a word, a headline and a sentence, and what the items say besides."""
    word, headline, text = _of_run(state, problems)
    total, failed, undecided = counts.total(), counts["fail"], counts["not measured"] + counts["inconclusive"]
    said = [f"{failed} failed"] if failed else []
    said += [f"{undecided} {'is' if undecided == 1 else 'are'} open (not measured, or not decided)"] if undecided else []
    if word == "pass" and not state.phases["rollback"].attempts:
        headline += f", but {failed} of {total} checks failed" if failed else ""
    return {"word": word, "headline": headline, "text": text,
            "items": f"Of {total} checks, {' and '.join(said)}." if said else f"All {total} checks passed."}  # fmt: skip


def _of_rollback(state: RunState) -> tuple[str, str, str]:
    back = state.phases["rollback"]
    why = (state.rolled_back.why if state.rolled_back else back.why) or "no reason given"
    if back.verdict == "pass" and state.rolled_back and state.rolled_back.snapshot:
        lost = "what was written since is only in the databases that were replaced"
        return "pass", "Brought back to a snapshot", f"All is as in {state.rolled_back.snapshot}; {lost}. Why: {why}."
    if back.verdict == "pass":
        return "pass", "Rolled back", f"Everything was taken back, and the old release serves all users. Why: {why}."
    if back.verdict == "fail":
        return "fail", "The rollback failed", f"The rollout was rolled back, and not all of it was taken back. Why: {why}."
    return "inconclusive", "Being rolled back", f"The rollout is being rolled back. Why: {why}."


def _of_run(state: RunState, problems: list[str]) -> tuple[str, str, str]:
    if problems:
        text = "The journal of this run was edited or is incomplete: nothing below is evidence."
        return "fail", "Do not rely on this page", text
    back = state.phases["rollback"]
    if state.rolled_back or back.attempts:
        return _of_rollback(state)
    done = [name for name, phase in state.phases.items() if phase.verdict == "pass"]
    failed = [name for name, phase in state.phases.items() if phase.verdict in ("fail", "inconclusive")]
    if failed:
        name = f"{failed[-1]} ({PHASES[failed[-1]]})" if failed[-1].isdigit() else failed[-1]
        text = f"Phase {name} did not pass: {state.phases[failed[-1]].why or 'see the journal'}."
        return "fail", "The rollout did not pass", text
    if state.finalized:
        return "pass", "The rollout passed", "It passed every phase and is final: the old schema is gone."
    if "3" in done:
        return "pass", "The rollout passed", "The new release (green) serves everything, and a rollback is still possible."
    passed = ", ".join(f"{name} ({PHASES[name]})" if name.isdigit() else name for name in done) or "nothing"
    return "inconclusive", "The rollout is under way", f"Phases passed so far: {passed}."


def figures(state: RunState, shown: dict[str, dict[str, Any]], events: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return a few figures in words: requests, data, waiting, time. What was not measured is said to be so."""
    stalls = [e for e in events if e["kind"] == "stall"]
    waited = max((float(e["longest_wait_ms"]) for e in stalls), default=0.0)
    times = [f"{PHASES[n]} {p.seconds:,.0f} s" for n, p in state.phases.items() if p.attempts and p.seconds is not None]
    locks = f"no session of a user waited longer than {waited:,.0f} ms, in {len(stalls)} changes of the schema, there and back"
    return [
        {"label": "Requests since the rollout began", "text": _seen(shown["availability"])},
        {"label": "Data, old against new", "text": _seen(shown["data_integrity"])},
        {"label": "Waiting behind schema changes", "text": locks if stalls else "not measured: nothing was exchanged"},
        {"label": "Time by phase", "text": ", ".join(times) or "no phase has ended"},
    ]


def _seen(item: dict[str, Any]) -> str:
    return item["observed"] if item["value"] is not None else f"not measured: {item['observed']}"
