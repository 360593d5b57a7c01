"""One Prometheus on loopback, with its own folder, for the time of a test. Nothing of it outlives `close`."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.cluster.prometheus import prometheus
from e2e.support.waiting import until

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class QueryError(AssertionError):
    """Prometheus refused a query; the message is its own."""


class Prometheus:
    """A running Prometheus. `scrapes` are its scrape_configs, `rules` files of rules, `every` seconds."""

    def __init__(
        self,
        folder: Path,
        scrapes: Sequence[Mapping[str, Any]],
        *,
        rules: Sequence[Path] = (),
        every: float = 3,
    ) -> None:
        self.folder, self.every = folder, every
        folder.mkdir(parents=True, exist_ok=True)
        pause = f"{round(every * 1000)}ms"
        config = {
            "global": {"scrape_interval": pause, "scrape_timeout": pause, "evaluation_interval": pause},
            "scrape_configs": list(scrapes),
            "rule_files": [str(path) for path in rules],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.log = folder / "log"
        self._claim = socket.socket()  # bound and never listened on: nobody else gets the port meanwhile
        self._claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._claim.bind(("127.0.0.1", 0))
        self.port = int(self._claim.getsockname()[1])
        command = [
            prometheus(),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=info",
        ]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)

    def __enter__(self) -> Self:
        try:
            until("Prometheus is ready", self._ready, seconds=120)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._claim.close()

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"Prometheus ended with {self.process.returncode}:\n{self._last_words()}")
        try:
            with _NO_PROXY.open(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def get(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer of its API. Raises QueryError with what it says."""
        content = urllib.parse.urlencode(parameters).encode() if parameters else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1/{path}", content)
        try:
            with _NO_PROXY.open(request, timeout=60) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise QueryError(f"{error.code}: {error.read().decode(errors='replace')[:500]}") from None
        return told["data"]

    def query(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the series of an instant query, now or `at` (Unix time)."""
        found = self.get("query", query=expr, time=f"{at or time.time():.3f}")
        return list(found["result"]) if found["resultType"] == "vector" else [found]

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series of a range query."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return list(self.get("query_range", query=expr, **times)["result"])

    def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes now, each with `labels`, `health` and `lastError`."""
        return list(self.get("targets")["activeTargets"])

    def wait_for(self, jobs: Sequence[str], seconds: float = 120) -> None:
        """Wait until a target of each of the `jobs` was scraped."""

        def check() -> bool:
            seen: dict[str, list[str]] = {job: [] for job in jobs}
            for target in self.targets():
                seen.setdefault(target["labels"]["job"], []).append(
                    "up" if target["health"] == "up" else target["lastError"] or target["health"]
                )
            assert all("up" in seen[job] for job in jobs), seen
            return True

        until(f"Prometheus reads {', '.join(jobs)}", check, seconds=seconds)
