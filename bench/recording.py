"""What a recorded request costs the gateway: CPU of its trail, its line and its spans, by themselves.

A request that was held, streamed and ended goes through the production code, with everything but the sockets:
the hooks with nothing to record, with an access log, with a trace that is not sampled, and with one that is.
The same four spans by OpenTelemetry's SDK stand beside them where it is installed, encoded as its exporter
does. CPU time of this process, medians of interleaved rounds. Usage:

    python bench/recording.py [--json] [--rounds N] [--requests N] [--sdk FOLDER]

FOLDER is a folder of packages (`lib/python3.11/site-packages` of another environment) with
opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from torpor_gateway.otel import Sampler
from torpor_gateway.trail import Recorder

HEADERS = (
    b"Content-Type: application/json\r\nUser-Agent: OpenAI/Python 3.54.0\r\nAccept: application/json\r\n"
)
PARENT = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"


class Sink:
    """Takes lines and spans, and forgets them."""

    taken = 0

    def write(self, line: bytes) -> None:
        """Take a line."""
        self.taken += len(line)

    def offer(self, spans: list[bytes]) -> None:
        """Take a request's spans."""
        self.taken += sum(map(len, spans))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--sdk", metavar="FOLDER")
    options = parser.parse_args()
    always, never = Sampler(by_parent=False, bound=1 << 64), Sampler(by_parent=False, bound=0)
    log, exporter = Sink(), Sink()
    rows: dict[str, Callable[[], None]] = {
        "nothing": lambda: request(None),
        "access log": lambda: request(Recorder(log, None, None)),  # type: ignore[arg-type]
        "trace not sampled": lambda: request(Recorder(None, exporter, never)),  # type: ignore[arg-type]
        "trace": lambda: request(Recorder(None, exporter, always)),  # type: ignore[arg-type]
        "access log and trace": lambda: request(Recorder(log, exporter, always)),  # type: ignore[arg-type]
    }
    missing = None
    if options.sdk:
        sys.path.append(options.sdk)
        try:
            rows["trace by the SDK"] = by_the_sdk()
        except ImportError as error:
            missing = str(error)
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, row in rows.items():
            begin = time.process_time()
            for _ in range(options.requests):
                row()
            taken[name].append((time.process_time() - begin) / options.requests * 1e6)
    report: dict[str, Any] = {
        name: {"microseconds": round(statistics.median(values), 2)} for name, values in taken.items()
    }
    nothing = report["nothing"]["microseconds"]
    for values in report.values():
        values["added"] = round(values["microseconds"] - nothing, 2)
    if missing:
        report["trace by the SDK"] = {"missing": missing}
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    for name, values in report.items():
        print(f"{name:24}" + " ".join(f"{key} {value}" for key, value in values.items()))
    return 0


def request(recorder: Recorder | None) -> None:
    """Go through the life of one request, as `Server.handle`, `Fleet` and `Exchange` do for the trail."""
    head = SimpleNamespace(
        forward=HEADERS + PARENT,
        method="POST",
        path="/v1/chat/completions",
        request_id=b"0123456789ab-1",
        key=None,
    )
    endpoint = SimpleNamespace(name="10.0.0.1:8000", pod="llm-5d8f7c9b6-x2x4z")
    exchange = SimpleNamespace(
        head=head,
        fleet=FLEET,
        client=CLIENT,
        endpoint=endpoint,
        arrived=0.0,
        waiting_since=0.0,
        stream=True,
        body_size=600,
        used=(120, 64),
        events=64,
        trail=None,
    )
    if recorder is not None:
        exchange.trail = recorder.begin(exchange)  # type: ignore[arg-type]
    if exchange.trail is not None:
        exchange.trail.waited(0.0, 0.5, 0.0)
    if exchange.trail is not None:
        exchange.trail.sent(exchange)
    if exchange.trail is not None:
        exchange.trail.data(exchange)
    if exchange.trail is not None:
        exchange.trail.ended(exchange, 200, "")


CLIENT = SimpleNamespace(
    transport=SimpleNamespace(get_extra_info=lambda name: ("10.0.0.9", 40000) if name == "peername" else None)
)
FLEET = SimpleNamespace(
    loop=SimpleNamespace(time=lambda: 1.5),
    spec=SimpleNamespace(key=SimpleNamespace(namespace="default", name="llm"), models=("llm",)),
)


def by_the_sdk() -> Callable[[], None]:
    """Return what makes and encodes the same four spans with OpenTelemetry's SDK. Raises ImportError."""
    trace = importlib.import_module("opentelemetry.trace")
    encoder = importlib.import_module("opentelemetry.exporter.otlp.proto.common.trace_encoder")
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")

    class Encoder(export.SpanExporter):  # type: ignore[misc,name-defined]
        waiting: list[Any] = []  # noqa: RUF012 - one of these

        def export(self, spans: Any) -> Any:
            self.waiting += spans
            if len(self.waiting) >= 512:  # as many as the SDK sends at once
                encoder.encode_spans(self.waiting).SerializePartialToString()
                self.waiting.clear()
            return export.SpanExportResult.SUCCESS

    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(Encoder()))
    tracer = provider.get_tracer("bench")
    server = {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "llm",
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 64,
        "torpor.fleet.namespace": "default",
        "torpor.fleet.name": "llm",
        "torpor.request.id": "0123456789ab-1",
        "torpor.stream": True,
    }
    upstream = {
        "http.request.method": "POST",
        "server.address": "10.0.0.1",
        "server.port": 8000,
        "k8s.pod.name": "llm-5d8f7c9b6-x2x4z",
        "http.response.status_code": 200,
    }

    def one() -> None:
        with tracer.start_as_current_span(
            "POST /v1/chat/completions", kind=trace.SpanKind.SERVER, attributes=server
        ):
            with tracer.start_as_current_span("hold"):
                pass
            with (
                tracer.start_as_current_span("upstream", kind=trace.SpanKind.CLIENT, attributes=upstream),
                tracer.start_as_current_span("first token"),
            ):
                pass

    return one


if __name__ == "__main__":
    sys.exit(main())
