"""The commands by their names; what each does is in scripts/commands."""

from __future__ import annotations

from invoke import Collection

from commands import change, monitor, rollout, sandbox

namespace = Collection(rollout.deploy, rollout.finalize, rollout.rollback, rollout.status, rollout.checklist)
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
_monitor = Collection("monitor", refresh=monitor.refresh, metrics=monitor.metrics_)
_monitor.add_task(monitor.watch, name="watch", default=True)
namespace.add_collection(_monitor)
