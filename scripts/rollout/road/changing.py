"""Steps on the databases: expand, swap, revert, compare, contract, refresh, scan."""

from __future__ import annotations

from typing import Any

from rollout import performance_view
from rollout.engine import changes, ledger
from rollout.engine.comparison import source_of
from rollout.engine.stages import Outcome, Stages
from rollout.errors import Failed
from rollout.references import scan
from rollout.road.context import Context, Facts, step

COMPARABLE = ("copied", "compared", "swapped", "mismatched")
ROWS = """
SELECT s.nspname || '.' || c.relname AS name, c.reltuples::bigint AS n
FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.reltuples > 0
"""


@step("expand")
def expand(context: Context, host: str) -> Facts:
    """Create the shadows of a database's changes, arm the sync, copy and compare."""
    outcomes = _each(context, host, "expand")
    # Copies of the authority's rows; other chunked work (records of conflicts, of orphans) copies nothing.
    plan = changes.plan(context.environment.database(host).tier)
    rewriting = {change.name for change in plan if change.rewrites}
    fresh = {o.change: o.facts["compared"] for o in outcomes if o.change in rewriting and o.facts.get("compared")}
    if fresh:
        _note_compared(context, host, fresh)
    names = {relation for change in plan for relation in change.declaration.relations}
    copies = [c for o in outcomes for c in o.facts.get("copies", [])]
    rows = sum(c["rows"] for c in copies if source_of(c["work"]) in names)
    compared = sum(o.facts["compared"]["rows"] for o in outcomes if o.facts.get("compared"))
    return {**_facts(outcomes), "say": f"copied {rows:,} rows, compared {compared:,}, 0 differences"}


@step("swap")
def swap(context: Context, host: str) -> Facts:
    """Exchange the names: from here on the new relations are the authority."""
    outcomes = _each(context, host, "swap")
    done = [f"{o.change} {o.facts['held_ms']:.0f} ms" for o in outcomes if o.changed]
    return {**_facts(outcomes), "say": "; ".join(done) or "nothing to swap"}


@step("revert")
def revert(context: Context, host: str) -> Facts:
    """Exchange the names back, last change first; the shadows stay in step for the next swap."""
    _note_reverted(context, host)
    outcomes = _each(context, host, "revert", backwards=True)
    kept = [f"{o.change} {o.facts['held_ms']:.0f} ms" for o in outcomes if o.changed]
    with ledger.connect(context.environment.database(host)) as connection:
        rejects = ledger.rejects(connection) if ledger.installed(connection) else 0
    context.set_fact(f"rejects.{host}", rejects)
    return {**_facts(outcomes), "rejects": rejects, "say": "; ".join(kept) or "nothing to take back"}


@step("compare")
def compare(context: Context, host: str) -> Facts:
    """Compare authority and shadow of every change of a database that has one; raise Failed for the first that differs.

    What was found is a fact of the run either way. On the way back a shadow that differs and was never the authority
    is worth nothing: it is discarded, as the next expand would do, and does not stand in the way.
    """
    database = context.environment.database(host)
    results: dict[str, Any] = {}
    discarded: list[str] = []
    wrong: list[Failed] = []
    for change in changes.plan(database.tier):
        with ledger.connect(database) as connection:
            if not change.rewrites or not ledger.installed(connection):
                continue
            report = context.report("compare", host, rows_by_name(connection))
            stages = Stages(connection, change, context.fence, context.environment.settings, report)
            if stages.stage() not in COMPARABLE:
                continue
            worthless = context.phase == "rollback" and change.name not in _reverted(context, host)
            if not (worthless and stages.stage() == "mismatched"):
                try:
                    results[change.name] = stages.compare()
                except Failed as error:
                    if not (worthless and stages.stage() == "mismatched"):
                        results[change.name] = {"rows": 0, "failed": error.observed}
                        wrong.append(error)
                        continue
            if worthless and stages.stage() == "mismatched":
                stages.discard()
                discarded.append(change.name)
    _note_compared(context, host, results)
    if wrong:
        raise wrong[0]
    rows = sum(r["rows"] for r in results.values())
    said = [f"compared {rows:,} rows, 0 differences"] if results else []
    said += [f"discarded the shadow of {name}: it differed and was never swapped" for name in discarded]
    return {"changed": bool(discarded), "compared": results, "discarded": discarded,
            "say": "; ".join(said) or "no shadow to compare with"}


