"""The commands as a person calls them: help for every flag, and one clear line with exit 2 for what cannot be."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.environment import ROOT

INVOKE = Path(sys.executable).with_name("invoke")
SUMMARY_MAX = 60  # characters: a line of `invoke --list` on a narrow terminal


def _commands() -> Iterator[tuple[str, Any]]:
    spec = importlib.util.spec_from_file_location("penguin_tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in module.namespace.task_names:
        yield name, module.namespace[name]


COMMANDS = dict(_commands())
# Asked once: Invoke takes each help text out of the task as it hands it over, and keeps those of unknown flags.
FLAGS = {name: command.get_arguments() for name, command in COMMANDS.items()}


def invoke(*words: str) -> tuple[int, str, str]:
    """Run a command where no sandbox is up; return its exit code, output and errors."""
    done = subprocess.run(
        [INVOKE, *words], cwd=ROOT, env={**os.environ, "ROLLOUT_SANDBOX": "nosuch"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained(name: str) -> None:
    """Each flag has a help text of its own, and no help text is about a flag that does not exist."""
    assert [flag.name for flag in FLAGS[name] if not (flag.help or "").strip()] == []
    assert COMMANDS[name].help == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_a_line_what_it_does(name: str) -> None:
    """The first line of the docstring is a sentence that fits into the list."""
    first = (COMMANDS[name].__doc__ or "").strip().splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= SUMMARY_MAX


def test_short_flags_stay() -> None:
    """Invoke hands short flags out in order; these are in people's fingers and in runbooks."""

    def short(name: str) -> dict[str, str]:
        return {flag.names[1]: flag.names[0] for flag in FLAGS[name] if len(flag.names) > 1}

    assert {key: short("deploy").get(key) for key in "epd"} == {"e": "env", "p": "phase", "d": "dry-run"}
    for name in ("finalize", "rollback"):
        assert {key: short(name).get(key) for key in "ed"} == {"e": "env", "d": "dry-run"}
    assert short("status")["e"] == short("checklist.show")["e"] == "env"
    for name in ("plan", "lint", "render", "revert", "discard", "pause", "resume"):
        assert short(f"change.{name}")["e"] == "env"
        assert name == "plan" or short(f"change.{name}")["c"] == "change"


def test_a_new_change_is_shown_before_it_is_written() -> None:
    """A dry run prints the files and writes none of them; what it would write passes the linter's schema."""
    folder = ROOT / "sql" / "queue" / "099_orders"
    code, out, err = invoke("change.new", "-t", "queue", "-n", "099_orders", "-a", "public.orders", "--dry-run")
    assert (code, err, folder.exists()) == (0, "", False)
    assert out.startswith("sql/queue/099_orders/change.yml\n\n# What may stand here")
    assert out.endswith("dry run: nothing was changed\n")


def test_the_linter_passes_the_repository() -> None:
    """Exit 0 and a line that says so; as JSON an empty list."""
    assert invoke("change.lint") == (0, "nothing found\n", "")
    assert invoke("change.lint", "--json") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deploy"], "refused: no phase named"),
        (["deploy", "--phase", "4"], "refused: unknown phase '4' (limit: 1 prepare, 2 rollout, 3 cutover)"),
        (["deploy", "-p", "1", "-e", "prod"], "refused: unknown environment 'prod'"),
        (["deploy", "-p", "prepare"], "refused: the sandbox 'nosuch' is not up"),
        (["finalize", "--confirm", "sandbox"], "refused: the sandbox 'nosuch' is not up"),
        (["rollback"], "refused: the sandbox 'nosuch' is not up"),
        (["status"], "refused: the sandbox 'nosuch' is not up"),
        (["checklist"], "refused: the sandbox 'nosuch' is not up"),
        (["monitor"], "refused: the sandbox 'nosuch' is not up"),
        (["monitor", "--hours", "-1"], "refused: --hours -1 (limit: 0 or more)"),
        (["monitor.refresh", "-e", "prod"], "refused: unknown environment 'prod'"),
        (["monitor.metrics"], "refused: the sandbox 'nosuch' is not up"),
        (["deploy", "-p", "2", "-e", "production"], "refused: not confirmed: "),
        (["finalize", "-e", "production", "--confirm", "staging"], "refused: --confirm says 'staging'"),
        (["sandbox.up", "--scale", "-1"], "refused: --scale -1 (limit: 0 or more)"),
        (["sandbox.up", "--scale", "nan"], "refused: --scale nan (limit: 0 or more)"),
        (["sandbox.up", "--seed", "x"], "refused: --seed 'x' is no number"),
        (["change.new", "--tier", "queu"], "refused: unknown tier 'queu' (did you mean queue?)"),
        (["change.new", "-t", "queue", "-n", "003_x"], "refused: the number of 003_queue_partitioning is taken"),
        (["change.new", "-e", "prod"], "refused: unknown environment 'prod'"),
        (["change.lint", "--change", "003_queue"], "refused: no change has the folder '003_queue' (did you mean 003_queue_p"),
        (["change.plan", "--tier", "quue"], "refused: unknown tier 'quue' (did you mean queue?)"),
        (["change.plan"], "refused: the sandbox 'nosuch' is not up"),
        (["change.render"], "refused: no change named"),
        (["change.render", "-c", "003_queue_partitioning"], "refused: the sandbox 'nosuch' is not up"),
        (["change.revert", "-c", "004"], "refused: no plan has a change '004' (did you mean 004_olap_performance?)"),
        (["change.revert", "-c", "004_olap_performance", "-e", "production"], "refused: not confirmed: revert 004_olap_perf"),
        (["change.discard", "-c", "004_olap_performance", "-e", "staging"], "refused: not confirmed: discard 004_olap_perf"),
        (["change.pause", "-c", "004_olap_performance"], "refused: the sandbox 'nosuch' is not up"),
        (["change.resume"], "refused: no change named"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], told: str) -> None:
    """Exit 2, what was seen and what to do next, no trace, and nothing on standard output."""
    code, out, err = invoke(*words)
    first, *rest = err.splitlines()
    assert (code, out) == (2, "")
    assert told in first
    assert len(rest) == 1
    assert rest[0].startswith("next: ")
