"""Which account the servers run as, and whether it can reach a path."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.errors import BadInput


@dataclass(frozen=True)
class Account:
    """An unprivileged user; only root needs one, because Postgres refuses to run as root."""

    name: str
    uid: int
    gid: int

    def popen(self) -> dict[str, Any]:
        """Return the arguments of subprocess that drop to this account, without root's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, *paths: Path) -> bool:
        """Return whether the account can traverse to and read every path (the kernel is asked, as that account)."""
        test = 'for path do [ -r "$path" ] && { [ ! -d "$path" ] || [ -x "$path" ]; } || exit 1; done'
        argv = ["/bin/sh", "-c", test, "sh", *map(str, paths)]
        return subprocess.run(argv, cwd="/", check=False, timeout=10, **self.popen()).returncode == 0

    def own(self, path: Path) -> None:
        """Give one path, not what is below it, to the account."""
        os.chown(path, self.uid, self.gid)


def choose() -> Account | None:
    """Return None for an ordinary user; for root `postgres` or `nobody`. Raise BadInput when root has neither."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise BadInput(
        "there is neither a user postgres nor nobody to run the servers as", next="useradd --system postgres"
    )