@step("no_return")
def no_return(context: Context, host: str) -> Facts:
    """Record that from now on only a restore leads back."""
    context.session.point_of_no_return()
    return {"say": "point of no return"}


@step("contract")
def contract(context: Context, host: str) -> Facts:
    """Drop the old relations and bring the new ones home. No way back but a restore."""
    outcomes = _each(context, host, "contract")
    return {**_facts(outcomes), "say": ", ".join(f"{o.change} {o.stage}" for o in outcomes) or "nothing to contract"}


@step("refresh_performance")
def refresh_performance(context: Context, host: str, host_set: str = "live") -> Facts:
    """Bring oltp's campaigns over to olap and refresh the performance view, concurrently."""
    results = performance_view.refresh(context.environment, "staging" if host_set == "staging" else "live")
    facts = [r.to_dict() for r in results]
    rows = sum(int(f.get("rows", 0)) for f in facts)
    return {"refreshed": facts, "say": f"campaign_performance_mv: {rows:,} campaigns"}


@step("scan_references")
def scan_references(context: Context, host: str) -> Facts:
    """Look for references between databases that point at nothing, set by set; the findings are recorded, not repaired."""
    results = scan.scan(context.environment, "live", scan_id=f"{context.request.run}-{context.request.token}")
    found = scan.fact(results)
    context.set_fact("references", found)
    say = f"{len(results)} references, {found['scanned_rows']:,} rows,"
    say += f" {found['wrong_rows']:,} point at nothing or at another tenant"
    say += f"; {found['kept_rows']:,} more are kept by a person's word" if found["kept_rows"] else ""
    return {"references": found["references"], "say": f"{say} (recorded)"}


def _note_compared(context: Context, host: str, results: dict[str, Any]) -> None:
    """Keep what a comparison found, for the checklist; a database that is contracted has nothing to compare any more."""
    if results or context.phase != "finalize":
        context.set_fact(f"compared.{host}", {"changes": results, **context.stamp()})


def _note_reverted(context: Context, host: str) -> None:
    """Keep, before anything is exchanged, which changes this rollback takes back: a repeat must still compare them."""
    database, known = context.environment.database(host), _reverted(context, host)
    with ledger.connect(database) as connection:
        if not ledger.installed(connection):
            return
        swapped = {c.name for c in changes.plan(database.tier) if ledger.stage(connection, c.name) == "swapped"}
    if swapped - known:
        context.record(f"reverted.{host}", sorted(known | swapped))


def _reverted(context: Context, host: str) -> set[str]:
    return set(context.recorded(f"reverted.{host}") or [])


def _each(context: Context, host: str, stage: str, *, backwards: bool = False) -> list[Outcome]:
    database = context.environment.database(host)
    outcomes = []
    plan = changes.plan(database.tier)
    for change in reversed(plan) if backwards else plan:
        with ledger.connect(database) as connection:
            if stage == "revert" and not ledger.installed(connection):
                continue
            report = context.report(stage, host, rows_by_name(connection))
            stages = Stages(connection, change, context.fence, context.environment.settings, report)
            try:
                outcomes.append(getattr(stages, stage)())
            except Failed as error:
                if stages.stage() == "mismatched":
                    _note_compared(context, host, {change.name: {"rows": 0, "failed": error.observed}})
                raise
    return outcomes


def rows_by_name(connection: ledger.Connection) -> dict[str, int]:
    """Return the planner's estimate of every old table's rows, for an ETA."""
    return {str(row["name"]): int(row["n"]) for row in connection.execute(ROWS).fetchall()}


def _facts(outcomes: list[Outcome]) -> Facts:
    return {"changed": any(o.changed for o in outcomes), "changes": [o.to_dict() for o in outcomes]}


