"""Rules for every test run: real servers are not optional, and nothing stays behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from servers import Server, remove_binaries

HERE = Path(__file__).parent
SERVERS = (HERE / "sql", HERE / "integration")
ALONE = ("test_road.py", "test_traffic.py")
OTHER_VERSION = re.compile(r"[\[-]1[5-7][\]-]")
MARK = "ROLLOUT_TEST_SESSION"  # every process that a test starts inherits it
END_SECONDS = 5.0


def pytest_configure(config: pytest.Config) -> None:
    """Mark what this process starts, unless it only hands tests out to workers, which are no leftovers."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", default=None):
        os.environ[MARK] = str(os.getpid())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs servers, what needs the machine for itself, and what runs on another version than the wheel's.

    Those versions are on some machines and not on others: they are part of the depth.
    """
    for item in items:
        if OTHER_VERSION.search(item.name):
            item.add_marker("deep")
        if item.path.name in ALONE:
            item.add_marker("alone")
        if any(folder in item.path.parents for folder in SERVERS):
            item.add_marker("integration")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip of a test that needs servers into a failure: the wheels are locked, so none can be missing."""
    report = yield
    if report.skipped and item.get_closest_marker("integration"):
        report.outcome, report.longrepr = (
            "failed",
            f"skipped: {call.excinfo}; a skipped integration test proves nothing",
        )
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when a process that a test started is still there, and end it."""
    deadline = time.monotonic() + END_SECONDS
    while (left := _left()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        print(f"\nleft behind: {process}")  # noqa: T201  (pytest shows it)
        process.kill()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _binaries() -> Iterator[None]:
    """Remove the copy of Postgres that the run made."""
    yield
    remove_binaries()


@pytest.fixture(scope="session")
def server(_binaries: None) -> Iterator[Server]:
    """Start one Postgres server for all tests that only need databases of their own."""
    running = Server()
    yield running
    running.stop()


def _left() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    if os.environ.get(MARK) != str(os.getpid()):
        return found
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == os.environ[MARK] and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if ours and process.pid != os.getpid():
            found.append(process)
    return found
