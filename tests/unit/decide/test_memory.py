"""Memory over restarts: what a dump keeps, how large it is, and what damage does to it."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide import Memory
from torpor.decide.memory import MOST_BYTES

from tests.unit.decide.fleets import Office


@pytest.fixture(scope="module")
def lived():
    """The memory of a fleet after a day and a half of office traffic, looked at every ten seconds."""
    office = Office()
    office.live(36 * 3600)
    return office.memory


def written(memory):
    return json.loads(json.dumps(memory.dump(), allow_nan=False))


def test_what_was_learned_survives_a_restart(lived):
    loaded = Memory.load(written(lived))
    before, after = lived.known, loaded.known
    assert after.profile.table == before.profile.table
    assert before.profile.seen > 200
    assert after.learned.constants == pytest.approx(before.learned.constants, rel=1e-5)
    assert after.learned.samples > 20
    assert after.traffic.prompt == pytest.approx(before.traffic.prompt, rel=1e-5)
    assert after.track.belief.errors == before.track.belief.errors
    assert after.pauses.surplus.weight == pytest.approx(before.pauses.surplus.weight, abs=0.01)


def test_the_present_and_every_time_of_this_process_is_lost(lived):
    loaded = Memory.load(written(lived))
    assert dataclasses.replace(loaded, known=Memory().known) == Memory()
    known = loaded.known
    assert (known.tally, known.tally_at, known.whole, known.counters) == (None, None, None, ())
    assert (known.model, known.kept) == (None, None)
    assert known.pauses.steps == ()
    assert known.track.recent == ()
    assert known.traffic.watched == 0


def test_a_dump_of_a_dump_is_the_same(lived):
    assert written(Memory.load(written(lived))) == written(lived)


def test_a_dump_is_small(lived):
    full = lived.known.profile.__class__(bytes([255]) * len(lived.known.profile.table))
    largest = dataclasses.replace(lived, known=dataclasses.replace(lived.known, profile=full))
    assert len(json.dumps(largest.dump())) < MOST_BYTES


def test_empty_memory_round_trips():
    assert Memory.load(written(Memory())) == Memory()


@pytest.mark.parametrize("document", [None, [], "x", 7, {}, {"version": 99, "known": {}}, {"version": 1}])
def test_what_is_no_dump_is_empty_memory(document):
    assert Memory.load(document) == Memory()


PARTS = ["learned", "traffic", "profile", "track", "pauses", "service"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", [None, [], "x", {"v": 99, "version": 99}, {"v": 1, "version": 1}])
def test_a_damaged_part_is_empty_and_the_others_stay(lived, part, damage):
    document = written(lived)
    document["known"][part] = damage
    loaded, whole = Memory.load(document).known, Memory.load(written(lived)).known
    assert getattr(loaded, part) == getattr(Memory().known, part)
    others = set(PARTS) - {part}
    assert all(getattr(loaded, other) == getattr(whole, other) for other in others)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_value_anywhere_in_a_dump_is_survived(lived, data):
    document = written(lived)
    place = document["known"]
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(values)
    loaded = Memory.load(document)
    assert len(json.dumps(loaded.dump())) < MOST_BYTES
