"""Two real processes on one port, recorded: their lines, spans and histograms are those of one."""

import json
import signal

from tests.integration.gateway.collector import collector
from tests.integration.gateway.harness import Client, chat, free_port, request, until
from tests.integration.gateway.test_process import Site, engine

__all__ = ["collector", "engine"]

COUNT = 24
FLEET = 'name="llm",namespace="static"'


async def test_lines_spans_and_histograms_of_two_workers_add_up(run, connect, tmp_path, engine, collector):
    file, port, admin = tmp_path / "fleets.yaml", free_port(), free_port()
    site = Site(None, file, port, admin, engine)  # type: ignore[arg-type]
    site.write(awake=True)
    arguments = ["--static", str(file), "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    arguments += ["--drain-delay-seconds", "0.1", "--workers", "2", "--access-log", "-"]
    site.gateway = await run(
        "torpor-gateway",
        *arguments,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    await site.gateway.says("listening on .* with 2 workers")
    for _ in range(COUNT):
        client = await Client.connect(port)
        answer = await client.ask(request(chat(stream=True, max_tokens=8)))
        assert answer.body.endswith(b"data: [DONE]\n\n")
        client.leave()

    await until(lambda: len(collector.named("upstream")) == COUNT)
    assert len({span.trace for span in collector.spans}) == COUNT
    assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2, "not spread"
    await site.until_metric('torpor_gateway_spans_total{result="exported"}', len(collector.spans))
    assert await site.metric('torpor_gateway_spans_total{result="dropped"}') == 0
    await site.until_metric('torpor_gateway_access_log_lines_total{result="written"}', COUNT)
    for name in ("time_to_first_token_seconds", "stream_tokens_per_second"):
        counted = await site.metric(f"torpor_gateway_{name}_count{{{FLEET}}}")
        # Tokens that a busy machine brings in one piece have no speed.
        assert counted == COUNT or (name.startswith("stream") and 0 < counted < COUNT)
        assert await site.metric(f'torpor_gateway_{name}_bucket{{le="+Inf",{FLEET}}}') == counted
    assert await site.metric(f"torpor_gateway_queue_seconds_count{{{FLEET}}}") == 0

    client = await connect(port)
    assert (await client.ask(request(chat(max_tokens=1)))).status == 200
    site.gateway.signal(signal.SIGTERM)  # the last line and the last spans are on their way yet
    assert await site.gateway.end() == 0
    lines = [json.loads(line) for line in site.gateway.log.read_text().splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [200] * (COUNT + 1)
    assert {line["trace_id"] for line in lines} == {span.trace for span in collector.spans}
    assert all(line["output_tokens"] > 0 for line in lines)
