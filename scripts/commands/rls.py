"""invoke rls.report: whether every relation of every database is bound to its tenant."""

from __future__ import annotations

import json as jsons
from collections import Counter

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import DEBUG, ENV, JSON, told
from rollout import environment, row_security
from rollout.environment import TIERS
from rollout.review.scaffold import choice


@task(help={"env": ENV, "tier": "oltp, content, queue or olap; default: all", "json": JSON, "debug": DEBUG})
@told
def report(c: Context, env: str = "sandbox", tier: str = "", json: bool = False, debug: bool = False) -> None:
    """Say of each relation whether it is bound to its tenant.

    Exit 1 when one does not.
    """
    tiers = [choice("tier", tier, TIERS)] if tier else list(TIERS)
    lines = row_security.of(environment.load(env), tiers)
    failing = [line for line in lines if line["verdict"] == "fail"]
    if json:
        print(jsons.dumps(lines, indent=1))
    else:
        width = max((len(str(line["relation"])) for line in lines), default=0)
        for line in lines:
            print(f"{line['host']:14} {line['relation']:{width}} {line['kind']:18} {line['verdict']:16} {line['why']}")
        counts = Counter(str(line["verdict"]) for line in lines)
        print(", ".join(f"{counts[verdict]} {verdict}" for verdict in ("pass", "not multi-tenant", "fail")))
    if failing:
        which = ", ".join(f"{line['relation']} ({line['host']})" for line in failing[:5])
        more = f" and {len(failing) - 5} more" if len(failing) > 5 else ""
        raise Exit(f"failed: {which}{more}\nnext: what stands behind each  see runbooks/row-security.md#report", code=1)
