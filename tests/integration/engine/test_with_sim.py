"""The launcher with the simulated engine: launched as vLLM is, with real metrics and streams."""

import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

from tests.integration.engine.harness import Pod, poll


def simulated(pod: Pod) -> Pod:
    pod.environ["PATH"] = f"{Path(sys.executable).parent}:{pod.environ['PATH']}"
    pod.environ["TORPOR_ENGINE_TYPE"] = "Simulated"
    pod.environ["TORPOR_MODEL_URI"] = "hf://HuggingFaceTB/SmolLM2-135M-Instruct"
    return pod


def stream_tokens(pod: Pod, tokens: int) -> "urllib.request._UrlopenRet":
    """An open streamed completion of many tokens."""
    body = {"model": "smollm2", "prompt": "Hello", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{pod.engine_port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=60)


def test_metrics_of_a_busy_engine_and_a_drain_that_cuts_nothing(bare_pod: Pod) -> None:
    pod = simulated(bare_pod)
    stats = pod.start("--max-num-seqs", "4", "--profile", "tiny").wait_state("Ready")
    assert stats["maxNumSeqs"] == 4
    poll(lambda: pod.stats().get("generationTokensTotal") == 1, "the warm-up token in the metrics")
    stats = pod.stats()
    assert stats["missing"] == []
    assert stats["kvCapacityTokens"] > 0
    with stream_tokens(pod, 8000):  # the client leaves as soon as the launcher has seen it
        busy = poll(lambda: (now := pod.stats()).get("running") == 1 and now, "one running request")
        assert busy["kvUtilization"] > 0
    with stream_tokens(pod, 300) as answer:
        answer.readline()
        pod.terminate()
        text = answer.read().decode()
    assert text.rstrip().endswith("data: [DONE]")
    assert '"finish_reason":"length"' in text.replace(" ", "")
    assert pod.end() == 0


def test_an_old_name_is_read_and_a_hidden_metric_is_reported(bare_pod: Pod) -> None:
    pod = simulated(bare_pod)
    pod.start("--metrics-generation=old", "--hide-metric=num_preemptions").wait_state("Ready")
    stats = poll(lambda: (now := pod.stats()).get("running") == 0 and now, "the first reading")
    assert stats["kvUtilization"] == 0
    assert stats["preemptionsTotal"] is None
    assert stats["missing"] == ["vllm:num_preemptions_total"]


def test_bad_arguments(bare_pod: Pod) -> None:
    assert simulated(bare_pod).start("--no-such-flag").end() == 64
    assert "--no-such-flag" in bare_pod.message()


def test_a_killed_engine_is_told_within_a_heartbeat(bare_pod: Pod) -> None:
    pod = simulated(bare_pod)
    pod.start().wait_state("Ready")
    with pod.listening() as stream:
        os.kill(pod.engine_pid(), signal.SIGKILL)
        stream.read_to_the_end()
    assert b'"state":"Failed"' in stream.data
    assert pod.end() == 70
    assert "exit code 137" in pod.message()
