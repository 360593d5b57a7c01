"""Every series that a Prometheus beside Torpor can hold: its name, its kind, its labels, and their words.

A list kept by hand would be one more thing that drifts, so nothing is listed: our processes are asked. The
operator's registry is the module's own; the gateway's collectors are run over a gateway that serves nobody;
the launcher's text is that of a pod that has measured a phase and misses a metric. vLLM's are those that
every supported release serves (`engines`). What Prometheus itself adds, the labels of the target, depends on
who scrapes: what is assumed here is what the chart's ServiceMonitors and PodMonitor give, and what the plain
scrape configuration repeats.

Words are the values that a label can have where they are few and ours. They are as much of a contract as a
name: `reason="WakeFaild"` never matches anything.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry
from torpor import metrics as operator
from torpor.api import constants
from torpor.decide import decision
from torpor.decide.clamps import CLAMPS
from torpor_engine import exporter, stats
from torpor_engine import metrics as engine
from torpor_engine.settings import Settings as LauncherSettings
from torpor_gateway.metrics import GatewayCollector
from torpor_gateway.registry import Registry
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings
from torpor_gateway.workers import _Own as Supervisor

from charts.monitoring import engines

ROOT = Path(__file__).resolve().parents[2]
ERRORS = ROOT / "docs" / "reference" / "errors.md"

# The labels of a target. A fleet's series of the operator and of the gateway say `namespace` and `name`
# themselves; those of an engine pod, vLLM's included, get the fleet's from the PodMonitor.
TARGET = frozenset({"job", "instance", "namespace", "pod", "container", "endpoint"})
SERVICE = TARGET | {"service"}
ENGINE = TARGET | {"name"}
_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
}


@dataclass(frozen=True)
class Series:
    """One name. `kind` is counter, gauge, histogram or summary (of their parts too); `labels` are the
    metric's own, `target` those of its target; `words` the values of a label, where they are known; `about`
    what the process says of it (HELP).
    """

    name: str
    kind: str
    labels: frozenset[str] = frozenset()
    target: frozenset[str] = frozenset()
    words: Mapping[str, frozenset[str]] = field(default_factory=dict)
    about: str = ""


@cache
def exposed() -> Mapping[str, Series]:
    """Return all series by name."""
    up = Series("up", "gauge", frozenset(), SERVICE | ENGINE)
    everything = chain([up], of_operator(), of_gateway(), of_launcher(), of_vllm())
    return {series.name: series for series in everything}


def of_operator() -> Iterator[Series]:
    """Yield what the operator serves."""
    yield from _of_registry(operator.REGISTRY, SERVICE)


def of_gateway() -> Iterator[Series]:
    """Yield what a gateway serves, of one process or of several."""
    loop = asyncio.new_event_loop()
    try:
        settings = Settings()
        registry = CollectorRegistry()
        registry.register(GatewayCollector(Server(settings, Registry(settings, loop), loop), None))
        registry.register(Supervisor(1, 0))
        yield from _of_registry(registry, SERVICE)
    finally:
        loop.close()


def of_launcher() -> Iterator[Series]:
    """Yield what a launcher adds to its engine's metrics."""
    filled = {name: 0 if kind == "int" else "x" for name, kind in LauncherSettings.__annotations__.items()}
    settings = LauncherSettings(**filled)  # type: ignore[arg-type]
    board = stats.Board(settings, 0.0, 0.0, phases=[("Loading", 1.0)])
    board.measured(engine.Sample(missing=("vllm:x",)), b"", 0.0)
    text = exporter.exposition(board, 0, 0, 1.0).decode()
    for family in text_string_to_metric_families(text):
        words = {"state": frozenset(stats.STATES)} if family.name == "torpor_engine_state" else {}
        if family.name == "torpor_engine_missing_metric":
            words = {"metric": frozenset(names[0] for names in engine.FAMILIES)}
        labels = frozenset(chain.from_iterable(sample.labels for sample in family.samples))
        yield from _parts(family.name, family.type, labels, ENGINE, words, about=family.documentation)


def of_vllm() -> Iterator[Series]:
    """Yield what a vLLM of every supported release serves."""
    for name, served in engines.everywhere():
        few = {label: values for label, values in served.values.items() if label in _VLLM_WORDS}
        yield Series(name, served.kind, served.labels, ENGINE, few)


