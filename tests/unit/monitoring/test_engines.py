"""Which metrics of vLLM may be asked for: those of a recorded release and of the next one's definitions."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from torpor.history import names
from torpor_engine.metrics import FAMILIES

from charts.monitoring import dashboards, engines
from charts.monitoring.contract import ContractError, check, grafana
from charts.monitoring.definitions import CACHE, LOGGERS, MODULES, UnreadableError, definitions, of_wheel
from charts.monitoring.exposed import exposed

ROOT = Path(__file__).parents[3]
KV = "vllm:kv_cache_usage_perc"


@pytest.fixture
def forgotten():
    """Have everything that is exposed worked out anew, now and afterwards."""

    def forget():
        engines.releases.cache_clear()
        exposed.cache_clear()

    yield forget
    forget()


def test_what_decisions_dashboards_and_backtests_read_is_in_every_release():
    for release, series in engines.releases().items():
        wanted = {first for first, *_ in FAMILIES}
        wanted |= {first for first, *_ in (names.RUNNING, names.KV, names.GAPS, names.CACHED_TOKENS)}
        wanted |= {f"{name}_bucket" for name in (names.PROMPT_LENGTHS, names.OUTPUT_LENGTHS, names.TTFT)}
        assert wanted <= series.keys(), release
        assert "reason" in series["vllm:num_requests_waiting_by_reason"].labels
        capacity = {"kv_cache_size_tokens", "num_gpu_blocks", "block_size", "engine"}
        assert capacity <= series["vllm:cache_config_info"].labels, release


def refusal(query: str) -> str:
    """Return why the contract refuses a query, empty where it does not."""
    try:
        check(query)
    except ContractError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda metrics: metrics.pop(KV), "vLLM 0.32 has it, vLLM 0.33 has not"),
        (lambda metrics: metrics[KV].update(type="counter"), "vLLM 0.32 has it, vLLM 0.33 has not"),
        (lambda metrics: metrics[KV].update(optional=True), "vLLM 0.32 has it, vLLM 0.33 has not"),
        (lambda metrics: metrics[KV]["labels"].remove("engine"), "no label 'engine'"),
    ],
)
def test_a_release_that_differs_breaks_the_queries_that_need_it(
    change, told, monkeypatch, tmp_path, forgotten
):
    """As a vLLM would that renamed, changed or hid a metric: the panels of it are named, no others."""
    queries = [
        grafana(query.expr.replace('cluster=~"$cluster", ', ""))
        for board in dashboards.BOARDS
        for panel in board.panels()
        for query in panel.queries
        if "vllm:" in query.expr
    ]
    queries = [f"sum by (engine) ({KV})", *(query.replace("cluster, ", "") for query in queries)]
    for query in queries:
        check(query)
    whole = json.loads(engines.DEFINED.read_text())
    change(whole["metrics"])
    (tmp_path / "definitions.json").write_text(json.dumps(whole))
    monkeypatch.setattr(engines, "DEFINED", tmp_path / "definitions.json")
    forgotten()
    broken = {query: why for query in queries if (why := refusal(query))}
    assert told in broken[queries[0]]
    assert all(told in why for why in broken.values())
    assert all(KV in query for query in broken), "what has not changed is not told"
    if "no label" not in told:
        assert broken.keys() == {query for query in queries if KV in query}


def test_a_name_of_the_new_release_alone_is_told_apart_from_one_of_none():
    assert engines.said_of("vllm:nonsense") == ""
    only = "vllm:prompt_tokens_created"
    assert engines.said_of(only) == ": vLLM 0.32 has it, vLLM 0.33 has not"
    with pytest.raises(ContractError, match=r"0\.33 has not"):
        check(only)


LOGGER = """
class PrometheusStatLogger:
    def __init__(self, config):
        labelnames = ["model_name", "engine"]
        self._gauge_cls(name="vllm:running", labelnames=labelnames)
        self._counter_cls(name="vllm:done", labelnames=labelnames + ["reason"])
        if config.traced:
            self._histogram_cls(name="vllm:traced_seconds", labelnames=labelnames)
        self.adapters = "adapters"
        self._gauge_cls(name="vllm:loras", labelnames=[self.adapters])

    def info(self, type, config):
        metrics_info = config.metrics_info()
        if type == "cache_config":
            name = "vllm:cache_config_info"
        self._gauge_cls(name=name, labelnames=metrics_info.keys())
"""
DECODING = """
class Prom:
    def __init__(self, enabled, labelnames):
        if not enabled:
            return
        specs = [("vllm:drafts", "How many."), ("vllm:accepted", "How many of them.")]
        [self._counter_cls(name=name, documentation=text, labelnames=labelnames) for name, text in specs]
"""
CONFIG = """
class CacheConfig:
    DEFAULT: ClassVar[int] = 16
    block_size: int = 16
"""
SOURCES = {MODULES[1]: "", MODULES[2]: DECODING, CACHE: CONFIG, LOGGERS: LOGGER}
BOTH = ["engine", "model_name"]


def test_definitions_are_read_off_the_source():
    assert definitions(SOURCES) == {
        "vllm:accepted": {"type": "counter", "labels": BOTH, "optional": True},
        "vllm:cache_config_info": {"type": "gauge", "labels": ["block_size", "engine"], "optional": False},
        "vllm:done": {"type": "counter", "labels": [*BOTH, "reason"], "optional": False},
        "vllm:drafts": {"type": "counter", "labels": BOTH, "optional": True},
        "vllm:loras": {"type": "gauge", "labels": ["adapters"], "optional": False},
        "vllm:running": {"type": "gauge", "labels": BOTH, "optional": False},
        "vllm:traced_seconds": {"type": "histogram", "labels": BOTH, "optional": True},
    }


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ('self._gauge_cls(name="vllm:x", labelnames=made())', "labels are no literals: made()"),
        ('self._gauge_cls(name="vllm:x")', "labels are no literals: none"),
        ('self._gauge_cls(name=prefix + "x", labelnames=labelnames)', "name is no literal: prefix + 'x'"),
        ('self._gauge_cls(name="vllm:x", labelnames=unknown)', "labels are no literals"),
    ],
)
def test_what_is_made_at_run_time_is_refused_with_its_place(call, told):
    with pytest.raises(UnreadableError, match=r"spec_decode/metrics\.py:4") as refused:
        definitions(SOURCES | {MODULES[2]: f"class P:\n  def f(self, labelnames):\n    pass\n    {call}\n"})
    assert told in str(refused.value)


def test_a_wheel_is_read_as_a_file_and_a_wrong_one_is_refused(tmp_path):
    wheel = tmp_path / "vllm-0.99.1-cp38-abi3-linux.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in SOURCES.items():
            archive.writestr(name, text)
    assert of_wheel(wheel) == {"release": "0.99.1", "metrics": definitions(SOURCES)}
    with pytest.raises(UnreadableError, match="no wheel of vLLM"):
        of_wheel(tmp_path / "torch-2.0-any.whl")
    command = [sys.executable, "-m", "charts.monitoring.definitions", str(tmp_path / "vllm-1.0-any.whl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_is_of_the_release_that_its_folder_says():
    told = json.loads(engines.DEFINED.read_text())
    assert engines.DEFINED.parent.name == f"vllm-{told['release'].rpartition('.')[0]}"
    assert {entry["type"] for entry in told["metrics"].values()} == {"gauge", "counter", "histogram"}
