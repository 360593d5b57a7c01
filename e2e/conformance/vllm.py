"""A real vLLM on this machine's CPU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from e2e.cluster.vllm_env import ensure_env
from e2e.conformance.site import SERVED, get
from e2e.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 1200.0  # a minute on an idle machine
# Tool calls of which the client leaves the choice to the model; the others need no parser.
MORE = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve SmolLM2 under all names of `site.SERVED`; yields HOST:PORT."""
    env = ensure_env().as_json()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(env["vllm"]), "serve", str(env["model"]), "--served-model-name", *SERVED]
    command += ["--host", "127.0.0.1", "--port", str(port), *map(str, env["args"]), *MORE]  # type: ignore[call-overload]
    log = folder / "vllm.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | env["env"],  # type: ignore[operator]
            start_new_session=True,
        ) as process,
    ):

        def ready() -> bool:
            if process.poll() is not None:
                raise SystemExit(
                    f"vLLM ended with {process.returncode}; its last words:\n{log.read_text()[-3000:]}"
                )
            return healthy(f"127.0.0.1:{port}")

        try:
            until("vLLM serves", ready, seconds=START_SECONDS, every=1.0)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def healthy(address: str) -> bool:
    """Whether an engine at HOST:PORT says so."""
    try:
        get(f"http://{address}/health")
    except OSError:
        return False
    return True


def version(address: str) -> str:
    """The version of the engine at HOST:PORT."""
    return str(json.loads(get(f"http://{address}/version"))["version"])
