"""From what was observed, or attested, to a verdict. Only a value within its threshold, with a source, is a pass."""

from __future__ import annotations

import math
from typing import Any, Literal

from rollout.checklist.attestation import Attestation
from rollout.checklist.declared import Item
from rollout.checklist.probe import moment

Verdict = Literal["pass", "fail", "inconclusive", "not measured", "attested"]
UNDECIDED: tuple[Verdict, ...] = ("not measured", "inconclusive")


def judge(item: Item, seen: dict[str, Any] | None, attested: Attestation | None) -> dict[str, Any]:
    """Return an item as the checklist shows it: id, title, verdict, observed, threshold, unit, source, window, measured_at, next.

    `seen`: an Observation as a dict, or None when its probe was not asked.
    """
    shown: dict[str, Any] = {
        "id": item.id, "title": item.title, "verdict": "not measured", "observed": "", "value": None,
        "threshold": str(item.threshold) if item.threshold else None,
        "unit": item.threshold.unit if item.threshold else None,
        "source": None, "window": None, "n": None, "measured_at": None, "next": "", "facts": {},
        "attestation": attested.to_dict() if attested else None,
    }  # fmt: skip
    if item.probe:
        _probed(item, seen, shown)
    if item.attestation:
        _attested(item, attested, shown)
    shown["next"] = item.next if shown["verdict"] == "fail" else ""
    return shown


def _probed(item: Item, seen: dict[str, Any] | None, shown: dict[str, Any]) -> None:
    if seen is None:
        shown["observed"] = "this run has not got as far as measuring it"
        return
    window = f"{moment(seen['since'])} to {moment(seen['until'])}" if seen["since"] is not None else "as it was then"
    shown |= {
        "observed": seen["observed"] or seen["reason"], "value": seen["value"], "source": seen["source"] or item.probe,
        "window": window, "n": seen["n"], "measured_at": moment(seen["at"]), "facts": seen["facts"],
    }  # fmt: skip
    value, threshold = seen["value"], item.threshold
    assert threshold is not None
    if seen["failed"]:
        shown["verdict"] = "fail"
    elif value is None or not math.isfinite(value):
        shown["observed"] = seen["reason"] or "no value"
    elif seen["n"] < item.samples_min:
        shown["observed"] += f"; {seen['n']} samples, {item.samples_min} needed"
    elif seen["inconclusive"]:
        shown["verdict"] = "inconclusive"
        shown["observed"] += f"; {seen['inconclusive']}"
    elif threshold.met(value) and seen.get("attested"):
        shown["verdict"] = "attested"
        shown["observed"] += f"; {seen['attested']}"
    else:
        shown["verdict"] = "pass" if threshold.met(value) else "fail"


def _attested(item: Item, attested: Attestation | None, shown: dict[str, Any]) -> None:
    ask = f"invoke checklist.attest --item {item.id} --by NAME --note TEXT"
    if item.probe and shown["verdict"] != "pass":
        return
    if attested is None:
        words = f"nobody has attested {item.attestation}: {ask}"
        shown["verdict"] = "inconclusive" if item.probe else "not measured"
        shown["observed"] = f"{shown['observed']}; {words}" if shown["observed"] else words
        return
    words = f"{attested.by} attests: {attested.note}"
    shown["verdict"] = "attested"
    shown["observed"] = f"{shown['observed']}; {words}" if shown["observed"] else words
    shown["source"] = shown["source"] or "attestation in the run's journal"
    shown["measured_at"] = attested.at


def together(parts: list[dict[str, Any]], shown: dict[str, Any]) -> None:
    """Judge a criterion by its items: one that fails fails it, one that is open leaves it open."""
    verdicts = [part["verdict"] for part in parts]
    worst = next((v for v in ("fail", "not measured", "inconclusive") if v in verdicts), None)
    shown["verdict"] = worst or ("attested" if "attested" in verdicts else "pass")
    shown["observed"] = ", ".join(f"{part['id']} {part['verdict']}" for part in parts)
    shown["source"] = "the items it is made of"
    shown["measured_at"] = max((part["measured_at"] for part in parts if part["measured_at"]), default=None)
