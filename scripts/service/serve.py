"""Run a built release from its own folder, never from the repository.

Usage: python -m service.serve --folder DIR   (configuration by ROLLOUT_APP_* environment variables, see process.py)
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> int:  # noqa: RET503  (execve does not return)
    """Replace this process by the release's; exit 2 with one line when the folder is not a release."""
    arguments = argparse.ArgumentParser(prog="service.serve", description="Run a built release of the application.")
    arguments.add_argument("--folder", required=True, type=Path)
    folder = arguments.parse_args().folder.absolute()
    if not (folder / "RELEASE").is_file():
        print(f"refused: {folder} is not a release folder; next: python -m service.build", file=sys.stderr)
        return 2
    # PYTHONPATH comes before site-packages, where an editable install of the repository would be found; -P keeps the
    # working directory out. One process, so the pid that the caller knows stays the pid of the service.
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ROLLOUT_APP_FOLDER": str(folder),
    }
    os.execve(sys.executable, [sys.executable, "-P", "-m", "service.process"], environment)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
