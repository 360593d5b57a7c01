"""What a ConfigMap holds is believed with care and written seldom."""

import dataclasses
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api import constants as c
from torpor.control.hardware import Engines
from torpor.control.keeping import LONGEST_PAUSE, MOST_BYTES, SAVE_SECONDS, Keeping, differs
from torpor.control.tuning import Tuning
from torpor.decide import Memory
from torpor_engine.tuning import read_tuning

from tests.unit.control.worlds import NOW, UID
from tests.unit.decide.fleets import Office

TUNING = Tuning(720, 512, "because", 49.5, "llama", "r 50 ms")
ENGINES = Engines("r", "H100", 4, 640_000, 512, 720)


@pytest.fixture(scope="module")
def lived():
    """The memory of a fleet after a morning."""
    office = Office()
    office.live(11 * 3600)
    return office.memory


def config(data):
    return {"metadata": {"name": "llm-fleet"}, "data": data}


def kept(lived):
    keeping = Keeping.of(UID, None, 0.0)
    keeping.tuning, keeping.engines = TUNING, ENGINES
    assert keeping.save(lived, 0.0, NOW)
    return keeping.data()


def test_a_successor_goes_on_with_all_of_it(lived):
    again = Keeping.of(UID, config(kept(lived)), 0.0)
    assert (again.tuning, again.engines) == (TUNING, ENGINES)
    assert again.memory() == Memory.load(json.loads(json.dumps(lived.dump())))
    assert again.memory().known.learned.samples > 0
    assert again.data() == kept(lived), "and writes nothing new"


def test_it_is_small_and_names_its_fleet_in_every_text(lived):
    data = kept(lived)
    assert set(data) == {c.KEY_TUNING, c.KEY_ENGINES, c.KEY_MEMORY}
    assert all(json.loads(text)["fleetUid"] == UID for text in data.values())
    assert sum(map(len, data.values())) < 32 << 10


def test_the_launcher_reads_the_text_that_is_written(lived, tmp_path):
    (tmp_path / c.KEY_TUNING).write_text(kept(lived)[c.KEY_TUNING])
    revision = TUNING.asked.split()[0]
    found = read_tuning(str(tmp_path / c.KEY_TUNING), UID, revision)
    assert (found.max_num_batched_tokens, found.max_num_seqs, found.told) == (720, 512, "because")
    assert not read_tuning(str(tmp_path / c.KEY_TUNING), UID, "next").used


@pytest.mark.parametrize("data", [None, {}, [], "text", {c.KEY_MEMORY: 7}, {"another": "{}"}])
def test_no_config_map_is_the_empty_memory(data):
    keeping = Keeping.of(UID, config(data), 0.0)
    assert keeping.memory() == Memory()
    assert (keeping.tuning, keeping.engines) == (Tuning(), Engines())
    assert keeping.data() == {}


DAMAGES = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no object": lambda text: "[1]",
    "deep": lambda text: "[" * 50_000,
    "long": lambda text: " " * (5 * MOST_BYTES),
    "another fleet's": lambda text: text.replace(UID, "22222222-2222-2222-2222-222222222222"),
    "another version": lambda text: text.replace('"v":1}', '"v":2}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_the_empty_memory_and_is_written_anew(lived, damage):
    data = {key: DAMAGES[damage](text) for key, text in kept(lived).items()}
    keeping = Keeping.of(UID, config(data), 0.0)
    assert keeping.memory() == Memory()
    assert (keeping.tuning, keeping.engines) == (Tuning(), Engines())
    assert keeping.data() == {}, "the damage is not kept"
    assert keeping.save(lived, 0.0, NOW)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9), lambda x: st.lists(x, max_size=3)
    )
)
def test_any_content_of_the_texts_can_be_looked_at(value):
    whole = {"v": 1, "fleetUid": UID}
    names = ("memory", "maxNumBatchedTokens", "message", "hardware", "asked", "gpu", "kv_tokens", "revision")
    text = json.dumps(whole | dict.fromkeys(names, value))
    keeping = Keeping.of(UID, config(dict.fromkeys((c.KEY_TUNING, c.KEY_ENGINES, c.KEY_MEMORY), text)), 0.0)
    assert keeping.memory() == Memory()
    assert json.dumps(keeping.data(), allow_nan=False)


