"""What no program can see: a person's word, kept in the run's journal, where it cannot be edited unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rollout import journal
from rollout.checklist import declared
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore

KIND = "attested"
NOTE_MAX = 2_000


@dataclass(frozen=True)
class Attestation:
    """Who said what of an item, and when (UTC, ISO 8601); `operator` is whose account typed it."""

    item: str
    by: str
    note: str
    operator: str
    at: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)


def attest(store: ObjectStore, run: str, item: str, by: str, note: str) -> Attestation:
    """Add a person's word to the journal of a run; the newest one counts, and none is ever removed.

    Raise BadInput for an unknown item, one that nobody is asked about, or an empty name or note.
    """
    found = declared.load().find(item)
    if found.attestation is None:
        raise BadInput(f"{item} is measured, not attested", next=f"invoke checklist says what was seen of {item}")
    if not by.strip() or not note.strip() or len(note) > NOTE_MAX:
        raise BadInput(
            "an attestation needs a name and a note", limit=f"at most {NOTE_MAX:,} characters",
            next=f"invoke checklist.attest --item {item} --by NAME --note TEXT",
        )
    event = journal.append(store, run, KIND, item=item, by=by.strip(), note=note.strip())
    return _of(event)


def newest(events: Iterable[journal.Event]) -> dict[str, Attestation]:
    """Return the last attestation of each item among a run's events."""
    return {str(event.facts["item"]): _of(event) for event in events if event.kind == KIND}


def _of(event: journal.Event) -> Attestation:
    facts = event.facts
    return Attestation(str(facts["item"]), str(facts["by"]), str(facts["note"]), event.operator, event.time)
