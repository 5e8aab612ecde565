"""A sandbox: what a user has in production, as real processes on loopback, without root or Docker."""

from rollout.sandbox.lifecycle import Status, down, status, up

__all__ = ["Status", "down", "status", "up"]
