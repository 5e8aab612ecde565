"""The commands by their names; what each does is in scripts/commands."""

from __future__ import annotations

from invoke import Collection

from commands import change, rls, rollout, sandbox

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
namespace.add_collection(Collection("rls", report=rls.report))
