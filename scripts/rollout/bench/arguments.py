"""Words of the command line, checked: bad ones are told before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def folder(text: str) -> Path:
    """Return a folder that is there, from the root."""
    found = Path(text).absolute()  # servers are started elsewhere
    if not found.is_dir():
        raise argparse.ArgumentTypeError(f"{found} is no folder")
    return found


def file(text: str) -> Path:
    """Return a file that can be written, from the root."""
    found = Path(text).absolute()
    if not found.parent.is_dir() or found.is_dir():
        raise argparse.ArgumentTypeError(f"{found} cannot be written")  # better now than after an hour
    return found


def positive(text: str) -> float:
    """Return a number above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def some_of(known: Iterable[str], text: str) -> list[str]:
    """Return the comma separated names, each of which is known."""
    names = [word.strip() for word in text.split(",")]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; known: {', '.join(known)}")
    return names