_VLLM_WORDS = {"reason", "source", "sleep_state", "finished_reason"}


def _of_registry(registry: CollectorRegistry, target: frozenset[str]) -> Iterator[Series]:
    for collector in list(registry._collector_to_names):
        for name, kind, labels, about in _families(collector):
            yield from _parts(name, kind, frozenset(labels), target, _words(name), about=about)


def _families(collector: Collector) -> Iterator[tuple[str, str, Iterable[str], str]]:
    """Yield name, kind, labels and HELP: families know their labels while they have no sample."""
    own = getattr(collector, "_labelnames", None)
    for family in collector.collect():  # the gateway's, made at each scrape
        labels = own if own is not None else _labels(family)
        yield family.name, family.type, labels, family.documentation


def _labels(family: Metric) -> Iterable[str]:
    of_samples = chain.from_iterable(sample.labels for sample in family.samples)
    return {*getattr(family, "_labelnames", ()), *of_samples} - {"le"}


def _parts(
    name: str,
    kind: str,
    labels: frozenset[str],
    target: frozenset[str],
    words: Mapping[str, frozenset[str]],
    *,
    about: str,
) -> Iterator[Series]:
    for suffix in _SUFFIXES.get(kind, ("",)):
        own = labels | {"le"} if suffix == "_bucket" else labels
        yield Series(name + suffix, kind, own, target, words, about)


@cache
def _reasons() -> frozenset[str]:
    """Return every reason and code: of conditions, and of the gateway's answers as docs tell them."""
    told = re.findall(r"^\|([^|]*)\|", ERRORS.read_text(), re.MULTILINE)
    codes = chain.from_iterable(re.findall(r"`(\w+)`", cell) for cell in told)
    return frozenset({*codes, *(word for word in vars(constants).values() if isinstance(word, str)), ""})


@cache
def _decided() -> frozenset[str]:
    """Return the reasons of decisions: the words of decision.py and the clamps' names."""
    own = {word for name, word in vars(decision).items() if name.isupper() and isinstance(word, str)}
    return frozenset({*own, *_clamps(), *constants.CONDITION_TYPES, constants.PAUSED})


def _clamps() -> frozenset[str]:
    return frozenset(clamp.name for clamp in CLAMPS)


def _words(family: str) -> dict[str, frozenset[str]]:
    """Return the words of the labels of one of our families (counters without their suffix)."""
    kinds = frozenset({"prompt", "output"})
    words: dict[str, dict[str, frozenset[str]]] = {
        "torpor_fleet_condition": {"type": frozenset(constants.CONDITION_TYPES)},
        "torpor_fleet_condition_reason": {
            "type": frozenset(constants.CONDITION_TYPES),
            "reason": _reasons(),
        },
        "torpor_fleet_hold_limit_seconds": {"kind": frozenset({"stream", "unary"})},
        "torpor_fleet_mode": {"mode": frozenset({constants.AUTO, constants.RECOMMEND, constants.PAUSED})},
        "torpor_fleet_clamp_replicas": {"clamp": _clamps()},
        "torpor_fleet_decision": {"reason": _decided()},
        "torpor_fleet_decisions": {"reason": _decided()},
        "torpor_fleet_tokens": {"kind": kinds},
        "torpor_fleet_objectives": {"result": frozenset({"kept", "missed"})},
        "torpor_gateway_objectives": {"result": frozenset({"kept", "missed"})},
        "torpor_gateway_tokens": {"kind": kinds},
        "torpor_gateway_key_tokens": {"kind": kinds},
        "torpor_gateway_routed_prompt_tokens": {"kind": frozenset({"known", "new"})},
        "torpor_gateway_stats_streams": {"state": frozenset({"up", "down"})},
        "torpor_gateway_errors": {"reason": _reasons() | {"no_file_left", "unauthorized"}},
        "torpor_gateway_cut_answers": {"cause": frozenset({"drain", "engine", "gateway"})},
        "torpor_gateway_requests": {"reason": _reasons()},
        "torpor_operator_gateway_streams": {"state": frozenset({"live", "not live"})},
    }
    return words.get(family, {})
