"""When a line is due and what it says, on a clock that the test turns."""

import json
from itertools import pairwise

from torpor_engine.accelerators import Accelerators
from torpor_engine.exporter import exposition
from torpor_engine.metrics import Sample
from torpor_engine.settings import Settings, read_settings
from torpor_engine.stats import SPACING_SECONDS, Board, Pacer


def settings() -> Settings:
    return read_settings(
        {
            "TORPOR_FLEET_NAMESPACE": "default",
            "TORPOR_FLEET_NAME": "smollm2",
            "TORPOR_FLEET_UID": "uid",
            "TORPOR_REVISION": "r",
            "TORPOR_POD_NAME": "p",
            "TORPOR_MODEL_URI": "hf://a/b",
            "TORPOR_MODEL_NAMES": "smollm2,default/smollm2",
        }
    )


def board() -> Board:
    return Board(settings(), started_at=1000.0, started_clock=0.0)


def lines_sent(pacer: Pacer, changes: list[tuple[float, bool]], until: float) -> list[float]:
    """The times at which lines go out when changes come at the given times (and are urgent or not)."""
    sent, now = [], 0.0
    while now <= until:
        while changes and changes[0][0] <= now:
            pacer.change(urgent=changes.pop(0)[1])
        if pacer.due() <= now:
            pacer.sent(now)
            sent.append(now)
        now = round(now + 0.01, 2)
    return sent


def test_silence_has_a_heartbeat() -> None:
    assert lines_sent(Pacer(), [], 12.0) == [0.0, 5.0, 10.0]


def test_numbers_keep_their_distance() -> None:
    changes = [(round(1 + i / 100, 2), False) for i in range(20)]
    first, *sent = lines_sent(Pacer(), changes, 2.0)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert (first, sent[0], len(sent)) == (0.0, 1.0, 5)
    assert all(SPACING_SECONDS - 1e-9 <= gap <= SPACING_SECONDS + 0.011 for gap in gaps)


def test_a_state_goes_out_at_once() -> None:
    assert lines_sent(Pacer(), [(1.0, False), (1.01, True), (1.02, False)], 2.0) == [0.0, 1.0, 1.01, 1.06]


def test_equal_numbers_are_no_news() -> None:
    subject = board()
    subject.pacer.sent(0.0)
    subject.measured(Sample(running=1), b"", 1.0)
    assert subject.pacer.due() < 1.0
    subject.pacer.sent(1.0)
    subject.measured(Sample(running=1), b"", 2.0)
    assert subject.pacer.due() == 6.0


def test_a_line_has_every_member_of_the_contract() -> None:
    subject = board()
    subject.enter("Loading")
    subject.finished("preflight", 0.12345)
    line = json.loads(subject.line(3.0))
    assert set(line) == {
        "v", "fleetUid", "namespace", "name", "revision", "pod", "bootId", "seq", "models", "state", "reason",
        "message", "phases", "startedAt", "readyAt", "maxNumSeqs", "running", "waiting", "waitingCapacity",
        "kvUtilization", "kvCapacityTokens", "promptTokensTotal", "generationTokensTotal", "preemptionsTotal",
        "prefixQueriesTotal", "prefixHitsTotal", "cachedPromptTokensTotal", "interTokenCount",
        "interTokenSeconds", "firstTokensTotal", "maxNumBatchedTokens", "gpu", "gpuCount",
        "metricsAgeSeconds", "missing", "engineVersion", "tuning",
    }  # fmt: skip
    assert line["phases"] == [{"name": "preflight", "seconds": 0.123}]
    assert line["tuning"] == {"used": False, "refused": False, "message": "the fleet's ConfigMap has none"}
    assert (line["v"], line["seq"], line["metricsAgeSeconds"]) == (1, 1, None)
    assert json.loads(subject.line(3.0))["seq"] == 2


def test_what_is_measured_and_what_it_runs_on_are_told() -> None:
    subject = board()
    subject.accelerators = Accelerators("NVIDIA H100 80GB HBM3", 4, 2048)
    subject.measured(
        Sample(
            prefix_queries_total=300, prefix_hits_total=128, cached_prompt_tokens_total=112,
            gaps=40, gap_seconds=0.52, first_tokens_total=6,
        ),
        b"", 1.0,
    )  # fmt: skip
    line = json.loads(subject.line(1.0))
    assert (line["gpu"], line["gpuCount"], line["maxNumBatchedTokens"]) == ("NVIDIA H100 80GB HBM3", 4, 2048)
    assert (line["prefixQueriesTotal"], line["prefixHitsTotal"]) == (300, 128)
    assert (line["cachedPromptTokensTotal"], line["interTokenCount"]) == (112, 40)
    assert (line["interTokenSeconds"], line["firstTokensTotal"]) == (0.52, 6)
    assert line["generationTokensTotal"] is None


def test_age_grows_while_nothing_is_read() -> None:
    subject = board()
    subject.measured(Sample(running=0), b"x 1\n", 10.0)
    assert json.loads(subject.line(12.5))["metricsAgeSeconds"] == 2.5


def test_ready_needs_an_engine_that_is_heard() -> None:
    subject = board()
    assert not subject.ready(0.0)
    subject.enter("Ready")
    subject.measured(Sample(), b"", 10.0)
    assert subject.ready(39.0)
    assert not subject.ready(40.0)
    subject.measured(Sample(), b"", 41.0)
    assert subject.ready(42.0)
    subject.enter("Draining")
    assert not subject.ready(42.0)


def test_own_metrics_follow_the_engines_and_outlive_them() -> None:
    subject = board()
    subject.measured(Sample(missing=("vllm:kv_cache_usage_perc",)), b"vllm:x 1", 10.0)
    fresh = exposition(subject, 2, 1, 11.0).decode()
    assert fresh.startswith("vllm:x 1\n# HELP torpor_engine_info")
    assert "torpor_engine_metrics_age_seconds 1.000\n" in fresh
    assert 'torpor_engine_missing_metric{metric="vllm:kv_cache_usage_perc"} 1\n' in fresh
    assert "torpor_engine_streams 2\ntorpor" not in fresh  # every family has its own header
    assert "vllm:x" not in exposition(subject, 2, 1, 60.0).decode()
