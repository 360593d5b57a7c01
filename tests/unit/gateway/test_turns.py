"""Which turn of the loop takes up a new request."""

from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.turns import REQUESTS_A_TURN, Turns

from tests.unit.gateway.wire import Loop


class Turning(Loop):
    """A loop of which each turn can be taken by itself."""

    def one(self) -> None:
        calls, self._soon = self._soon, []
        for handle in calls:
            if handle.call is not None:
                handle.call()


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_no_turn_takes_up_more_and_everybody_goes_in_order(crowds):
    loop = Turning()
    turns = Turns(loop)  # type: ignore[arg-type]
    taken: list[int] = []
    come = 0

    class One:
        def __init__(self, number: int) -> None:
            self.number = number

        def take_up(self) -> None:
            taken.append(self.number)

    for crowd in [*crowds, *[0] * (sum(crowds) // REQUESTS_A_TURN + 2)]:
        before = len(taken)
        loop.one()
        for _ in range(crowd):
            if not turns.later(One(come)):
                taken.append(come)
            come += 1
        assert len(taken) - before <= REQUESTS_A_TURN
    assert taken == list(range(come))
