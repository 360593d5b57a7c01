"""Operator processes as they run in a cluster, against the API server under test."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx


class OperatorProcess:
    """One `torpor-operator`, watching one namespace and leading by a Lease in it. `more`: its environment."""

    def __init__(self, kubeconfig, namespace, name, *, log, gateway, token_file, **more):
        self.log = log
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")} | {
            "TORPOR_KUBECONFIG": str(kubeconfig),
            "TORPOR_NAMESPACE": namespace,
            "TORPOR_WATCH_NAMESPACES": namespace,
            "TORPOR_POD_NAME": name,
            "TORPOR_LAUNCHER_IMAGE": "launcher:1",
            "TORPOR_ENGINE_IMAGE": "engine:1",
            "TORPOR_ADMIN_LISTEN": "127.0.0.1:0",
            "TORPOR_DEMAND_ADDRESSES": gateway,
            "TORPOR_DEMAND_TOKEN_FILE": str(token_file),
            "TORPOR_LOG_LEVEL": "debug",
            **more,
        }
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "torpor"], env=environment, stdout=output, stderr=output
            )

    def get(self, path):
        """Ask the admin port, which the process chose and told."""
        told = re.search(r"probes and metrics on port (\d+)", self.log.read_text())
        if told is None:
            raise httpx.ConnectError("the operator does not listen yet")
        return httpx.get(f"http://127.0.0.1:{told[1]}{path}", timeout=30, trust_env=False)

    def wait(self, path, probe, what, seconds=240):
        """Poll a page of the admin port until `probe(answer)` holds."""
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, f"the operator ended:\n{self.log.read_text()}"
            try:
                answer = self.get(path)
                if probe(answer):
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, (
                f"not within {seconds} s: {what}\n{self.log.read_text()[-4000:]}"
            )
            time.sleep(0.05)

    def wait_ready(self):
        self.wait("/readyz", lambda answer: answer.status_code == 200, "the operator is ready")

    def wait_leading(self):
        self.wait("/readyz", lambda answer: answer.json().get("leading"), "the operator leads")

    def wait_streaming(self):
        def live(answer):
            return "live" in answer.json()["gateways"].values()

        self.wait("/healthz", live, "the gateway's stream is live")

    def metric(self, name):
        """Sum the samples of a metric."""
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return sum(float(value) for value in found)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=60):
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)
