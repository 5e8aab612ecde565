"""Our own snapshots, as the commands take, restore and verify them; each act is a program of its own, as the others' are.

python -m rollout.bench.snapshots.ours snapshot|restore|verify PLAN
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from rollout import environment, snapshots
from rollout.bench import watch
from rollout.bench.snapshots.case import JOBS, Case, Did
from rollout.environment import ROOT, Database, Environment, Settings
from rollout.objectstore import ObjectStore
from rollout.snapshots import manifest, taking, verifying
from rollout.snapshots.proof import Proof

GUARANTEE = (
    "digests of every row taken in the dump's own transaction snapshot; verify restores into a throw-away server, compares every"
    " table, sequence and definition, checks every B-tree against its table (amcheck, heapallindexed), roles and marker"
)


def measure(case: Case) -> Did:
    """Snapshot, restore beside the source, verify."""
    plan = case.folder / "plan.json"
    plan.touch(0o600)
    plan.write_text(json.dumps({
        "source": case.source.model_dump(), "target": case.target.model_dump(), "prefix": case.prefix,
        "store": case.store.config("").model_dump(), "proof": str(case.folder / "proof"),
    }))  # fmt: skip
    env = {**os.environ, **case.store.environment(), "PYTHONPATH": str(ROOT / "scripts"), "TMPDIR": str(case.folder)}

    def act(name: str) -> watch.Act:
        case.calm()
        argv = [sys.executable, "-m", "rollout.bench.snapshots.ours", name, str(plan)]
        return watch.run(argv, env, deadline_seconds=case.deadline_seconds)

    taken, restored = act("snapshot"), act("restore")
    case.restored(case.target)
    case.server.drop(case.target.dbname)
    verified = act("verify")
    proof = Proof.model_validate_json((case.folder / "proof").read_text())
    findings = [*proof.findings, *(said for compared in proof.comparisons.values() for said in compared.differences)]
    return Did(
        taken, restored, verified, proven=proof.verdict == "pass", guarantee=GUARANTEE, findings=findings, options={"jobs": JOBS}
    )


def main(act: str, plan: Path) -> int:
    """Do one act of a plan; exit status 0 when it was done, whatever the verdict."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # workspaces are to be left in order
    given = json.loads(plan.read_text())
    store = ObjectStore(environment.ObjectStore.model_validate(given["store"]))
    source, prefix = Database.model_validate(given["source"]), given["prefix"]
    if act == "snapshot":
        marker = taking.marker_name(prefix)
        taken = snapshots.take_database(source, store, prefix, jobs=JOBS, marker=marker)
        snapshots.commit(store, prefix, [taken], [], environment="bench", who="bench", why="bench", marker=marker)
        return 0
    found = snapshots.load(store, f"{prefix}/{manifest.NAME}")
    if act == "restore":
        target = Database.model_validate(given["target"])
        snapshots.restore_database(found.databases[0], store, target, beside=True, name=found.id, jobs=JOBS)
    else:
        # Of an environment only how many streams it restores in is asked.
        env = Environment.model_construct(name="bench", settings=Settings.model_construct(snapshot_jobs=JOBS))
        proof = verifying.verify(env, store, found, lambda _: None, by="bench")
        Path(given["proof"]).write_text(proof.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
