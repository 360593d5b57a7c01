"""What a prompt begins with, what pods remember of it, and how much they have to compute."""

import itertools
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from torpor.dispatch import Backlog, PodMemory, identity, salt_of, session_identity
from torpor.dispatch.prefix import CUTS, FIRST_CUT, LIMIT, covered, key_of

TEXT = bytes(range(256)) * 400


def test_cuts_are_a_bounded_number_that_reach_64_kib():
    assert CUTS[0] == FIRST_CUT
    assert CUTS[-1] == LIMIT
    assert len(CUTS) == 33
    assert all(1 < after / before <= 1.25 for before, after in itertools.pairwise(CUTS))


@given(st.integers(0, 70_000), st.integers(0, 70_000))
def test_equal_up_to_a_cut_is_equal_numbers_up_to_it_and_no_further(shared, rest):
    one = TEXT[:shared] + b"a" * rest
    other = TEXT[:shared] + b"b" * rest
    agreed = [a == b for a, b in zip(identity(one), identity(other), strict=True)]
    same = shared if rest else len(one)
    assert agreed == [cut <= same for cut in CUTS[: len(agreed)]]


def test_a_short_text_has_no_identity_and_a_long_one_is_looked_at_no_further():
    assert identity(b"x" * (FIRST_CUT - 1)) == ()
    assert identity(TEXT) == identity(TEXT[:LIMIT])


def test_another_model_or_adapter_has_other_numbers():
    assert not set(identity(TEXT, salt_of("a"))) & set(identity(TEXT, salt_of("b")))
    assert salt_of("base", "adapter") != salt_of("base")
    assert salt_of("ab", "c") != salt_of("a", "bc")


def test_every_process_finds_the_same_numbers():
    code = "from torpor.dispatch import identity, seed_of; print(identity(b'x' * 300, 7), seed_of('pod-a'))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert answers.pop().startswith("(")


def test_a_session_is_covered_whole_and_is_no_text():
    found = session_identity(b"alice", 3)
    assert covered(found, 1, 600) == 600
    assert covered(found, 0, 600) == 0
    assert found != session_identity(b"bob", 3)
    assert not set(found) & set(identity(TEXT, 3))


def test_the_key_is_the_first_part_that_is_not_common():
    found = identity(TEXT)
    assert key_of(found, 0) == found[0]
    assert key_of(found, 5) == found[5]
    assert key_of(found, len(found)) == found[-1]


def test_a_pod_remembers_the_longest_beginning():
    memory = PodMemory()
    found = identity(TEXT)
    assert memory.depth(found) == 0
    memory.learn(found[:7])
    assert [memory.depth(found), memory.depth(found[:3]), memory.depth(())] == [7, 3, 0]
    assert memory.depth(identity(TEXT, 1)) == 0


def test_a_full_memory_drops_the_least_recently_used_and_of_a_prompt_the_end():
    memory = PodMemory(most=4)
    memory.learn((1, 2, 3))
    memory.learn((10, 11))
    assert memory.depth((1, 2, 3)) == 2
    assert memory.depth((10, 11)) == 2
    memory.learn((20,))
    memory.learn((1,))
    memory.learn((30, 31))
    assert memory.depth((1,)) == 1
    assert memory.depth((10, 11)) == 0


def test_a_pod_forgets_what_its_cache_can_no_longer_hold():
    memory = PodMemory()
    memory.advance(1000, 10_000)
    memory.learn((1, 2))
    memory.advance(14_000, 10_000)
    assert memory.depth((1, 2)) == 2
    memory.advance(14_001, 10_000)
    assert memory.depth((1, 2)) == 0


def test_a_pod_that_says_nothing_of_its_cache_keeps_all():
    memory = PodMemory()
    memory.learn((1, 2))
    memory.advance(10**9, None)
    assert memory.depth((1, 2)) == 2


def test_an_engine_that_counts_from_the_beginning_again_knows_nothing():
    memory = PodMemory()
    memory.advance(1000, 10_000)
    memory.learn((1, 2))
    memory.advance(10, 10_000)
    assert len(memory) == 0


def test_the_backlog_is_our_prompts_and_what_the_engine_has_of_others():
    backlog = Backlog()
    backlog.sent(500)
    assert backlog.tokens == 500
    backlog.report(taken_up=10_500, through=10_000, requests=1, ours=1)
    assert backlog.tokens == 500
    backlog.report(taken_up=12_500, through=10_000, requests=2, ours=1)
    assert (backlog.own, backlog.others) == (500, 2000)
    backlog.through(500)
    backlog.report(taken_up=12_500, through=12_500, requests=0, ours=0)
    assert backlog.tokens == 0


def test_requests_that_left_in_between_are_no_backlog_for_ever():
    backlog = Backlog()
    backlog.report(taken_up=9_000, through=2_000, requests=1, ours=0)
    assert backlog.others == 7_000
    backlog.report(taken_up=9_000, through=2_000, requests=0, ours=0)
    backlog.report(taken_up=9_300, through=2_000, requests=1, ours=0)
    assert backlog.others == 300


def test_an_engine_without_these_counters_has_no_backlog_of_others():
    backlog = Backlog()
    backlog.report(taken_up=9_000, through=2_000, requests=1, ours=0)
    backlog.report(taken_up=None, through=2_000, requests=1, ours=0)
    assert backlog.tokens == 0
