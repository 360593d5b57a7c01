"""The command line as people type it: `torpor ...`, and `kubectl torpor ...` by the cluster's own kubectl.

Both are the console scripts of the checkout's virtual environment, so that the entry points are tried and not
only the modules behind them.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e.support.kube import Cluster

SCRIPTS = Path(sys.executable).parent
SECONDS = 120
NO_CLUSTER = ("bench",)  # these know no context


def torpor(cluster: Cluster, *arguments: str, code: int = 0) -> str:
    """What `torpor ARGUMENTS` prints; AssertionError with its words where its exit code is another."""
    return _run(cluster, [str(SCRIPTS / "torpor"), *_placed(cluster, arguments)], code)


def torpor_json(cluster: Cluster, *arguments: str) -> Any:
    """The same, as data."""
    return json.loads(torpor(cluster, *arguments, "-o", "json"))


def kubectl_torpor(cluster: Cluster, *arguments: str) -> str:
    """The same through kubectl, which finds the plugin in the path."""
    return _run(cluster, [cluster.kubectl_path, "torpor", *_placed(cluster, arguments)], 0)


def until_interrupted(cluster: Cluster, *arguments: str, begins: str, times: int) -> tuple[str, str, int]:
    """Start a command that goes on, end it by Ctrl-C once it printed so many lines that begin so; returns its
    output, its errors and its exit code.
    """
    command = [str(SCRIPTS / "torpor"), *_placed(cluster, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        env=_environment(cluster),
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509 - no thread of a test runs Python here
    ) as running:
        try:
            assert running.stdout is not None
            seen: list[str] = []
            for line in running.stdout:
                seen.append(line)
                if sum(it.startswith(begins) for it in seen) == times:
                    break
            running.send_signal(signal.SIGINT)
            rest, errors = running.communicate(timeout=SECONDS)
            return "".join(seen) + rest, errors, running.returncode
        finally:
            running.kill()


def _hear_interrupts() -> None:
    """A job that a shell runs in the background is deaf to Ctrl-C, and so is what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _placed(cluster: Cluster, arguments: tuple[str, ...]) -> list[str]:
    return [*arguments, *(() if arguments[0] in NO_CLUSTER else ("--context", cluster.context))]


def _run(cluster: Cluster, command: list[str], code: int) -> str:
    done = subprocess.run(
        command,
        env=_environment(cluster),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _environment(cluster: Cluster) -> dict[str, str]:
    path = f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"
    # Wide enough that no cell is cut, and every line at once though nobody looks at a terminal.
    plain = {"COLUMNS": "400", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **plain, "PATH": path, "KUBECONFIG": str(cluster.kubeconfig)}
