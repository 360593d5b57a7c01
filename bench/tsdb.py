"""A real Prometheus over recorded samples: Debian's programs, blocks made by promtool, a server on loopback.

Nothing is installed: the package is unpacked in the cache. The server's folder is the caller's, its life a
`with` block. It scrapes nothing; what it knows is what was written before.
"""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.prometheus import prometheus, promtool

START_SECONDS = 120.0
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def blocks(openmetrics: Path, folder: Path) -> None:
    """Make the file's samples into blocks in `folder`. One block for all: promtool reads the file once per
    block. Raises RuntimeError with promtool's words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        promtool(),
        "tsdb",
        "create-blocks-from",
        "--quiet",
        "openmetrics",
        openmetrics,
        folder,
    ]
    command.insert(3, "--max-block-duration=1000h")
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool: {' '.join((done.stderr + done.stdout).split())[-400:]}")


@contextmanager
def serving(folder: Path, port: int, *more: str) -> Iterator[str]:
    """Serve the blocks in `folder` at the address that this gives. Raises RuntimeError where it does not
    start.
    """
    config = folder.parent / f"{folder.name}.yml"
    config.write_text("scrape_configs: []\n")
    log = folder.parent / f"{folder.name}.log"
    command = [
        str(prometheus()),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *more,
    ]
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "GOMAXPROCS": "2"})
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"prometheus does not start: {log.read_text(errors='replace')[-600:]}")
            time.sleep(0.05)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def _ready(address: str) -> bool:
    try:
        with _LOCAL.open(f"{address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
