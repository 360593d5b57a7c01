"""The judges themselves: kstatus as Helm links it, our health check in Argo CD's Lua, Flux's expressions."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
LUA = ROOT / "charts/torpor/files/argocd-health.lua"
SECONDS = 120


def verdicts(binary, items, *options):
    """What each tool says of each object: a mapping of tool to {status, message} per object, in order."""
    told = "".join(json.dumps(item) + "\n" for item in items)
    done = subprocess.run(
        [str(binary), "health", f"--lua={LUA}", *options],
        input=told, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
