"""`torpor explain`: saved objects, a cluster that answers as told, and errors that say what to do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.unit.control.test_status import status
from tests.unit.control.worlds import fleet, world

RUN = CliRunner()
PATH = "/apis/serving.torpor.dev/v1alpha1/namespaces/team/inferenceservices"


def explain(*args, **more):
    result = RUN.invoke(app, ["explain", *args], **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def raw():
    return fleet(status=status(world()))


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No way to any cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_a_saved_object_needs_no_cluster(raw, tmp_path, clean):
    path = tmp_path / "isvc.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert explain("-f", str(path))[1].startswith("team/llm 0 replicas wanted")
    assert explain("llm", "-n", "team", "-f", str(path))[0] == 0
    code, told = explain("-f", "-", input=json.dumps({"kind": "List", "items": [raw, {"kind": "Pod"}]}))
    assert (code, "Why 0" in told) == (0, True)


def test_json_is_the_structure(raw, clean):
    result = RUN.invoke(app, ["explain", "-f", "-", "-o", "json"], input=json.dumps(raw))
    document = json.loads(result.output)
    assert document["decision"] == raw["status"]["decision"]
    assert document["sentences"][0]["title"] == "team/llm"


@pytest.mark.parametrize(
    ("args", "text", "code", "words"),
    [
        ([], None, 2, "NAME or -f FILE is needed; kubectl get isvc lists the names"),
        (["llm", "-o", "yaml"], None, 2, 'yaml": must be text or json; choose one of them'),
        (
            ["llm"],
            None,
            1,
            "there is no kubeconfig at ~/.kube/config; name one with --kubeconfig, or explain a",
        ),
        (["llm", "--kubeconfig", "/nowhere"], None, 1, "there is no kubeconfig at /nowhere"),
        (["-f", "/nowhere"], None, 1, "/nowhere: cannot be read"),
        (["-f", "-"], "a: [", 1, "-: cannot be read"),
        (["-f", "-"], "", 1, "-: holds 0 objects of kind InferenceService; name one of those in it: none"),
        (
            ["other", "-f", "-"],
            None,
            1,
            "holds 0 objects of kind InferenceService named other; name one of those",
        ),
        (["-f", "-"], "kind: InferenceService", 1, "no InferenceService with a name"),
        (["-f", "-"], yaml.safe_dump(fleet()), 1, "team/llm has no status yet"),
    ],
)
@pytest.mark.usefixtures("clean")
def test_what_cannot_be_explained(args, text, code, words):
    saved = yaml.safe_dump(fleet(status=status(world()))) if text is None else text
    found, told = explain(*args, input=saved)
    assert found == code
    assert told.startswith("torpor explain: ")
    assert words in told


class Server:
    """An API server that gives each path an answer: (status, body)."""

    def __init__(self, answers):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answers.get(self.path.partition("?")[0], (404, "404 page not found"))
                text = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def not_found(name):
    said = f'inferenceservices.serving.torpor.dev "{name}" not found'
    return 404, {"kind": "Status", "reason": "NotFound", "message": said}


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
        return str(path)

    yield start
    for server in servers:
        server.stop()


def test_a_live_object_is_read_where_the_context_says(cluster, raw):
    config = cluster({f"{PATH}/llm": (200, raw)}, namespace="team")
    code, told = explain("llm", "--kubeconfig", config)
    assert (code, told.startswith("team/llm 0 replicas wanted")) == (0, True), told
    assert explain("llm", "-n", "team", "--kubeconfig", config, "--context", "now")[0] == 0


@pytest.mark.parametrize(
    ("answers", "args", "words"),
    [
        (
            {f"{PATH}/lmm": not_found("lmm"), PATH: (200, {"items": [fleet()]})},
            ["lmm", "-n", "team"],
            "is no InferenceService lmm in namespace team; there is llm; name another namespace with -n",
        ),
        (
            {f"{PATH}/lmm": not_found("lmm")},
            ["lmm", "-n", "team"],
            "there is no InferenceService lmm in namespace team; name another with -n",
        ),
        ({}, ["page", "-n", "team"], "knows no InferenceService; is Torpor installed in this cluster?"),
        (
            {f"{PATH}/llm": (403, {"reason": "Forbidden", "message": "you cannot get it"})},
            ["llm", "-n", "team"],
            "refuses to show team/llm: you cannot get it",
        ),
        ({f"{PATH}/llm": (200, fleet())}, ["llm", "-n", "team"], "team/llm has no status yet"),
        ({}, ["llm", "--context", "other"], "gives no login:"),
    ],
)
def test_what_a_cluster_does_not_give(answers, args, words, cluster):
    code, told = explain(*args, "--kubeconfig", cluster(answers))
    assert code == 1
    assert words in told


def test_a_cluster_that_is_down(cluster, raw):
    config = cluster({})
    document = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    document["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    Path(config).write_text(yaml.safe_dump(document), encoding="utf-8")
    code, told = explain("llm", "--kubeconfig", config)
    assert code == 1
    assert "http://127.0.0.1:1 does not answer" in told
    assert "is the cluster up?" in told
