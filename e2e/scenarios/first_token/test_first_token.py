"""The real thing: vLLM on a CPU, a real language model, woken from zero by the request it answers.

While it is awake it is asked what the simulated engine is asked everywhere else, so that the simulation is
measured against the engine it stands for in every full run and not only on the day it was recorded.
"""

from dataclasses import dataclass

from e2e.support.fleets import REAL_VLLM, Fleet
from e2e.support.kube import Object
from e2e.support.waiting import until

AWAKE_SECONDS = 300  # without a request: the comparison asks the engine itself, and that takes a while
QUESTION = "What is the capital of France? Answer in one short sentence."


@dataclass(frozen=True)
class Story:
    """What the sleeping fleet answered, whole and in pieces, and what its object said afterwards."""

    answer: str
    pieces: list[str]
    status: Object
    unlike: list[str]  # where the simulated engine differs from the real one


def head_start(world) -> Story:
    """Ask the sleeping fleet; most of the time passes while the model loads."""
    import openai  # noqa: PLC0415 (seconds of a processor, in every worker that collects this file)

    with (
        world.namespace("first_token") as ns,
        openai.OpenAI(
            base_url=f"http://{world.gateway}/v1", api_key="none", max_retries=0, timeout=600
        ) as client,
    ):
        fleet = world.make(ns, "smollm2", **REAL_VLLM, scaling={"idleSeconds": AWAKE_SECONDS})
        messages = [{"role": "user", "content": QUESTION}]
        answer = client.chat.completions.create(
            model=fleet.model, messages=messages, max_tokens=40, temperature=0, stream=False
        )
        # The operator's account of it may be slower than the answer, whoever leads by then.
        until("the cold start in the status", lambda: "coldStart" in fleet.status(), seconds=60)
        with client.chat.completions.create(
            model=fleet.model, messages=messages, max_tokens=20, temperature=0, stream=True
        ) as stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        status = fleet.status()
        local = world.cluster.context == "torpor-local"
        unlike = unlike_simulated(fleet) if local else []
        return Story(answer.choices[0].message.content or "", pieces, status, unlike)


def unlike_simulated(fleet: Fleet) -> list[str]:
    """Put the probes to the engine itself: the gateway would answer some of them in its place.

    Only where the node is this host, which therefore reaches pods by their addresses. A comparison that
    cannot be made is a difference too, and no reason to lose the rest of the story.
    """
    import httpx  # noqa: PLC0415 (as above)

    from e2e.likeness.comparison import compare  # noqa: PLC0415

    try:
        pod = until("the engine is ready, whatever a late probe said", fleet.ready_pods)[0]
        return compare(f"http://{pod['status']['podIP']}:8000")
    except (httpx.HTTPError, LookupError, ValueError, RuntimeError, AssertionError) as error:
        return [f"the comparison failed: {error!r}"]


def test_a_real_model_answers_in_english(early):
    print(f"\n{QUESTION!r} -> {early.answer!r}; cold start {early.status['coldStart']}")
    assert "Paris" in early.answer, early.answer
    assert len(early.pieces) > 3, early.pieces
    assert "".join(early.pieces).strip()[:20] == early.answer.strip()[:20]
    assert float(early.status["coldStart"]["lastSeconds"]) > 1
    assert {"engine_start", "warmup"} <= {phase["name"] for phase in early.status["coldStart"]["phases"]}


def test_the_simulated_engine_is_like_the_real_one(early):
    assert not early.unlike, "\n".join(early.unlike)
