"""The commands by their names; what each does is in scripts/commands."""

from __future__ import annotations

from invoke import Collection

from commands import audit, change, checklist, load, monitor, references, restore, rls, rollout, sandbox, snapshot

namespace = Collection(rollout.deploy, rollout.finalize, rollout.rollback, rollout.status, load.load)
namespace.add_collection(
    Collection(
        "sandbox",
        up=sandbox.up,
        down=sandbox.down,
        status=sandbox.status,
        load=sandbox.load,
        verify=sandbox.verify,
    )
)
namespace.add_collection(
    Collection(
        "change",
        new=change.new,
        lint=change.lint,
        plan=change.plan,
        render=change.render,
        revert=change.revert,
        discard=change.discard,
        pause=change.pause,
        resume=change.resume,
    )
)
checklists = Collection("checklist", attest=checklist.attest)
checklists.add_task(checklist.show, name="show", default=True)
namespace.add_collection(checklists)
namespace.add_collection(Collection("rls", report=rls.report))
scans = Collection("references", mend=references.mend)
scans.add_task(references.scan, name="scan", default=True)
namespace.add_collection(scans)

audits = Collection("audit", verify=audit.verify, seal=audit.seal, partitions=audit.of_partitions)
audits.add_task(audit.of_journal, name="journal", default=True)
namespace.add_collection(audits)
monitors = Collection("monitor", refresh=monitor.refresh, metrics=monitor.metrics_)
monitors.add_task(monitor.watch, name="watch", default=True)
namespace.add_collection(monitors)

namespace.add_collection(
    Collection(
        "snapshot",
        take=snapshot.take,
        verify=snapshot.verify,
        list=snapshot.list_,
        status=snapshot.status,
        prune=snapshot.prune,
        base=snapshot.base,
        receive=snapshot.receive,
    )
)
restores = Collection("restore", undo=restore.undo, redis=restore.redis, queue=restore.queue)
restores.add_task(restore.restore, name="restore", default=True)
namespace.add_collection(restores)
