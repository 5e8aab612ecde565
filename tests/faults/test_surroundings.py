"""What is not the table's fault: a disk that is full, a replica that falls behind. The same command goes on when that is over."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import twin
import universe
from cases import Case, q
from cluster import Cluster
from servers import DROP, NOBODY, free_port, superuser, within
from steps import Steps
from tables import drawn
from traffic import Traffic, keys
from writers import Writers

pytestmark = pytest.mark.deep

HELD_SECONDS = 2.5
ROWS = 4000
DISK_MIB = 64
LEFT_KIB = 400  # what the shadow finds: enough to be made, not for its rows


@contextmanager
def home() -> Iterator[Cluster]:
    """A server of the test's own."""
    running = Cluster()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def staged(case: Case, cluster: Cluster, dbname: str) -> Iterator[tuple[Steps, Traffic, Writers]]:
    """Writers on a table, and the steps of its change."""
    with cluster.superuser(dbname) as owner:
        pool = keys(owner, case)
    traffic = Traffic(case, cluster.conninfo(dbname, universe.APP), pool)
    with (
        tempfile.TemporaryDirectory() as folder,
        Steps(cluster, dbname, case.change_yml(), Path(folder), traffic) as steps,
    ):
        writers = Writers(traffic)
        try:
            yield steps, traffic, writers
        finally:
            writers.stop()


def plain() -> Case:
    """Return a drawn case without kills and without what a replica cannot refresh."""
    number = next(
        n for n in range(1, 200) if not (c := drawn(n, 15)).seen and c.upserts and not c.renamed and not c.partition
    )
    return replace(drawn(number, 15), kills=(), rows=ROWS, again=False)


def test_replica_falls_behind() -> None:
    """While a replica does not replay, the copy stands still and says why; afterwards it goes on, and the replica has it all."""
    case = plain()
    with home() as cluster:
        port, folder = free_port(), cluster.data.parent / "standby"
        backup = [
            cluster.binaries / "pg_basebackup",
            "-D",
            folder,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-U",
            "postgres",
        ]
        backup += ["-h", "127.0.0.1", "-p", str(cluster.port)]
        subprocess.run([str(word) for word in backup], check=True, capture_output=True, cwd="/", **DROP)
        server = [cluster.binaries / "postgres", "-D", folder, "-p", port, "-k", "", "-h", "127.0.0.1"]
        cluster.spawn([*server, "-c", "max_connections=60"], **DROP)
        within(30, lambda: superuser(port).close())
        dbname = cluster.database()
        with cluster.superuser(dbname) as owner:
            universe.create(owner, case)
        caught_up(cluster, port)
        with superuser(port) as standby:
            standby.execute("SELECT pg_wal_replay_pause()")
        with staged(case, cluster, dbname) as (steps, traffic, writers):
            steps.settings |= {"throttle_replica_lag_max_mib": 0.1, "throttle_hold_max_seconds": 60}
            within(30, lambda: behind(cluster))
            said: dict[str, Any] = {}
            runner = threading.Thread(target=lambda: said.update(steps.step("expand")))
            runner.start()
            within(60, lambda: expanded(cluster, dbname))
            runner.join(HELD_SECONDS)
            held = runner.is_alive()
            with superuser(port) as standby:
                standby.execute("SELECT pg_wal_replay_resume()")
            runner.join()
            assert said.get("stage") == "compared", said
            assert held, said
            assert any("held by replica backlog" in note for note in said["notes"]), said["notes"]
            assert steps.step("swap")["stage"] == "swapped", steps.log
            writers.stop()
            caught_up(cluster, port)
            with superuser(port, dbname) as standby:
                assert (twin.differences(standby, case, "swapped"), traffic.failures) == ([], [])


def behind(cluster: Cluster) -> None:
    """Raise unless the replica lacks more than the copy stands still for."""
    with cluster.superuser() as primary:
        query = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > 500000 FROM pg_stat_replication"
        assert primary.execute(query).fetchone() == (True,)


def expanded(cluster: Cluster, dbname: str) -> None:
    """Raise unless the shadow is made and to be filled."""
    with cluster.superuser(dbname) as connection:
        assert connection.execute("SELECT stage FROM rollout.changes").fetchone() == ("expanded",)


def caught_up(cluster: Cluster, port: int) -> None:
    """Wait until the replica has replayed what the primary has written by now."""
    with cluster.superuser() as primary, superuser(port) as standby:
        (written,) = primary.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone() or ("",)

        def replayed() -> None:
            assert standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (written,)).fetchone() == (True,)

        within(30, replayed)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of a few MiB, for root alone to do; taken away again whatever happens."""
    folder.mkdir()
    subprocess.run(
        [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=True
    )
    try:
        inner = folder / "space"
        inner.mkdir()
        shutil.chown(inner, NOBODY, NOBODY)
        folder.chmod(0o755)
        yield inner
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_disk_full() -> None:
    """The shadow's disk is full in the middle of the copy; with space again the same command goes on, and nothing is lost."""
    case = plain()
    with home() as cluster, small_disk(cluster.folder / "disk") as space:
        dbname = cluster.database()
        with cluster.superuser(dbname) as owner:
            universe.create(owner, case)
            owner.execute(f"CREATE TABLESPACE small OWNER {universe.OWNER} LOCATION '{space}'".encode())
            owner.execute(f"ALTER TABLE {q(case.schema)}.{q(case.table)} SET TABLESPACE small".encode())
            owner.execute(f"ALTER DATABASE {dbname} SET default_tablespace = small".encode())
            owner.execute("CHECKPOINT")
        ballast = space.parent / "ballast"
        with ballast.open("wb") as file:
            file.write(b"\0" * (shutil.disk_usage(space).free - LEFT_KIB * 1024))
        with staged(case, cluster, dbname) as (steps, traffic, _):
            traffic.full = True
            said = steps.step("expand")
            ballast.unlink()
            time.sleep(0.2)
            traffic.full = False
            assert "done" not in said, steps.log
            assert "No space left" in str(said), said
            for step, stage in (("expand", "compared"), ("swap", "swapped"), ("revert", "copied")):
                done = steps.step(step)
                assert done.get("stage") == stage, (done, traffic.failures)
                with traffic.still(), cluster.superuser(dbname) as connection:
                    assert (twin.differences(connection, case, stage), traffic.failures) == ([], [])
        cluster.drop(dbname)
        with cluster.superuser() as owner:
            owner.execute("DROP TABLESPACE small")
