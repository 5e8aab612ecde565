"""A tiny application process for tests of traffic and releases: `python traffic_application.py PORT RELEASE DIGEST`.

POST /_mode?delay_ms=N&fail=0.1 makes it slow or failing from then on.
"""

from __future__ import annotations

import asyncio
import random
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PORT, RELEASE, DIGEST = int(sys.argv[1]), sys.argv[2], sys.argv[3]
mode = {"delay_ms": 0.0, "fail": 0.0}


async def work(request: Request) -> Response:
    await asyncio.sleep(mode["delay_ms"] / 1000)
    return JSONResponse({"port": PORT}, 500 if random.random() < mode["fail"] else 200)


async def set_mode(request: Request) -> Response:
    mode.update({k: float(v) for k, v in request.query_params.items()})
    return JSONResponse(mode)


async def fine(request: Request) -> Response:
    return JSONResponse({"release": RELEASE, "digest": DIGEST})


routes = [Route(p, fine) for p in ("/health", "/ready", "/version")]
routes += [Route("/_mode", set_mode, methods=["POST"]), Route("/{path:path}", work, methods=["GET", "POST"])]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=PORT, log_level="warning")
