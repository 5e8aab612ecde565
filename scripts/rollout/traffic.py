"""Traffic between blue and green by HAProxy weights: observed, shifted, taken back, drained. Nothing is remembered."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rollout.environment import Application, Environment
from rollout.errors import BadInput, Failed, Refused
from rollout.haproxy import WEIGHT_MAX, Client, Server

POLL_SECONDS = 0.05
PAGE = "runbooks/rollback.md#traffic"


@dataclass(frozen=True)
class Split:
    """Where new requests go now: `percent` to green (0 to 100, NaN when nothing serves), and each server's share."""

    percent: float
    servers: dict[str, float]


def told(percent: float) -> float | None:
    """Return a percentage as JSON has it: None when nothing serves."""
    return None if math.isnan(percent) else percent


@dataclass(frozen=True)
class Shift:
    """A change of traffic as read back: green's percentage before and after, the weights set, seconds it took."""

    before: float
    after: float
    weights: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class Drained:
    """What a drain left: sessions still open on each server that has any (empty when it is done), and seconds."""

    left: dict[str, int]
    seconds: float


def split(environment: Environment) -> Split:
    """Return the split that the balancer's present weights and states make; raise Failed when it cannot be asked."""
    return _split(environment, Client.of(environment).servers())


def plan(percent: int, blue: int, green: int) -> tuple[int, int]:
    """Return the weights (each blue server, each green server) that give green `percent` of the requests.

    Scaled up to 256, so that a shift passes through no other share on its way. Exact when the reduced weights fit
    HAProxy's range, otherwise the nearest that do (then `shift` states what they give).
    """
    weights = (100 - percent) * green, percent * blue
    divisor = math.gcd(*weights)
    reduced = weights[0] // divisor, weights[1] // divisor
    largest = max(reduced)
    if largest <= WEIGHT_MAX:
        factor = WEIGHT_MAX // largest
        return reduced[0] * factor, reduced[1] * factor
    scaled = [max(1, round(w * WEIGHT_MAX / largest)) if w else 0 for w in reduced]
    return scaled[0], scaled[1]


def shift(environment: Environment, percent: int) -> Shift:
    """Give green `percent` (0 to 100) of the requests; a repeat changes nothing.

    Raises Refused when a server that would get traffic is not up and ready, Failed when the balancer does not obey.
    """
    if not 0 <= percent <= 100:
        raise BadInput(f"{percent} % of traffic", limit="0 to 100", next="name a whole percentage")
    began = time.monotonic()
    client = Client.of(environment)
    blue, green = _names(environment, "blue"), _names(environment, "green")
    servers = client.servers()
    before = _split(environment, servers)
    to_blue, to_green = plan(percent, len(blue), len(green))
    for name in (blue if to_blue else []) + (green if to_green else []):
        _require_serving(servers, name)
    wanted = dict.fromkeys(blue, to_blue) | dict.fromkeys(green, to_green)
    for name in _order(servers, blue, green, wanted):
        if servers[name].weight != wanted[name]:
            client.set_weight(name, wanted[name])
    after = _split(environment, client.servers())
    exact = 100 * to_green * len(green) / (to_green * len(green) + to_blue * len(blue))
    if not math.isclose(after.percent, exact):
        raise Failed(
            f"green was given {exact:g} % and the balancer reads back {after.percent:g} %",
            next="invoke status; a server may have gone down during the shift",
            page=PAGE,
        )
    return Shift(before.percent, after.percent, wanted, time.monotonic() - began)


