"""The Locust file of `invoke load`: users who think between requests, with the same mix as the steady load.

Locust imports this file by its path. ROLLOUT_LOAD_TARGETS names a file that `people.py` wrote: what to work on.
"""

from __future__ import annotations

import os
import pickle
import random
import time
from pathlib import Path
from typing import Any

from locust import HttpUser, between, task

from rollout.load.journal import Unwritten
from rollout.load.mix import Mix
from rollout.load.targets import Targets

_KNOWN: Targets = pickle.loads(Path(os.environ["ROLLOUT_LOAD_TARGETS"]).read_bytes())  # noqa: S301  (our own file)


class Person(HttpUser):
    """One user: a request, then a pause of one to three seconds."""

    wait_time = between(1, 3)

    def on_start(self) -> None:
        """Give this user a mix of its own."""
        self._mix = Mix(random.randrange(2**31), f"{time.time_ns()}-{id(self)}", _KNOWN, Unwritten())

    @task
    def act(self) -> None:
        """Make the mix's next request; any other status than the one that it expects is a failure."""
        operation = self._mix.next()
        with self.client.request(
            operation.method, operation.path, json=operation.body, name=operation.name, catch_response=True, timeout=30
        ) as answer:
            if answer.status_code != operation.expected:
                answer.failure(f"{answer.status_code}, expected {operation.expected}")
                return
            told: dict[str, Any] = answer.json()
            operation.acknowledged(told)
