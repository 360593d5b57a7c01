"""`torpor bench`: figures from streams of a scripted server, and causes of those that fail."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from torpor.cli.app import app
from torpor.cli.bench import percentiles, summary
from torpor.cli.load import Answer, prompt
from typer.testing import CliRunner

RUN = CliRunner()
TOKEN = {"choices": [{"delta": {"content": "a"}}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 6}}
WHOLE = [TOKEN, TOKEN, TOKEN, USAGE, "[DONE]"]


class Model:
    """A gateway on loopback: `streams` gives each request in turn its events, or a (status, body)."""

    def __init__(self, streams):
        self.bodies, self.keys = [], []
        lock, model = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    model.bodies.append(body)
                    model.keys.append(self.headers["Authorization"])
                    told = streams[(len(model.bodies) - 1) % len(streams)]
                status, text = told if isinstance(told, tuple) else (200, events(told))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def events(listed):
    lines = [f": keep\n\ndata: {item if isinstance(item, str) else json.dumps(item)}\n\n" for item in listed]
    return "".join(lines).encode()


@pytest.fixture
def served():
    models = []

    def serve(*streams):
        models.append(Model(streams))
        return models[-1]

    yield serve
    for model in models:
        model.stop()


def run(*args):
    result = RUN.invoke(app, ["bench", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_every_request_is_counted_with_its_tokens(served, monkeypatch):
    monkeypatch.setenv("TORPOR_API_KEY", "secret")
    model = served(WHOLE)
    code, told = run("team/llm", "--url", model.url, "--requests", "7", "--concurrency", "3", "-o", "json")
    figures = json.loads(told)
    assert (code, figures["requests"], figures["answered"], figures["failures"]) == (0, 7, 7, {})
    assert (figures["outputTokens"], figures["promptTokens"]) == (42, 84), "the engine's own count"
    assert figures["timeToFirstTokenMilliseconds"].keys() == {"p50", "p95", "p99"}
    assert set(model.keys) == {"Bearer secret"}
    assert len({body["messages"][0]["content"].split()[1] for body in model.bodies}) == 7
    assert {(body["model"], body["stream"], body["max_tokens"]) for body in model.bodies} == {
        ("team/llm", True, 128)
    }


def test_failures_are_told_by_their_cause_and_leave_the_figures_alone(served):
    model = served(
        WHOLE,
        (503, json.dumps({"error": {"message": "the fleet is closed"}}).encode()),
        [TOKEN, {"error": {"message": "the engine died"}}],
        [TOKEN],
        [TOKEN, "{"],
        [USAGE, "[DONE]"],
        (429, b"too many\x1b"),
    )
    code, told = run("llm", "--url", model.url, "--requests", "7", "--concurrency", "1", "-o", "json")
    figures = json.loads(told)
    assert (code, figures["answered"]) == (0, 1)
    assert figures["failures"] == {
        "503: the fleet is closed": 1,
        "error event: the engine died": 1,
        "the stream ended without [DONE]": 1,
        "an event that is no JSON": 1,
        "an answer without a token": 1,
        "429: too many ": 1,
    }


def test_the_page_keeps_first_tokens_and_speed_apart(served):
    code, told = run("llm", "--url", served(WHOLE).url, "--requests", "2")
    assert code == 0
    for words in ("time to first token, ms", "tokens/s of a stream", "P50", "P99", "2 of 2 answered"):
        assert words in told


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--url", "gateway:80"], 2, "must begin with http:// or https://"),
        (["--url", "http://"], 1, "none of 1 requests was answered"),
        (["--url", "http://127.0.0.1:1"], 1, "is http://127.0.0.1:1 the gateway and llm served"),
        (["--url", "http://[::"], 2, "name the gateway like http://127.0.0.1:8080"),
        (["--requests", "0"], 2, "--requests"),
        (["-o", "wide"], 2, "must be table, json or yaml"),
    ],
)
def test_what_goes_wrong_is_a_sentence(args, code, words):
    found, told = run("llm", "--requests", "1", *args)
    assert (found, words in " ".join(told.split())) == (code, True), told


def test_percentiles_are_values_that_were_seen():
    values = [float(number) for number in range(1, 101)]
    assert percentiles(values) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles(values, upper=False) == {"p50": 51.0, "p95": 6.0, "p99": 2.0}
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert percentiles([]) is None


def test_the_ratio_is_time_before_over_time_after_the_first_token():
    answers = [
        Answer(first=1.0, last=3.0, tokens=5),
        Answer(first=2.0, last=4.0, tokens=9),
        Answer(failure="x"),
    ]
    figures = summary(answers, 4.0)
    assert figures["prefillToDecode"] == 0.75
    assert figures["tokensPerSecondOfAStream"] == {"p50": 4.0, "p95": 2.0, "p99": 2.0}
    assert figures["outputTokensPerSecond"] == 3.5
    assert summary([], 0.0)["prefillToDecode"] is None


def test_prompts_begin_differently():
    assert max(Counter(prompt(number, 50)[:14] for number in range(100)).values()) == 1