def test_the_memory_is_written_at_most_every_few_minutes(lived):
    keeping = Keeping.of(UID, None, 0.0)
    written = []
    office = Office(memory=lived, start=11 * 3600.0)
    for _ in range(360):
        office.look(10.0)
        before = keeping.memory_text
        keeping.looked(office.memory, office.clock - 1000.0, NOW)
        if keeping.memory_text != before:
            written.append(office.clock)
    assert 2 <= len(written) <= 3600 / SAVE_SECONDS + 1
    assert min(b - a for a, b in pairwise(written)) >= SAVE_SECONDS


def test_what_moved_a_little_is_not_written(lived):
    keeping = Keeping.of(UID, None, 0.0)
    assert keeping.save(lived, 0.0, NOW)
    learned = lived.known.learned
    nudged = dataclasses.replace(learned, multipliers=tuple(m * 1.01 for m in learned.multipliers))
    moved = dataclasses.replace(learned, multipliers=tuple(m * 1.2 for m in learned.multipliers))
    known = lived.known
    assert not keeping.save(
        dataclasses.replace(lived, known=dataclasses.replace(known, learned=nudged)), 1.0, NOW
    )
    assert keeping.save(dataclasses.replace(lived, known=dataclasses.replace(known, learned=moved)), 2.0, NOW)


def test_an_empty_memory_is_not_worth_an_object():
    keeping = Keeping.of(UID, None, 0.0)
    assert not keeping.save(Memory(), 1e6, NOW)
    assert keeping.data() == {}
    assert keeping.next(Memory(), asleep=True) is None


def test_a_fleet_that_falls_asleep_is_looked_at_once_more(lived):
    keeping = Keeping.of(UID, None, 0.0)
    at = keeping.next(lived, asleep=True)
    assert 0 < at <= SAVE_SECONDS
    keeping.looked(lived, at, NOW)
    assert keeping.memory_text
    assert keeping.next(lived, asleep=True) is None


def test_fleets_are_not_saved_all_at_once():
    times = {Keeping.of(f"uid-{number}", None, 0.0).look_at for number in range(50)}
    assert len(times) > 40
    assert max(times) - min(times) > SAVE_SECONDS / 2


def test_what_is_too_large_or_no_json_is_not_written(lived, monkeypatch):
    keeping = Keeping.of(UID, None, 0.0)
    monkeypatch.setattr(Memory, "dump", lambda self: {"text": "x" * MOST_BYTES})
    assert not keeping.save(lived, 0.0, NOW)
    monkeypatch.setattr(Memory, "dump", lambda self: {"number": float("nan")})
    assert not keeping.save(lived, 0.0, NOW)
    assert keeping.data() == {}


def test_pauses_after_failures_grow_and_end():
    keeping = Keeping.of(UID, None, 0.0)
    pauses = [keeping.failed(0.0) for _ in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    keeping.written(1.0)
    assert keeping.next(Memory(), asleep=False) == LONGEST_PAUSE, "not tried yet"
    keeping.written(LONGEST_PAUSE)
    assert keeping.next(Memory(), asleep=False) is None


numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers)
def test_differs_is_symmetric_and_nothing_differs_from_itself(one, other):
    assert not differs({"a": [one]}, {"a": [one]})
    assert differs([one], [other]) == differs([other], [one])


@pytest.mark.parametrize(
    ("one", "other", "matters"),
    [
        (100, 104, False),
        (100, 106, True),
        (0, 0.0, False),
        (0, 1e-9, True),
        (1, True, True),
        ("a", "b", True),
        ([1], [1, 2], True),
        ({"a": 1}, {"b": 1}, True),
        ({"a": {"b": 10}}, {"a": {"b": 10.1}}, False),
        (None, 1, True),
        (None, None, False),
    ],
)
def test_what_matters(one, other, matters):
    assert differs(one, other) is matters
