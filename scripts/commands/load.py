"""A load run: how many users this environment serves, kept as evidence of the newest run."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, ENV, confirmed, number, told
from rollout import environment, journal, runs
from rollout.errors import BadInput
from rollout.load import people
from rollout.objectstore import ObjectStore


@task(
    help={
        "env": ENV,
        "users": "how many at once; each thinks one to three seconds between requests",
        "minutes": "for how long",
        "processes": "Locust processes on this machine",
        "expect_workers": "wait for that many workers on other machines (locust -f scripts/rollout/load/users.py --worker)",
        "confirm": CONFIRM,
        "debug": DEBUG,
    }
)
@told
def load(
    c: Context, users: str = "", minutes: str = "1", processes: str = "1", expect_workers: str = "0", env: str = "sandbox",
    confirm: str = "", debug: bool = False,
) -> None:  # fmt: skip
    """Have many users use the application; keep what was reached."""
    if not users:
        raise BadInput("no number of users", next="invoke load --users 200 --minutes 2")
    counts = {flag: number(flag, value) for flag, value in
              (("users", users), ("processes", processes), ("expect-workers", expect_workers))}  # fmt: skip
    if wrong := next((flag for flag, value in counts.items() if value != int(value)), None):
        raise BadInput(f"--{wrong} is a whole number", next="invoke load --users 200 --minutes 2")
    found = environment.load(env)
    confirmed(found, confirm, f"{users} users write to {env} for {minutes} minutes")
    reached = people.run(
        found, int(counts["users"]), number("minutes", minutes), processes=int(counts["processes"]),
        expect_workers=int(counts["expect-workers"]),
    )  # fmt: skip
    store = ObjectStore(found.object_store)
    state = runs.current(store)
    if state is not None:
        journal.append(store, state.run, "load_run", **reached.to_dict())
    print(
        f"{reached.users:,} users for {reached.seconds:.0f} s: {reached.requests:,} requests ({reached.per_second:,.0f}/s),"
        f" {reached.failures:,} failed; mean {reached.mean_ms:g} ms, p95 {reached.p95_ms:g} ms, p99 {reached.p99_ms:g} ms;"
        f" processors {reached.cpu_percent:.0f} % busy\n"
        + (f"kept in run {state.run}: invoke checklist" if state else "no run has begun, so it is kept nowhere")
    )
