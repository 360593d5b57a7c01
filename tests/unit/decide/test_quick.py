"""A quick value is the frozen dataclass that it was, only cheaper to make."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field

import pytest
from torpor.decide.hardware import conservative
from torpor.decide.learning import begin
from torpor.decide.memory import Memory
from torpor.decide.quick import but, quick


@dataclass(frozen=True, slots=True)
class Plain:
    first: int
    frozen: float = 2.0
    listed: list[int] = field(default_factory=list)
    told: str = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.first < 0:
            raise ValueError(f"first={self.first}: must not be negative")
        object.__setattr__(self, "told", f"{self.first} and {self.frozen}")


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    first: int
    frozen: float = 2.0
    listed: list[int] = field(default_factory=list)
    told: str = field(init=False, repr=False, compare=False)

    __post_init__ = Plain.__post_init__


def test_it_is_made_as_the_plain_one_is():
    for arguments, named in (
        ((1,), {}),
        ((1, 3.0), {}),
        ((), {"first": 1, "listed": [4]}),
        ((1, 2.5, [1]), {}),
    ):
        plain, made = Plain(*arguments, **named), Quick(*arguments, **named)
        assert type(made) is Quick
        assert dataclasses.astuple(made) == dataclasses.astuple(plain)
        assert repr(made) == repr(plain).replace("Plain", "Quick")
    assert Quick(1).listed is not Quick(1).listed
    assert list(inspect.signature(Quick).parameters) == list(inspect.signature(Plain).parameters)


@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"other": 2})])
def test_wrong_arguments_are_refused(arguments, named):
    with pytest.raises(TypeError, match="__init__"):
        Quick(*arguments, **named)
    with pytest.raises(ValueError, match="first=-1"):
        Quick(-1)


def test_it_cannot_be_changed():
    made = Quick(1)
    for name in ("first", "frozen", "told", "unheard_of"):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(made, name, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.first
    assert not hasattr(made, "__dict__")


def test_it_is_a_value():
    made = Quick(1, 3.0, [7])
    assert made == Quick(1, 3.0, [7]) != Quick(2, 3.0, [7])
    assert made != Plain(1, 3.0, [7])
    changed = dataclasses.replace(made, first=2)
    assert (type(changed), changed.first, changed.told) == (Quick, 2, "2 and 3.0")
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (type(other), other, other.told) == (Quick, made, made.told)


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (Memory(seen_at=1.0, watched_since=0.5, arrivals=7, closed=True), {"seen_at": 2.0}),
        (begin(conservative(None, None), "a"), {"ratio": 2.0, "samples": 3.0}),
        (Memory(), {}),
    ],
)
def test_but_changes_what_is_named_and_keeps_the_rest(value, changes):
    changed = but(value, **changes)
    assert type(changed) is type(value)
    assert changed == dataclasses.replace(value, **changes)
    with pytest.raises(TypeError, match="unheard_of"):
        but(value, unheard_of=1)
