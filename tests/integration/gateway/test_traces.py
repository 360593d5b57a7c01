"""Traces of real requests, as a collector on a socket reads them; and what a bad collector does: nothing."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from torpor_gateway.recording import recording

from tests.integration.gateway.collector import collector
from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, Server, chunk, json_answer
from tests.ports import free_port

__all__ = ["collector"]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1, b=2\r\n"
PAGE = Path(__file__).parents[3] / "docs/reference/tracing.md"
INTERNAL, SERVER, CLIENT = 1, 2, 3


@pytest.fixture
async def traced(gateway, collector):
    """Have a gateway record, with the variables given."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(port=None, **variables):
            environ = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port or collector.port}",
                "OTEL_BSP_SCHEDULE_DELAY": "20",
            } | variables
            await stack.enter_async_context(recording(gateway.server, "boot-1", environ))
            return gateway.server.recorder.exporter

        yield begin


class Silent(Server):
    """Takes connections and says nothing."""

    async def serve(self, reader, writer):
        await reader.read()
        await asyncio.Event().wait()


def seen(call):
    """Return what the engine was told of traces, as (name, value)."""
    lines = (line.partition(":") for line in call.lines)
    return [(name, value.strip()) for name, _, value in lines if name in ("traceparent", "tracestate")]


async def test_a_held_stream_is_one_trace_from_client_to_engine(
    gateway, engines, launchers, traced, collector
):
    async def script(call):
        await call.send(SSE_HEAD + chunk(TOKEN))
        await asyncio.sleep(0.02)
        await call.send(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    await traced()
    engine, launcher = await engines(script), await launchers()
    fleet = gateway.managed()
    gateway.pods(fleet, (engine, launcher))
    client = await gateway.client()
    await client.send(request(chat(stream=True), headers=PARENT + "x-request-id: mine\r\n"))
    await until(lambda: len(fleet.line) == 1)
    await asyncio.sleep(0.02)
    launcher.ready()
    assert (await client.answer()).body.endswith(DONE)
    await until(lambda: len(collector.spans) == 4)
    root, hold = collector.one("POST /v1/chat/completions"), collector.one("hold")
    upstream, first = collector.one("upstream"), collector.one("first token")
    assert {span.trace for span in collector.spans} == {TRACE}
    assert {span.state for span in collector.spans} == {"a=1,b=2"}
    assert [root.parent, hold.parent, upstream.parent, first.parent] == [
        SPAN,
        root.span,
        root.span,
        upstream.span,
    ]
    assert [span.kind for span in (root, hold, upstream, first)] == [SERVER, INTERNAL, CLIENT, INTERNAL]
    assert (
        root.begin
        == hold.begin
        < hold.end
        <= upstream.begin
        == first.begin
        <= first.end
        < upstream.end
        == root.end
    )
    assert not any(span.error for span in collector.spans)
    assert seen(engine.calls[0]) == [
        ("traceparent", f"00-{TRACE}-{upstream.span}-01"),
        ("tracestate", "a=1,b=2"),
    ]
    told = root.attributes
    assert (told["http.request.method"], told["http.route"]) == ("POST", "/v1/chat/completions")
    assert (told["http.response.status_code"], told["gen_ai.operation.name"]) == (200, "chat")
    assert (told["torpor.fleet.namespace"], told["torpor.fleet.name"]) == ("ns", "llm")
    assert (told["torpor.request.id"], told["torpor.stream"]) == ("mine", True)
    assert told["gen_ai.usage.output_tokens"] == fleet.output_tokens > 0
    assert upstream.attributes["server.port"] == engine.port
    assert upstream.attributes["k8s.pod.name"] == "llm-0"
    assert root.resource == {"service.name": "torpor-gateway", "service.instance.id": "boot-1"}
    page = PAGE.read_text()
    for span in collector.spans:
        assert all(f"`{name}`" in page for name in span.attributes)
    assert all("hello" not in str(span.__dict__) for span in collector.spans), "a prompt is in a trace"


async def test_who_waits_for_a_slot_has_a_span_of_the_queue(gateway, engines, traced, collector):
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({"n": 1}))

    await traced()
    fleet = gateway.static(await engines(slow), limit=1)
    first = await gateway.client()
    await first.send(request(chat()))
    await until(lambda: fleet.in_flight == 1)
    second = await gateway.waiting(fleet)
    await asyncio.sleep(0.02)
    release.set()
    assert (await first.answer()).status == (await second.answer()).status == 200
    await until(lambda: len(collector.named("upstream")) == 2 and collector.named("queue"))
    queue = collector.one("queue")
    (root,) = (span for span in collector.named("POST /v1/chat/completions") if span.span == queue.parent)
    assert root.begin == queue.begin < queue.end <= root.end
    assert not collector.named("first token"), "an answer that is no stream has no first token"
    assert not collector.named("hold")


async def test_each_pod_that_was_tried_has_a_span(gateway, engines, traced, collector):
    async def broken(call):
        call.reset()

    await traced()
    bad, good = await engines(broken), await engines()
    fleet = gateway.static(bad, good)
    for _ in range(20):  # until the bad one was the first choice
        assert (await gateway.ask(chat())).status == 200
        if bad.calls:
            break
        await until(lambda: len(fleet.ready) == 2)
    assert bad.calls
    await until(lambda: any(span.error for span in collector.named("upstream")))
    (failed,) = (span for span in collector.named("upstream") if span.error)
    (again,) = (
        span for span in collector.named("upstream") if span.parent == failed.parent and span is not failed
    )
    assert (failed.attributes["server.port"], again.attributes["server.port"]) == (bad.port, good.port)
    assert failed.attributes["error.type"] == "connection"
    assert again.attributes["http.request.resend_count"] == 1
    assert [value for _, value in seen(bad.calls[0])] == [f"00-{failed.trace}-{failed.span}-01"]
    assert [value for _, value in seen(good.calls[-1])] == [f"00-{again.trace}-{again.span}-01"]


