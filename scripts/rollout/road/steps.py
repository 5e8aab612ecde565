"""Every step: whoever imports this has them all in the register of `context`."""

from rollout.road import auditing, census, changing, measuring, prepare, restoring, serving, shifting

__all__ = ["auditing", "census", "changing", "measuring", "prepare", "restoring", "serving", "shifting"]
