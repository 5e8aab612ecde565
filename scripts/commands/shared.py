"""What the commands share: the words of their flags, errors as exit codes, the typed confirmation, numbers."""

from __future__ import annotations

import math
import signal
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from invoke.exceptions import Exit

from rollout import screen
from rollout.environment import KNOWN, Environment
from rollout.errors import BadInput, RolloutError

ENV = "environment: sandbox (default), staging, production"
DRY = "show what would be done; change nothing"
DEBUG = "show the trace of an error"
CONFIRM = "the environment's name, for scripts"
JSON = "as JSON"


def told(function: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into one line and an exit code (1 refused or failed, 2 bad input), Ctrl-C into 130."""

    @wraps(function)
    def told(*args: Any, **options: Any) -> None:
        # SIGTERM (a closing terminal, a service manager) is to end us as Ctrl-C does: orderly, and to be repeated.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            function(*args, **options)
        except RolloutError as error:
            if options.get("debug"):
                traceback.print_exc()
            raise Exit(screen.for_environment(str(error), str(options.get("env", ""))), code=error.exit_code) from None
        except KeyboardInterrupt:
            raise Exit(
                "interrupted\nnext: the same command goes on from here, or  invoke rollback", code=130
            ) from None
        except Exception as error:
            if options.get("debug") or isinstance(error, Exit):
                raise
            words = (str(error).strip().splitlines() or ["no message"])[0]
            raise Exit(
                f"failed: {type(error).__name__}: {words}\nnext: the same command with --debug shows the trace", code=1
            ) from None

    return told


def confirmed(env: Environment, confirm: str, what: str, *, always: bool = False) -> None:
    """Ask for the environment's name, typed, where a mistake is dear; `--confirm NAME` answers for scripts."""
    if (env.name == "sandbox" and not always) or confirm == env.name:
        return
    if confirm:
        raise BadInput(
            f"--confirm says {confirm!r}", limit=f"the environment's name, {env.name}", next=f"--confirm {env.name}"
        )
    if not sys.stdin.isatty():
        raise BadInput(f"not confirmed: {what}", next=f"add --confirm {env.name}", page="runbooks/deploy.md#confirm")
    print(what)
    if input(f"type the environment's name to go on ({env.name}): ").strip() != env.name:
        raise BadInput("not confirmed; nothing was done", next="repeat the command and type the name")


def known(env: str) -> None:
    """Raise BadInput for an unknown environment, of commands that ask nothing of it but its name."""
    if env not in KNOWN:
        raise BadInput(f"unknown environment {env!r}", limit=f"one of {', '.join(KNOWN)}", next="leave -e away")


def number(flag: str, value: str) -> float:
    """Return the number that a flag was given; raise BadInput when it is none, or below 0."""
    try:
        found = float(value)
    except ValueError:
        raise BadInput(f"--{flag} {value!r} is no number", next=f"--{flag} 1") from None
    if found < 0 or not math.isfinite(found):
        raise BadInput(f"--{flag} {value}", limit="0 or more", next=f"--{flag} 1")
    return found
