"""A terminal without any cluster, and clusters that answer as told."""

from pathlib import Path

import pytest
import yaml

from tests.unit.cli.answers import Server


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No way to any cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cluster(tmp_path, clean):
    """Makes a server with these answers and returns its kubeconfig."""
    servers = []

    def start(answers, **context):
        servers.append(Server(answers))
        document = {
            "clusters": [
                {"name": "here", "cluster": {"server": f"http://127.0.0.1:{servers[-1].http.server_port}"}}
            ],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "contexts": [{"name": "now", "context": {"cluster": "here", "user": "me", **context}}],
            "current-context": "now",
        }
        path = Path(tmp_path / "config")
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        start.written = servers[-1].written
        return str(path)

    yield start
    for server in servers:
        server.stop()
