"""When a fleet gets a prefill budget, and when another one."""

import dataclasses

import pytest
from torpor.control.hardware import Engines
from torpor.control.tuning import TUNE_SECONDS, Tuner, Tuning, from_dict, to_dict, tune
from torpor.decide.hardware import TABLE
from torpor.decide.known import Known
from torpor.decide.learning import begin
from torpor.decide.work import Mix, Objectives

from tests.unit.control.test_hardware import H100, NOBODY, service

ROW = TABLE["llama-3-70b-fp8", "h100", 4]
CHAT = Mix(prompt=1024, output=256)
ITL_50 = Objectives(2000, 50)
NONE = Tuning()


def tuned(held=NONE, *, args=(), revision="r", engines=NOBODY, hardware=ROW, objectives=ITL_50, mix=CHAT):
    return tune(
        held,
        service(args=list(args)),
        revision,
        engines=engines,
        hardware=hardware,
        objectives=objectives,
        mix=mix,
    )


def faster(times):
    return dataclasses.replace(ROW, b=ROW.b / times, c=ROW.c / times, d=ROW.d / times)


def test_an_objective_and_a_known_hardware_give_a_budget():
    found = tuned()
    assert 700 < found.max_num_batched_tokens < 874
    assert found.max_num_seqs <= found.max_num_batched_tokens
    assert "50 ms" in found.message
    assert found.step_ms <= 50


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"objectives": Objectives(2000, None)}, "no inter-token latency objective"),
        ({"args": ["--max-num-batched-tokens=8k"]}, "--max-num-batched-tokens=8k"),
        ({"args": ["--max_num_batched_tokens", "4096"]}, "--max-num-batched-tokens=4096"),
        ({"args": ["--config", "/x.yaml"]}, "--config"),
        ({"args": ["--no-enable-chunked-prefill"]}, "chunked prefill off"),
        ({"args": ["--disable-chunked-prefill"]}, "chunked prefill off"),
        ({"args": ["--enable-chunked-prefill=false"]}, "chunked prefill off"),
        ({"hardware": None}, "no engine has told"),
        ({"hardware": dataclasses.replace(ROW, guessed=True)}, "only guessed"),
        ({"engines": Engines("r", refused=True)}, "did not start"),
    ],
)
def test_no_budget(changes, why):
    found = tuned(**changes)
    assert found.max_num_batched_tokens is None
    assert why in found.message
    # And what held before goes, where it is not the hardware alone that is open.
    if "hardware" not in changes:
        assert tuned(tuned(), **changes).max_num_batched_tokens is None


def test_the_refusal_of_another_revision_is_forgotten():
    assert tuned(engines=Engines("old", refused=True)).max_num_batched_tokens


def test_the_users_sequences_are_at_most_the_budget():
    found = tuned(args=["--max-num-seqs=2000"])
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (2000, None)


def test_it_moves_only_when_it_is_worth_it():
    held = tuned()
    assert tuned(held, hardware=faster(1.1)) is held
    moved = tuned(held, hardware=faster(1.4))
    assert moved.max_num_batched_tokens > 1.15 * held.max_num_batched_tokens


@pytest.mark.parametrize("changes", [{"objectives": Objectives(2000, 52)}, {"revision": "next"}])
def test_what_the_user_changes_counts_at_once(changes):
    held = tuned()
    again = tuned(held, **changes)
    assert again.asked != held.asked
    assert again.max_num_batched_tokens >= held.max_num_batched_tokens


def test_what_is_learned_anew_does_not_take_back_what_was_known():
    held = tuned()
    guess = dataclasses.replace(ROW, guessed=True)
    assert tuned(held, hardware=guess) is held
    assert tuned(held, hardware=guess, revision="next").max_num_batched_tokens is None


def test_it_survives_being_written_down():
    held = tuned()
    again = from_dict(to_dict(held))
    assert dataclasses.replace(again, step_ms=held.step_ms) == held
    assert again.step_ms == pytest.approx(held.step_ms, abs=0.01)
    for damage in (
        {"maxNumBatchedTokens": 0},
        {"maxNumBatchedTokens": "9"},
        {"message": None},
        {"asked": "x" * 999},
    ):
        assert from_dict(to_dict(held) | damage) is None


def test_what_is_written_names_its_revision_for_the_launcher():
    """The write for the next revision may fail, and its engines then find what was meant for the last one."""
    held = tuned()
    assert to_dict(held)["revision"] == held.asked.split()[0] != ""
    assert to_dict(tuned(held, revision="next"))["revision"] == "next"


class Story:
    """Looks at a fleet whose steps are learned."""

    def __init__(self, engines=NOBODY):
        self.tuner, self.held, self.clock = Tuner(), NONE, 0.0
        self.service = service(args=["-tp=4", "-q=fp8"], product=H100)
        self.engines = engines

    def look(self, times=1.0, after=1.0):
        self.clock += after
        base = self.tuner.hardware(self.service, self.engines)
        learned = dataclasses.replace(begin(base, "r"), multipliers=(1.0, times, times, times), samples=500.0)
        self.held = self.tuner.tune(
            self.held,
            self.service,
            "r",
            self.engines,
            known=Known(learned=learned),
            objectives=ITL_50,
            clock=self.clock,
        )
        return self.held.max_num_batched_tokens


def test_learning_moves_it_within_a_minute_and_not_at_every_look():
    story = Story()
    first = story.look()
    assert story.look(times=2.0) == first
    slower = story.look(times=2.0, after=TUNE_SECONDS)
    assert slower < 0.7 * first
    assert story.tuner.status(story.held, []).hardware_source.endswith("learned from its own steps")


def test_a_new_word_of_the_engines_counts_at_once():
    story = Story()
    assert story.look()
    story.engines = Engines("r", refused=True)
    assert story.look(after=0.1) is None


def test_the_status_counts_who_runs_with_it():
    story = Story()
    tokens = story.look()
    used = {"used": True, "refused": False}
    lines = [
        {"tuning": used, "maxNumBatchedTokens": tokens},
        {"tuning": used, "maxNumBatchedTokens": tokens - 16},
        {"tuning": {"used": False}, "maxNumBatchedTokens": tokens},
        {"maxNumBatchedTokens": tokens},
        {"tuning": "nonsense"},
    ]
    status = story.tuner.status(story.held, lines)
    assert (status.max_num_batched_tokens, status.tuned_replicas) == (tokens, 1)
    assert status.hardware == ROW.name
    assert float(status.step_milliseconds) <= 50
    assert story.tuner.status(NONE, lines).tuned_replicas is None
