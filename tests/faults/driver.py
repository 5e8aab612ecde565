"""The engine as a process of its own: reads one step a line, runs each in a fork of itself, says how it ended.

A step may be struck at its n-th statement: the process kills itself, or its backends, or the server, before or after that
statement or while it runs. The fork spares the imports, so that a struck step costs milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import psycopg

from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import Database, Settings
from rollout.errors import RolloutError

DURING_SECONDS = 0.002
BACKENDS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'rollout%'
"""


class Strike:
    """Counts the statements of this process and strikes at one of them."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.at, self.who, self.when = order.get("at", 0), order.get("who", ""), order.get("when", "")
        self.postmaster, self.superuser = order["postmaster"], order["superuser"]
        self.count = 0
        self.struck = False
        real = psycopg.Cursor.execute

        def execute(cursor: Any, *arguments: Any, **options: Any) -> Any:
            self.count += 1
            mine = self.count == self.at and not self.struck
            if mine and self.when == "before":
                self.strike()
            if mine and self.when == "during":
                threading.Timer(DURING_SECONDS, self.strike).start()
            result = real(cursor, *arguments, **options)
            if mine and self.when == "after":
                self.strike()
            return result

        psycopg.Cursor.execute = execute  # type: ignore[method-assign]

    def strike(self) -> None:
        """Kill what the order names."""
        self.struck = True
        if self.who == "runner":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.who == "server":
            os.kill(self.postmaster, signal.SIGQUIT)
        elif self.who == "backend":
            with psycopg.connect(self.superuser, autocommit=True) as connection:
                connection.execute(BACKENDS)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Run one step; return what came of it."""
    strike = Strike(order)
    notes: list[str] = []

    def report(work: str, _rows: int, _rate: float) -> None:
        if "(" in work and work not in notes:
            notes.append(work)

    try:
        change = changes.load("oltp", Path(order["folder"]))  # the tier names nothing here
        with ledger.connect(Database(**order["database"])) as connection:
            stages = Stages(
                connection, change, ledger.Fence("run", 1), Settings.model_construct(**order["settings"]), report
            )
            done = getattr(stages, order["step"])()
            said = {"done": done if isinstance(done, dict) else done.to_dict(), "stage": stages.stage()}
    except RolloutError as error:
        said = {"refused": error.to_dict(), "text": str(error)}
    except Exception as error:  # noqa: BLE001  (whatever it is, the test wants to read it)
        said = {"failed": repr(error), "text": traceback.format_exc()}
    return said | {"struck": strike.struck, "statements": strike.count, "notes": notes}


def main() -> None:
    """Serve orders until standard input ends."""
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.write(write, json.dumps(run(json.loads(line)), default=str).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            said = json.dumps({"killed": os.WTERMSIG(status), "struck": True})
        print(said, flush=True)  # noqa: T201  (the test reads it)


if __name__ == "__main__":
    main()