async def test_without_tracing_headers_pass_untouched(gateway, awake):
    _, engine, _ = await awake()
    odd = "traceparent: not a parent\r\ntraceparent: 2\r\nTraceState: =\r\n"
    for headers in (PARENT, odd, ""):
        assert (await gateway.ask(chat(), headers=headers)).status == 200
    passed = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1, b=2")]
    assert seen(engine.calls[0]) == passed
    assert seen(engine.calls[1]) == [
        ("traceparent", "not a parent"),
        ("traceparent", "2"),
        ("tracestate", "="),
    ]
    assert seen(engine.calls[2]) == []
    assert gateway.server.recorder is None


async def test_what_is_malformed_begins_a_new_trace(gateway, awake, traced, collector):
    await traced()
    _, engine, _ = await awake()
    for headers in (f"traceparent: 00-{TRACE}-{SPAN}-1\r\ntracestate: a=1\r\n", ""):
        assert (await gateway.ask(chat(), headers=headers)).status == 200
    await until(lambda: len(collector.named("upstream")) == 2)
    for call, root in zip(engine.calls, collector.named("POST /v1/chat/completions"), strict=True):
        (upstream,) = (span for span in collector.named("upstream") if span.parent == root.span)
        assert seen(call) == [("traceparent", f"00-{root.trace}-{upstream.span}-01")]
        assert root.parent == ""
        assert root.trace != TRACE


async def test_what_is_not_sampled_is_told_and_not_recorded(gateway, awake, traced, collector):
    exporter = await traced(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    _, engine, _ = await awake()
    unsampled = PARENT.replace("-01", "-00")
    for headers in (unsampled, "", PARENT):
        assert (await gateway.ask(chat(), headers=headers)).status == 200
    await until(lambda: exporter.results["exported"] == 2)
    assert {span.trace for span in collector.spans} == {TRACE}
    assert seen(engine.calls[0])[0] == ("traceparent", f"00-{TRACE}-{SPAN}-00")
    ((_, begun),) = seen(engine.calls[1])
    assert begun.endswith("-00")
    assert seen(engine.calls[2])[0][1].endswith("-01")


async def test_failures_are_errors_and_refusals_are_not(gateway, awake, traced, collector):
    async def cut(call):
        await call.send(SSE_HEAD + chunk(TOKEN))
        call.reset()

    async def bad(call):
        await call.send(json_answer({"error": {"message": "no"}}, status=400))

    await traced()
    _, engine, _ = await awake(cut)
    await gateway.ask(chat(stream=True))
    engine.script = bad
    assert (await gateway.ask(chat())).status == 400
    await until(lambda: len(collector.named("upstream")) == 2)
    died, refused = collector.named("POST /v1/chat/completions")
    assert (died.error, died.attributes["error.type"]) == (True, "EngineGone")
    assert (died.attributes["torpor.reason"], died.attributes["http.response.status_code"]) == (
        "EngineGone",
        200,
    )
    assert (refused.error, refused.attributes["http.response.status_code"]) == (False, 400)
    assert [span.attributes.get("error.type") for span in collector.named("upstream")] == [
        "EngineGone",
        "400",
    ]


async def test_headers_compression_and_answers_of_the_collector(gateway, awake, traced, collector):
    exporter = await traced(
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%2Cb",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
        OTEL_SERVICE_NAME="door",
    )
    await awake()
    collector.answers = [503, {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "no"}}, 400]
    assert (await gateway.ask(chat())).status == 200
    # 503: once more; then one of two is taken.
    await until(lambda: exporter.results == {"exported": 1, "dropped": 0, "failed": 1})
    assert len(collector.heads) == 2
    assert (await gateway.ask(chat())).status == 200
    # 400: not once more.
    await until(lambda: exporter.results == {"exported": 1, "dropped": 0, "failed": 3})
    assert len(collector.heads) == 3
    assert (await gateway.ask(chat())).status == 200
    await until(lambda: exporter.results == {"exported": 3, "dropped": 0, "failed": 3})
    assert all("x-key: a,b\r\n" in head for head in collector.heads)
    assert collector.spans[-1].resource["service.name"] == "door"
    assert collector.spans[-1].resource["deployment.environment"] == "test"


@pytest.mark.parametrize("silent", [True, False])
async def test_a_collector_that_is_away_costs_spans_and_no_request(
    gateway, awake, traced, monkeypatch, silent
):
    monkeypatch.setattr("torpor_gateway.otlp._LAST_WORDS_SECONDS", 0.1)
    server = Silent()
    if silent:
        await server.open()
    exporter = await traced(
        server.port or free_port(),
        OTEL_BSP_MAX_QUEUE_SIZE="8",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        OTEL_EXPORTER_OTLP_TIMEOUT="60000",
    )
    await awake()
    for _ in range(20):
        assert (await gateway.ask(chat())).status == 200
    assert len(exporter._waiting) <= 8
    assert exporter.results["dropped"] >= 2 * 20 - 8 - 4
    await exporter.close()
    assert sum(exporter.results.values()) == 40
    assert exporter.results["exported"] == 0
    await server.close()


async def test_the_last_spans_are_sent_in_the_end(gateway, awake, collector):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
    async with recording(gateway.server, "boot-1", environ):
        await awake()
        assert (await gateway.ask(chat())).status == 200
        assert collector.spans == []
    assert len(collector.spans) == 2
