"""The checklist: what was promised, what was measured, and who has attested what no program can see."""

from rollout.checklist.attestation import attest
from rollout.checklist.document import build
from rollout.checklist.rendering import FORMATS, Format, render, write

__all__ = ["FORMATS", "Format", "attest", "build", "render", "write"]
