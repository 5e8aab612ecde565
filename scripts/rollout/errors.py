"""What a person is told when something is refused, failed or wrong: observed, limit, what to do next, where to read."""

from __future__ import annotations

from typing import Literal


class RolloutError(Exception):
    """Base of every error that a person reads. `exit_code` is what the command exits with."""

    exit_code = 1
    word = "failed"

    def __init__(
        self,
        observed: str,
        *,
        next: str,
        limit: str = "",
        page: str = "",
        verdict: Literal["fail", "inconclusive"] = "fail",
    ) -> None:
        """`observed`: what was seen; `limit`: what it should have been; `next`: a command or an act; `page`: a runbook.

        `verdict`: what the phase that ends with it is given.
        """
        super().__init__(observed)
        self.observed = observed
        self.limit = limit
        self.next = next
        self.page = page
        self.verdict: Literal["fail", "inconclusive"] = verdict

    def __str__(self) -> str:
        limit = f" (limit: {self.limit})" if self.limit else ""
        page = f"  see {self.page}" if self.page else ""
        return f"{self.word}: {self.observed}{limit}\nnext: {self.next}{page}"

    def to_dict(self) -> dict[str, str | int]:
        """Return the error as JSON-native values, for a journal or across a process boundary."""
        return {
            "kind": type(self).__name__,
            "exit_code": self.exit_code,
            "observed": self.observed,
            "limit": self.limit,
            "next": self.next,
            "page": self.page,
            "verdict": self.verdict,
        }


class BadInput(RolloutError):
    """The request cannot be understood or does not fit the state of things; nothing was done (exit 2)."""

    exit_code = 2
    word = "refused"


class Refused(RolloutError):
    """A gate, a budget or a rule said no; everything is as safe as it was (exit 1)."""

    word = "refused"


class Failed(RolloutError):
    """Something that should have worked did not; the same command goes on, or rollback does (exit 1)."""


class Fenced(Refused):
    """Another runner holds a newer fencing token: this one must not write any more (exit 1)."""