def to_blue(environment: Environment, *, deadline: float = 5.0) -> Shift:
    """Send every new request to blue: the first act of a rollback, whatever state green is in; a repeat is harmless.

    Blue gets traffic first, then green loses it; a blue server that is down is left to its health check. Raises Failed
    when no blue server is up within `deadline` seconds: green then keeps its weights, because a bad answer may still
    be better than none.
    """
    began = time.monotonic()
    client = Client.of(environment)
    servers = client.servers()
    blue, green = _names(environment, "blue"), _names(environment, "green")
    before = _split(environment, servers)
    weight, _ = plan(0, len(blue), len(green))
    for name in blue:
        if name in servers and servers[name].weight != weight:
            client.set_weight(name, weight)
        if name in servers and servers[name].state != "ready":
            client.set_state(name, "ready")
    if not _wait(lambda: any(s.up and s.effective_weight for s in _of(client.servers(), blue)), deadline):
        raise Failed(
            f"no blue server is up ({_states(client.servers(), blue)}); green keeps its traffic",
            next="start blue, then invoke rollback again",
            page=PAGE,
        )
    for name in green:
        if name in servers:
            client.set_weight(name, 0)
    after = _split(environment, client.servers())
    if after.percent != 0:
        raise Failed(
            f"green still has {after.percent:g} % of the traffic", limit="0 %", next="invoke rollback", page=PAGE
        )
    wanted = dict.fromkeys(blue, weight) | dict.fromkeys(green, 0)
    return Shift(before.percent, after.percent, wanted, time.monotonic() - began)


def drain(environment: Environment, colour: str, deadline: float) -> Drained:
    """Stop new requests to a colour's servers, wait up to `deadline` seconds for those under way, return what is left.

    Raises Refused when nothing else would serve.
    """
    return drain_servers(environment, _names(environment, colour), deadline)


def drain_servers(environment: Environment, names: list[str], deadline: float) -> Drained:
    """Drain the servers named, like `drain`."""
    began = time.monotonic()
    client = Client.of(environment)
    servers = client.servers()
    taken = any(s.effective_weight for s in servers.values() if s.name in names)
    if taken and not any(s.effective_weight for s in servers.values() if s.name not in names):
        raise Refused(
            f"draining {', '.join(names)} would leave no server with traffic",
            limit="at least one other",
            next="shift the traffic first",
            page=PAGE,
        )
    for name in names:
        if servers[name].state != "drain":
            client.set_state(name, "drain")
    _wait(lambda: not any(s.scur for s in _of(client.servers(), names)), deadline)
    left = {s.name: s.scur for s in _of(client.servers(), names) if s.scur}
    return Drained(left, time.monotonic() - began)


def ready(environment: Environment, application: Application, deadline: float = 10.0) -> Server:
    """Let the balancer use a server again and wait until its health check says up; its weight stays as it is.

    Raises Failed when it is not up within `deadline` seconds.
    """
    client = Client.of(environment)
    name = application.haproxy_server
    if client.servers()[name].state != "ready":
        client.set_state(name, "ready")
    if not _wait(lambda: client.servers()[name].up, deadline):
        raise Failed(
            f"{name} is not up after {deadline:g} s ({_states(client.servers(), [name])})",
            next=f"look at the log of {application.host}",
            page=PAGE,
        )
    return client.servers()[name]


def _names(environment: Environment, colour: str) -> list[str]:
    return [a.haproxy_server for a in environment.colour(colour)]


def _of(servers: dict[str, Server], names: Iterable[str]) -> list[Server]:
    return [servers[name] for name in names if name in servers]


def _states(servers: dict[str, Server], names: Iterable[str]) -> str:
    return ", ".join(f"{s.name}: {s.status} {s.state} {s.check_status}".strip() for s in _of(servers, names))


def _split(environment: Environment, servers: dict[str, Server]) -> Split:
    total = sum(s.effective_weight for s in servers.values())
    shares = {s.name: 100 * s.effective_weight / total if total else math.nan for s in servers.values()}
    green = sum(s.effective_weight for s in _of(servers, _names(environment, "green")))
    return Split(100 * green / total if total else math.nan, shares)


def _order(servers: dict[str, Server], blue: list[str], green: list[str], wanted: dict[str, int]) -> list[str]:
    """Order the changes so that something always has weight, and green never gets more than before or after."""
    blue_first = sum(wanted[n] for n in blue) > 0 and (
        sum(wanted[n] for n in blue) >= sum(servers[n].weight for n in blue)
    )
    return blue + green if blue_first or not any(wanted[n] for n in green) else green + blue


def _require_serving(servers: dict[str, Server], name: str) -> None:
    server = servers.get(name)
    if server is None or not server.up or server.state != "ready":
        seen = _states(servers, [name]) or f"{name}: unknown to the load balancer"
        raise Refused(
            f"a server that would get traffic does not serve ({seen})",
            limit="up and ready",
            next="deploy or start it, then shift again",
            page=PAGE,
        )


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(POLL_SECONDS)
    return True
