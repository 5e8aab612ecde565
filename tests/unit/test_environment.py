"""An environment is checked whole: what is missing or misspelt is named before anything runs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rollout import environment
from rollout.environment import ROOT
from rollout.errors import BadInput


@cache
def _listing() -> str:
    argv = [str(Path(sys.executable).with_name("ansible-inventory")), "--list", "-i", "inventories/staging"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.fixture
def listing() -> dict[str, Any]:
    """Give what ansible-inventory says of the staging example."""
    found: dict[str, Any] = copy.deepcopy(json.loads(_listing()))
    return found


@pytest.mark.parametrize("group", ["queue", "staging_redis", "load_balancer", "app_green"])
def test_a_missing_group_is_named(listing: dict[str, Any], group: str) -> None:
    """An empty group would make its play pass without doing anything, so it refuses."""
    listing.pop(group)
    with pytest.raises(BadInput, match=f"no hosts in group '{group}'"):
        environment.from_inventory("staging", listing)


def test_a_typo_in_settings_is_named(listing: dict[str, Any]) -> None:
    """A misspelt limit is an error, never a default."""
    settings = listing["_meta"]["hostvars"]["lb-1"]["rollout_settings"]
    settings["gate_eror_rate_max"] = settings.pop("gate_error_rate_max")
    with pytest.raises(BadInput, match=r"wrong at Settings.gate_error_rate_max: Field required"):
        environment.from_inventory("staging", listing)


@pytest.mark.parametrize(
    ("key", "value"), [("chunk_target_ms", "soon"), ("traffic_steps_percent", [10, 200]), ("lease_seconds", 0)]
)
def test_a_wrong_value_is_named(listing: dict[str, Any], key: str, value: object) -> None:
    """A value out of its kind or bounds refuses with its name."""
    listing["_meta"]["hostvars"]["lb-1"]["rollout_settings"][key] = value
    with pytest.raises(BadInput, match=f"wrong at Settings.{key}"):
        environment.from_inventory("staging", listing)


def test_an_unknown_host_variable_is_named(listing: dict[str, Any]) -> None:
    """A misspelt variable of a host refuses; one that belongs to others is left alone."""
    host = listing["_meta"]["hostvars"]["pg-queue-1"]
    host["site_rack"] = "b4"
    assert environment.from_inventory("staging", listing).tier("queue")
    host["postgres_prot"] = 5432
    with pytest.raises(BadInput, match=r"wrong at Database.prot"):
        environment.from_inventory("staging", listing)


def test_an_unknown_environment_is_refused() -> None:
    """The names are said."""
    with pytest.raises(BadInput, match=r"unknown environment 'prod'.*sandbox, staging, production"):
        environment.load("prod")


def test_a_sandbox_that_is_not_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to start it."""
    monkeypatch.setenv("ROLLOUT_SANDBOX", "nosuch")
    with pytest.raises(BadInput, match="'nosuch' is not up") as refused:
        environment.load("sandbox")
    assert refused.value.next == "invoke sandbox.up"


def test_what_is_written_holds_paths_and_no_secret(listing: dict[str, Any], tmp_path: Path) -> None:
    """The dump is read back as it was, names secret files by path, and holds nothing that stands in them."""
    for name in ("pgpass", "s3"):
        (tmp_path / name).write_text("127.0.0.1:*:*:penguin_rollout:hunter2\naws_secret_access_key = hunter2\n")
    for host in listing["_meta"]["hostvars"].values():
        if "postgres_passfile" in host:
            host["postgres_passfile"] = str(tmp_path / "pgpass")
        if "object_store" in host:
            host["object_store"]["credentials_file"] = str(tmp_path / "s3")
    here = environment.from_inventory("staging", listing)
    environment.save(here, tmp_path / "run" / "environment.json")
    text = (tmp_path / "run" / "environment.json").read_text()
    assert environment.read(tmp_path / "run" / "environment.json") == here
    assert str(tmp_path / "pgpass") in text
    assert "hunter2" not in text + here.databases[0].conninfo() + repr(here)
