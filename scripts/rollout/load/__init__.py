"""The load: open-loop requests over all tiers, a journal of every write, and the search for each of them afterwards."""

from rollout.load.results import Window, window
from rollout.load.verification import Verification, verify

__all__ = ["Verification", "Window", "verify", "window"]
