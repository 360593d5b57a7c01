"""Starting and stopping: what a supervisor sees of vLLM's process.

The port is taken at once and opened when the engine has loaded; until then connections are refused. SIGTERM
without --shutdown-timeout ends every answer at once. With it the engine drains: what runs or waits finishes,
new requests get 500, /health stays 200, and the process exits when the last answer is out or the time is up.
A second signal changes nothing, as in vLLM.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time

import uvloop

from torpor_sim.app import App
from torpor_sim.faults import FaultPlan
from torpor_sim.http import Connection, Server
from torpor_sim.settings import Settings, parse

_LAST_BYTES_SECONDS = 0.05


def _say(text: str) -> None:
    print(f"torpor-sim: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the log of the process


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((settings.host, settings.port))
    return sock


def _fail_to_start(settings: Settings, faults: FaultPlan) -> None:
    """End the process if a fault, or an impossible size, says so."""
    leave = faults.get("exit-at-start")
    if leave is not None:
        _say(leave.text or f"scripted exit with code {int(leave.value)}")
        raise SystemExit(int(leave.value))
    memory = faults.get("oom-at-start")
    if memory is not None and memory.text == "host":
        os.kill(os.getpid(), signal.SIGKILL)
    if memory is not None:
        _say("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. (scripted)")
        raise SystemExit(1)
    if settings.max_model_len > settings.limits.kv_tokens:
        _say(
            f"ValueError: --max-model-len {settings.max_model_len} does not fit: the KV cache holds "
            f"{settings.limits.kv_tokens} tokens; lower it or raise --kv-tokens"
        )
        raise SystemExit(1)


async def serve(settings: Settings) -> None:
    """Load, serve, drain."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    sock = _bind(settings)
    faults = FaultPlan(settings.faults)
    loading = float("inf") if faults.get("hang-at-start") is not None else settings.startup_seconds
    _say(f"loading {settings.model}")
    began = time.monotonic()
    while (left := began + loading - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left, 3600.0)):
                await stopping.wait()
        if stopping.is_set():
            return
    _fail_to_start(settings, faults)
    app = App(settings, loop)
    shared = Server(app.handle, settings.keep_alive_seconds)
    listener = await loop.create_server(lambda: Connection(shared, loop), sock=sock, backlog=2048)
    app.opened_now()
    host, port = sock.getsockname()[:2]
    _say(f"serving {', '.join(settings.served_names)} on http://{host}:{port}")
    await stopping.wait()
    app.draining = True
    _say(f"stopping: {'drain' if settings.shutdown_timeout else 'abort'}, {len(app.generations)} under way")
    if settings.shutdown_timeout:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.shutdown_timeout):
                await app.idle()
    if faults.get("hang-at-stop") is not None and app.generations:
        app.engine.stall()
        listener.close()
        await app.idle()
    for generation in list(app.generations):
        generation.interrupt()
    shared.closing = True
    listener.close()
    await asyncio.sleep(0)  # let the last bytes go
    for connection in list(shared.connections):
        connection.shut()
    await asyncio.sleep(_LAST_BYTES_SECONDS)


def main() -> None:
    """Entry point of `torpor-sim`."""
    settings = parse(sys.argv[1:])
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
