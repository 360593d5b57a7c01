"""An engine that does what a test's environment says. Run as the program `vllm`; it has vLLM's flags and
paths, no model.

SCRIPT_EXIT=CODE ends at once after printing SCRIPT_SAYS; SCRIPT_NEVER_HEALTHY=1 never answers 200;
SCRIPT_REFUSES=/a,/b answers 404 there; SCRIPT_BROKEN=/a answers 500; SCRIPT_METRICS=FILE is what /metrics
says, read again at each request; SCRIPT_DIARY=FILE gets one line for every event worth a test;
SCRIPT_STUBBORN=1 ignores SIGTERM; SCRIPT_ORPHAN=1 leaves a worker behind; SCRIPT_ZOMBIE=1 makes an orphan
that soon dies; SCRIPT_SERVES=a,b replaces the served names; SCRIPT_STAYS=FILE does not end after SIGTERM as
long as FILE exists; SCRIPT_GATE=FILE answers no POST before FILE exists, and SCRIPT_SLOW_TOKEN=S takes S
seconds for each.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def note(text: str) -> None:
    if os.environ.get("SCRIPT_DIARY"):
        with Path(os.environ["SCRIPT_DIARY"]).open("a") as diary:
            diary.write(text + "\n")


def wait_while(is_so: Callable[[], bool]) -> None:
    while is_so():
        time.sleep(0.01)


def is_set(name: str, path: str) -> bool:
    return path in os.environ.get(name, "").split(",")


class Handler(BaseHTTPRequestHandler):
    names: tuple[str, ...] = ()

    def log_message(self, *_: object) -> None:
        pass

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/health":
            self.say(503 if Path(os.environ.get("SCRIPT_SICK_FILE", "/nonexistent")).exists() else 200, b"")
        elif self.path == "/metrics":
            file = os.environ.get("SCRIPT_METRICS")
            if file:
                note("metrics")
            self.say(200, Path(file).read_bytes() if file else b"")
        elif self.path == "/v1/models":
            names = [n for n in os.environ.get("SCRIPT_SERVES", "").split(",") if n] or list(self.names)
            self.say(200, json.dumps({"data": [{"id": name} for name in names]}).encode())
        else:
            self.say(404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note(f"POST {self.path} {body['model']} {body.get('max_tokens')} {self.headers.get('Authorization')}")
        if "SCRIPT_GATE" in os.environ:
            wait_while(lambda: not Path(os.environ["SCRIPT_GATE"]).exists())
        time.sleep(float(os.environ.get("SCRIPT_SLOW_TOKEN", "0")))
        status = (
            404 if is_set("SCRIPT_REFUSES", self.path) else 500 if is_set("SCRIPT_BROKEN", self.path) else 200
        )
        self.say(status, b'{"choices":[{"text":"!"}]}')


def main() -> None:
    note("argv " + json.dumps(sys.argv[1:]))
    note("env " + json.dumps(dict(os.environ)))
    sys.stdout.write(os.environ.get("SCRIPT_SAYS", ""))
    sys.stdout.flush()
    if "SCRIPT_EXIT" in os.environ:
        sys.exit(int(os.environ["SCRIPT_EXIT"]))
    if os.environ.get("SCRIPT_KILLED"):
        os.kill(os.getpid(), signal.SIGKILL)
    parser = argparse.ArgumentParser(prog="vllm serve", allow_abbrev=False)
    parser.add_argument("command")
    parser.add_argument("model")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name", nargs="+")
    for flag in (
        "--max-num-seqs",
        "--max-num-batched-tokens",
        "--revision",
        "--shutdown-timeout",
        "--dtype",
        "--api-key",
        "--load-format",
    ):
        parser.add_argument(flag)
    args = parser.parse_args()
    Handler.names = tuple(args.served_model_name)
    if os.environ.get("SCRIPT_ORPHAN"):
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        note(f"worker {worker.pid}")
    if os.environ.get("SCRIPT_ZOMBIE"):
        orphan = subprocess.run(["sh", "-c", "sleep 0.2 & echo $!"], capture_output=True, check=True)
        note(f"orphan {int(orphan.stdout)}")
    if os.environ.get("SCRIPT_NEVER_HEALTHY"):
        time.sleep(600)
    server = ThreadingHTTPServer((args.host, args.port), Handler)
    server.daemon_threads = True
    # Waited for, not handled: a handler runs in the main thread, and the signal may wake another.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    note("serving")
    note(f"signal {int(signal.sigwait({signal.SIGTERM}))}")
    while os.environ.get("SCRIPT_STUBBORN"):
        time.sleep(600)
    if "SCRIPT_STAYS" in os.environ:
        wait_while(Path(os.environ["SCRIPT_STAYS"]).exists)
    note("left")
    sys.stdout.flush()
    os._exit(int(os.environ.get("SCRIPT_LEAVES_WITH", "0")))


main()
