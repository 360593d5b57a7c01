"""The real thing: vLLM on a CPU, a real language model, woken from zero by the request it answers."""

import openai
import pytest

from e2e.support.fleets import REAL_VLLM
from e2e.support.kube import Object

QUESTION = "What is the capital of France? Answer in one short sentence."


def head_start(world) -> tuple[str, list[str], Object]:
    """Ask the sleeping fleet; most of the time passes while the model loads."""
    with (
        world.namespace("first_token") as ns,
        openai.OpenAI(
            base_url=f"http://{world.gateway}/v1", api_key="none", max_retries=0, timeout=300
        ) as client,
    ):
        fleet = world.make(ns, "smollm2", **REAL_VLLM, scaling={"idleSeconds": 60})
        messages = [{"role": "user", "content": QUESTION}]
        answer = client.chat.completions.create(
            model=fleet.model, messages=messages, max_tokens=40, temperature=0, stream=False
        )
        with client.chat.completions.create(
            model=fleet.model, messages=messages, max_tokens=20, temperature=0, stream=True
        ) as stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        return answer.choices[0].message.content or "", pieces, fleet.status()


@pytest.mark.timeout(420)
def test_a_real_model_answers_in_english(early):
    answer, pieces, status = early
    print(f"\n{QUESTION!r} -> {answer!r}; cold start {status['coldStart']}")
    assert "Paris" in answer, answer
    assert len(pieces) > 3, pieces
    assert "".join(pieces).strip()[:20] == answer.strip()[:20]
    assert float(status["coldStart"]["lastSeconds"]) > 1
    assert {"engine_start", "warmup"} <= {phase["name"] for phase in status["coldStart"]["phases"]}
