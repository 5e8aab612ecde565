"""The inventories that come with the repository: whole, of one file set, and examples that lead nowhere."""

from __future__ import annotations

import re

import pytest
import yaml

from rollout import environment
from rollout.environment import KNOWN, ROOT, Settings


@pytest.mark.parametrize("name", KNOWN)
def test_every_setting_is_stated(name: str) -> None:
    """No environment leaves a limit to a default that nobody reads."""
    stated = yaml.safe_load((ROOT / "inventories" / name / "group_vars" / "all.yml").read_text())["rollout_settings"]
    assert sorted(stated) == sorted(Settings.model_fields)
    Settings.model_validate(stated)


@pytest.mark.parametrize("name", ["staging", "production"])
def test_examples_load_and_lead_nowhere(name: str) -> None:
    """The examples pass environment.load, and every address in them is one of documentation."""
    here = environment.load(name)
    assert (len(here.databases), len(here.redis), len(here.applications)) == (8, 2, 4)
    places = [d.address for d in here.databases] + [r.address for r in here.redis] + [a.url for a in here.applications]
    for place in [*places, here.load_balancer.url, here.load_balancer.socket]:
        assert re.search(r"192\.0\.2\.\d+|\.example\.net", place), place


def test_all_environments_have_the_same_hosts() -> None:
    """A playbook that works in the sandbox finds the same groups and hosts elsewhere."""

    def groups(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}

        def walk(group: str, body: dict[str, dict[str, object]] | None) -> None:
            found[group] = set((body or {}).get("hosts") or {})
            for child, inner in ((body or {}).get("children") or {}).items():
                walk(child, inner)  # type: ignore[arg-type]

        walk("all", yaml.safe_load((ROOT / "inventories" / name / "hosts.yml").read_text())["all"])
        return found

    assert groups("sandbox") == groups("staging") == groups("production")
    assert groups("sandbox")["app_green"] == {"app-green-1", "app-green-2"}
