"""What Prometheus scrapes: read off the fleets at the moment of the scrape.

The data path counts in plain integers, and this collector turns them into families; a metrics library's own
counters, locked and labelled, would cost more per token than passing the token on. Labels are the fleet,
an API key's name and words of ours, never a client's text nor the key itself.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from torpor_gateway.demand import Demand
from torpor_gateway.server import Server
from torpor_gateway.sketch import Sketch

_FLEET = ("namespace", "name")
PREFIX = "torpor_gateway_"


class GatewayCollector(Collector):
    """The gateway's own metrics."""

    def __init__(self, server: Server, demand: Demand | None) -> None:
        self._server = server
        self._demand = demand

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._process()
        yield from self._certificate()
        yield from self._keys()
        yield from self._counters()
        yield from self._gauges()
        yield from self._histograms()
        yield from self._recorded()

    def _process(self) -> Iterator[Metric]:
        server, registry = self._server, self._server.registry
        refused = CounterMetricFamily(
            PREFIX + "errors", "Errors that the gateway answered itself.", labels=("code", "reason")
        )
        for (status, reason), count in server.refusals.items():
            refused.add_metric((str(status), reason), count)
        yield refused
        yield GaugeMetricFamily(
            PREFIX + "connections", "Open client connections.", value=len(server.connections)
        )
        yield GaugeMetricFamily(
            PREFIX + "buffered_bytes", "Request bodies in memory.", value=server.buffered_bytes
        )
        yield GaugeMetricFamily(PREFIX + "fleets", "Fleets that are known.", value=len(registry.fleets))
        synced = registry.synced and registry.complete
        yield GaugeMetricFamily(PREFIX + "synced", "1 while the watches are up to date.", value=int(synced))
        yield GaugeMetricFamily(PREFIX + "draining", "1 after SIGTERM.", value=int(server.draining))
        readers = self._demand.readers if self._demand else 0
        yield GaugeMetricFamily(PREFIX + "demand_readers", "Operators on the demand stream.", value=readers)
        yield CounterMetricFamily(
            PREFIX + "demand_refusals",
            "Visits to the demand stream with a wrong token or none.",
            value=self._demand.refused if self._demand else 0,
        )

    def _certificate(self) -> Iterator[Metric]:
        certificate = self._server.certificate
        begins = GaugeMetricFamily(
            PREFIX + "certificate_start_timestamp_seconds", "When the certificate begins, UTC, since 1970."
        )
        ends = GaugeMetricFamily(
            PREFIX + "certificate_expiry_timestamp_seconds", "When the certificate ends, UTC, since 1970."
        )
        stale = GaugeMetricFamily(
            PREFIX + "certificate_stale", "1 while the certificate could not be read again."
        )
        failures = CounterMetricFamily(
            PREFIX + "certificate_failed_reads", "Readings of the certificate that failed."
        )
        if certificate is not None:
            begins.add_metric((), certificate.pair.begins)
            ends.add_metric((), certificate.pair.ends)
            stale.add_metric((), int(certificate.stale))
            failures.add_metric((), certificate.failures)
        yield from (begins, ends, stale, failures)

    def _keys(self) -> Iterator[Metric]:
        gate = self._server.gate
        yield GaugeMetricFamily(PREFIX + "open", "1 while no API key is asked for.", value=int(gate.open))
        yield GaugeMetricFamily(PREFIX + "api_keys", "API keys that are known.", value=len(gate.states))
        yield GaugeMetricFamily(
            PREFIX + "api_keys_stale", "1 while the API keys could not be read again.", value=int(gate.stale)
        )
        yield CounterMetricFamily(
            PREFIX + "api_keys_failed_reads", "Readings of the API keys that failed.", value=gate.failures
        )
        yield GaugeMetricFamily(
            PREFIX + "sharing_processes", "Processes that share the keys' limits.", value=gate.processes
        )
        admitted = CounterMetricFamily(
            PREFIX + "key_requests", "Requests of an API key that were let in.", labels=("key",)
        )
        refused = CounterMetricFamily(
            PREFIX + "key_refusals", "Requests of an API key that were refused.", labels=("key", "reason")
        )
        tokens = CounterMetricFamily(
            PREFIX + "key_tokens", "Tokens of an API key's requests.", labels=("key", "kind")
        )
        under_way = GaugeMetricFamily(
            PREFIX + "key_requests_under_way", "Requests of an API key, waiting or running.", labels=("key",)
        )
        for name, state in gate.states.items():
            admitted.add_metric((name,), state.admitted)
            for reason, count in state.refusals.items():
                refused.add_metric((name, reason), count)
            tokens.add_metric((name, "prompt"), state.prompt_tokens)
            tokens.add_metric((name, "output"), state.output_tokens)
            under_way.add_metric((name,), state.under_way)
        yield from (admitted, refused, tokens, under_way)

    def _counters(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            PREFIX + "requests", "Requests of a fleet that are over.", labels=(*_FLEET, "code", "reason")
        )
        arrivals = CounterMetricFamily(PREFIX + "arrivals", "Requests that wanted a fleet.", labels=_FLEET)
        retries = CounterMetricFamily(
            PREFIX + "client_retries", "Requests that a client sent again.", labels=_FLEET
        )
        upstream = CounterMetricFamily(
            PREFIX + "upstream_retries", "Requests that were sent to another pod.", labels=(*_FLEET, "reason")
        )
        tokens = CounterMetricFamily(
            PREFIX + "tokens", "Tokens of completed requests.", labels=(*_FLEET, "kind")
        )
        arrived = CounterMetricFamily(
            PREFIX + "arrived_prompt_tokens", "Tokens of arriving prompts, by their bytes.", labels=_FLEET
        )
        kept = CounterMetricFamily(
            PREFIX + "objectives",
            "Streams held against the fleet's latency objectives, and requests that waited in vain.",
            labels=(*_FLEET, "result"),
        )
        routed = CounterMetricFamily(
            PREFIX + "routed_prompt_tokens",
            "Tokens of prompts at the pods chosen, by whether the pod is thought to have them cached.",
            labels=(*_FLEET, "kind"),
        )
        cuts = CounterMetricFamily(
            PREFIX + "cut_answers", "Answers that ended before their end.", labels=(*_FLEET, "cause")
        )
        for key, fleet in self._server.registry.fleets.items():
            for cause, count in fleet.cuts.items():
                cuts.add_metric((*key, cause), count)
            for kind, tokens_routed in fleet.routed_prompt_tokens.items():
                routed.add_metric((*key, kind), tokens_routed)
            for (status, reason), count in fleet.answers.items():
                requests.add_metric((*key, str(status), reason), count)
            for reason, count in fleet.upstream_retries.items():
                upstream.add_metric((*key, reason), count)
            arrivals.add_metric(key, fleet.arrivals)
            arrived.add_metric(key, fleet.arrived_prompt_tokens)
            retries.add_metric(key, fleet.retries)
            tokens.add_metric((*key, "prompt"), fleet.prompt_tokens)
            tokens.add_metric((*key, "output"), fleet.output_tokens)
            kept.add_metric((*key, "kept"), fleet.kept.judged - fleet.kept.missed)
            kept.add_metric((*key, "missed"), fleet.kept.missed)
        yield from (requests, arrivals, arrived, retries, upstream, tokens, kept, routed, cuts)

    def _gauges(self) -> Iterator[Metric]:
        held = GaugeMetricFamily(PREFIX + "held_requests", "Requests that wait for a wake.", labels=_FLEET)
        oldest = GaugeMetricFamily(
            PREFIX + "oldest_held_seconds", "How long the first of those has waited.", labels=_FLEET
        )
        queued = GaugeMetricFamily(
            PREFIX + "queued_requests", "Requests that wait for a free replica.", labels=_FLEET
        )
        waiting = GaugeMetricFamily(PREFIX + "waiting_bytes", "Bodies of waiting requests.", labels=_FLEET)
        in_flight = GaugeMetricFamily(PREFIX + "in_flight_requests", "Requests at engines.", labels=_FLEET)
        routable = GaugeMetricFamily(PREFIX + "routable_endpoints", "Pods that may get work.", labels=_FLEET)
        streams = GaugeMetricFamily(
            PREFIX + "stats_streams", "Launcher streams by state.", labels=(*_FLEET, "state")
        )
        for key, fleet in self._server.registry.fleets.items():
            count = len(fleet.line)
            held.add_metric(key, count if fleet.asleep else 0)
            waits = count and fleet.asleep
            oldest.add_metric(key, fleet.loop.time() - fleet.line.oldest() if waits else 0)
            queued.add_metric(key, 0 if fleet.asleep else count)
            waiting.add_metric(key, fleet.line.bytes)
            in_flight.add_metric(key, fleet.in_flight)
            routable.add_metric(key, len(fleet.ready))
            followed = [endpoint for endpoint in fleet.endpoints.values() if endpoint.uses_launcher]
            up = sum(endpoint.stream_up for endpoint in followed)
            streams.add_metric((*key, "up"), up)
            streams.add_metric((*key, "down"), len(followed) - up)
        yield from (held, oldest, queued, waiting, in_flight, routable, streams)

    def _histograms(self) -> Iterator[Metric]:
        ttft = _family(
            "time_to_first_token_seconds", "From a request's arrival to its first event, streams only."
        )
        itl = _family("inter_token_latency_seconds", "Between the events of a stream.")
        speed = _family(
            "stream_tokens_per_second", "Output tokens after the first per second, of each complete stream."
        )
        hold = _family("hold_seconds", "How long requests waited for a sleeping fleet.")
        queue = _family("queue_seconds", "How long requests waited for a free replica of a fleet awake.")
        for key, fleet in self._server.registry.fleets.items():
            for family, sketch in (
                (ttft, fleet.ttft),
                (itl, fleet.itl),
                (speed, fleet.speed),
                (hold, fleet.waits.hold),
                (queue, fleet.waits.queue),
            ):
                family.add_metric(key, _buckets(sketch), sketch.sum)
        yield from (ttft, itl, speed, hold, queue)

    def _recorded(self) -> Iterator[Metric]:
        lines = CounterMetricFamily(
            PREFIX + "access_log_lines",
            "Lines of the access log, by what became of them.",
            labels=("result",),
        )
        spans = CounterMetricFamily(
            PREFIX + "spans", "Spans of traces, by what became of them.", labels=("result",)
        )
        recorder = self._server.recorder
        if recorder is not None and recorder.access_log is not None:
            lines.add_metric(("written",), recorder.access_log.written)
            lines.add_metric(("lost",), recorder.access_log.lost)
        if recorder is not None and recorder.exporter is not None:
            for result, count in recorder.exporter.results.items():
                spans.add_metric((result,), count)
        yield from (lines, spans)


def _family(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(PREFIX + name, text, labels=_FLEET)


def _buckets(sketch: Sketch) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = [(str(bound), count) for bound, count in sketch.cumulative()]
    return [*rows, ("+Inf", sketch.count)]


def exposition(server: Server, demand: Demand | None) -> CollectorRegistry:
    """Return a registry with the gateway's metrics and the process's."""
    registry = CollectorRegistry()
    registry.register(GatewayCollector(server, demand))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


__all__ = ["GatewayCollector", "exposition", "generate_latest"]
