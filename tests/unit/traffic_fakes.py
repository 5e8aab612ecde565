"""A runtime socket that answers like HAProxy 2.8, and an environment around it; for tests of our own logic only."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import yaml

from rollout.environment import ROOT, Environment

FIELDS = (
    "pxname",
    "svname",
    "scur",
    "status",
    "weight",
    "hrsp_5xx",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "check_status",
)
STATE_FIELDS = ("be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state", "srv_admin_state", "srv_uweight")


class FakeBalancer:
    """One backend `app`; `commands` records what was asked, `mute` names servers whose changes it ignores silently."""

    def __init__(self) -> None:
        names = ("blue-1", "blue-2", "green-1", "green-2")
        self.rows: dict[str, dict[str, Any]] = {
            n: {"weight": 100 if "blue" in n else 0, "op": 2, "admin": 0, "scur": 0, "check": "L7OK", "wretr": 0}
            for n in names
        }
        self.commands: list[str] = []
        self.mute: set[str] = set()
        self.totals: list[int] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def changes(self) -> list[str]:
        return [c for c in self.commands if c.startswith("set ")]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                command = connection.recv(4096).decode().strip()
                self.commands.append(command)
                connection.sendall(self._answer(command).encode())

    def _answer(self, command: str) -> str:
        words = command.split()
        if command == "show stat":
            lines = ["# " + ",".join(FIELDS)]
            for name, r in self.rows.items():
                status = "UP" if r["op"] == 2 else "DOWN"
                lines.append(f"app,{name},{r['scur']},{status},{r['weight']},0,0,0,{r['wretr']},0,{r['check']}")
            return "\n".join(lines) + "\n\n"
        if words[:3] == ["show", "servers", "state"]:
            if words[3] != "app":
                return "Can't find backend.\n\n"
            lines = ["1", "# " + " ".join(STATE_FIELDS)]
            lines += [f"3 app 1 {n} 127.0.0.1 {r['op']} {r['admin']} {r['weight']}" for n, r in self.rows.items()]
            return "\n".join(lines) + "\n\n"
        name = words[2].partition("/")[2]
        if name not in self.rows:
            return "No such server.\n\n"
        row = self.rows[name]
        if words[:2] == ["get", "weight"]:
            return f"{row['weight']} (initial 1)\n\n"
        if name not in self.mute:
            if words[:2] == ["set", "weight"]:
                row["weight"] = int(words[3])
            else:
                row["admin"] = {"ready": 0, "drain": 8, "maint": 1}[words[4]]
        self.totals.append(sum(r["weight"] for r in self.rows.values() if r["op"] == 2 and not r["admin"]))
        return "\n"


def environment(tmp_path: Path, socket_address: str = "127.0.0.1:1", **settings: Any) -> Environment:
    """Build an environment with two servers a colour, one database a tier on a closed port, and small limits."""
    # What the repository states for the sandbox, so that a new limit needs no line here; then the small ones.
    stated = yaml.safe_load((ROOT / "inventories" / "sandbox" / "group_vars" / "all.yml").read_text())[
        "rollout_settings"
    ] | {
        "stall_budget_total_ms": 500,
        "stall_budget_once_ms": 100,
        "lock_attempts_max": 5,
        "chunk_target_ms": 40,
        "copy_lanes": 1,
        "compare_connections": 2,
        "blocker_transaction_max_seconds": 5,
        "traffic_steps_percent": [10, 25, 50],
        "gate_window_seconds": 0.2,
        "gate_deadline_seconds": 1,
        "gate_samples_min": 100,
        "gate_error_rate_max": 0.01,
        "gate_latency_ratio_max": 1.25,
        "gate_latency_slack_ms": 25,
        "gate_queue_age_max_seconds": 30,
        "drain_timeout_seconds": 1,
        "cutover_watch_seconds": 1,
        "snapshot_age_max_seconds": 60,
        "finalize_snapshot_age_max_seconds": 60,
        "disk_free_min_gib": 1,
        "lease_seconds": 30,
        "release_before": "v1",
        "release_after": "v2",
        "release_build_command": ["true"],
        "release_start_command": ["true"],
        "release_stop_command": ["true"],
    }
    document = {
        "name": "sandbox",
        "databases": [
            {
                "host": f"pg-{t}-1",
                "tier": t,
                "host_set": "live",
                "address": "127.0.0.1",
                "port": 1,
                "dbname": "d",
                "user": "u",
                "passfile": "/nonexistent",
                "app_role": "penguin_app",
            }
            for t in ("oltp", "content", "queue", "olap")
        ],
        "redis": [],
        "applications": [
            {
                "host": f"app-{c}-{i}",
                "colour": c,
                "url": "http://127.0.0.1:1",
                "haproxy_server": f"{c}-{i}",
                "release_dir": str(tmp_path / f"release-{c}-{i}"),
            }
            for c in ("blue", "green")
            for i in (1, 2)
        ],
        "load_balancer": {
            "url": "http://127.0.0.1:1",
            "socket": socket_address,
            "log": str(tmp_path / "lb.log"),
            "backend": "app",
        },
        "object_store": {
            "endpoint_url": None,
            "region": "r",
            "bucket": "bkt",
            "prefix": "p",
            "credentials_file": "/nonexistent",
        },
        "settings": stated | settings,
        "artifacts": str(tmp_path / "artifacts"),
    }
    return Environment.model_validate(document)


def line(
    t: int,
    server: str,
    *,
    took: int = 5,
    status: int = 200,
    path: str = "/x",
    method: str = "GET",
    termination: str = "--",
) -> str:
    """One line of the balancer's log."""
    return (
        json.dumps(
            {
                "t": t,
                "server": server,
                "status": status,
                "method": method,
                "path": path,
                "Ti": 0,
                "Ta": took,
                "Tr": took,
                "Tw": 0,
                "Tc": 0,
                "retries": "0",
                "termination": termination,
            }
        )
        + "\n"
    )
