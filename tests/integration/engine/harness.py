"""Runs the packed launcher as a pod would and looks at it from outside, over its HTTP port and its exit."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.ports import free_port

SCRIPT = Path(__file__).with_name("scripted_engine.py")
DEADLINE_SECONDS = 60.0


def poll(look: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """The first true value of `look`, asked until the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := look()):  # looked at once more after the deadline: this process may have been asleep
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return value


class Stream:
    """The bytes of a stats stream as far as they were read; only whole lines count."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.data = b""

    def read_until(self, text: bytes) -> None:
        while text not in self.data[: self.data.rfind(b"\r\n") + 1]:
            read = self._sock.recv(65536)
            assert read, f"the stream ended without {text!r}: {self.data!r}"
            self.data += read

    def read_to_the_end(self) -> None:
        while read := self._sock.recv(65536):
            self.data += read

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.split(b"\r\n")[:-1] if line.startswith(b"{")]


class Pod:
    """A launcher process with its own folders, ports and environment."""

    def __init__(self, program: Path, folder: Path, python: str = sys.executable) -> None:
        self.program, self.folder, self.python = program, folder, python
        self.engine_port, self.port = free_port(), free_port()
        self.termination_log = folder / "termination-log"
        self.diary = folder / "diary"
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        (self.model / "model.safetensors").write_bytes(b"")
        (folder / "tmp").mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.environ = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "TMPDIR": str(folder / "tmp"),
            "SCRIPT_DIARY": str(self.diary),
            "TORPOR_FLEET_NAMESPACE": "default",
            "TORPOR_FLEET_NAME": "smollm2",
            "TORPOR_FLEET_UID": "0b5d-uid",
            "TORPOR_REVISION": "0123456789",
            "TORPOR_POD_NAME": "smollm2-engines-x",
            "TORPOR_ENGINE_TYPE": "vLLM",
            "TORPOR_MODEL_URI": f"image://{self.model}",
            "TORPOR_MODEL_NAMES": "smollm2,default/smollm2",
            "TORPOR_DRAIN_SECONDS": "20",
            "TORPOR_STARTUP_SECONDS": "600",
            "TORPOR_CACHE_DIR": str(folder / "cache"),
            "TORPOR_ENGINE_PORT": str(self.engine_port),
            "TORPOR_LAUNCHER_PORT": str(self.port),
            "TORPOR_LISTEN_HOST": "127.0.0.1",
            "TORPOR_TERMINATION_LOG": str(self.termination_log),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    def install_vllm(self, version: str = "0.32.0") -> None:
        """Put the scripted engine into PATH and a version's metadata where the engine's Python finds it."""
        program = self.bin / "vllm"
        program.write_text(f"#!{sys.executable}\n{SCRIPT.read_text()}")
        program.chmod(0o755)
        site = self.folder / "site"
        info = site / f"vllm-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
        self.environ["PYTHONPATH"] = str(site)

    def start(self, *args: str, output: int | None = None, **environ: str) -> "Pod":
        """Start the launcher; its log goes to the file `log`, or to the descriptor `output`."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.python, str(self.program), "run", "--", *args],
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
            )
        return self

    def engine_pid(self) -> int:
        """The launcher's oldest child."""
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(task.read_text().split()[0])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body, status 0 while nobody listens."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE_SECONDS
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, http.client.HTTPException):  # the latter: it ended in the middle of an answer
            return 0, ""

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stream"]:
        """An open stats stream; the launcher listens from its first moment on."""
        poll(lambda: self.get("/healthz")[0] == 200, "the launcher's port")
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE_SECONDS) as sock:
            sock.sendall(b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            yield Stream(sock)

    def stats(self) -> dict[str, Any]:
        status, body = self.get("/v1/stats?once=1")
        return json.loads(body) if status == 200 else {}

    def wait_state(self, state: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            assert self.process is not None
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode}:\n{self.log.read_text()}"
            )
            stats = self.stats()
            return stats if stats.get("state") == state else None

        try:
            found: dict[str, Any] = poll(look, f"state {state}")
        except AssertionError as error:
            error.add_note(self.log.read_text())
            raise
        return found

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def end(self, seconds: float = DEADLINE_SECONDS) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def message(self) -> str:
        return self.termination_log.read_text() if self.termination_log.exists() else ""

    def entries(self) -> list[str]:
        """The lines of the engine's diary; one that is just being written is none yet."""
        return self.diary.read_text().split("\n")[:-1] if self.diary.exists() else []

    def engine_argv(self) -> list[str]:
        line = poll(
            lambda: next((e for e in self.entries() if e.startswith("argv ")), None), "the engine's start"
        )
        argv: list[str] = json.loads(line.removeprefix("argv "))
        return argv

    def engine_environ(self) -> dict[str, str]:
        line = poll(
            lambda: next((e for e in self.entries() if e.startswith("env ")), None), "the engine's start"
        )
        environ: dict[str, str] = json.loads(line.removeprefix("env "))
        return environ

    def stop(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.terminate()
                self.process.wait(DEADLINE_SECONDS)
        for entry in self.entries():
            if entry.startswith("worker "):
                worker = int(entry.split()[1])
                poll(lambda worker=worker: not alive(worker), "the end of a worker whose launcher is gone")


def alive(pid: int) -> bool:
    """Whether a process runs. One that was killed and waits for its parent to notice does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
