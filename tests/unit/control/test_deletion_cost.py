"""Of the replicas that could go, those with the fewest requests are marked, and only when some go."""

from torpor.control.deletion_cost import CHEAP, marks
from torpor.control.plan import plan_scale

from tests.unit.control.worlds import demand, pod, report, world


def serving(loads, **pods):
    """A fleet of ready pods: name -> requests that run there (None: nobody reports)."""
    known = {name: report(running=load) for name, load in loads.items() if load is not None}
    made = [pods.get(name) or pod(name, ready=True) for name in loads]
    return world(replicas=len(loads), pods=made, seen=demand(pods=known))


def test_the_replicas_with_the_fewest_requests_are_cheap():
    seen = serving({"a": 5, "b": 0, "c": 3})
    assert marks(seen, 2) == {"b": CHEAP}
    assert marks(seen, 1) == {"b": CHEAP, "c": CHEAP}


def test_waiting_requests_count_as_well():
    reports = {"a": report(running=2, waiting=9), "b": report(running=3)}
    seen = world(replicas=2, pods=[pod(n, ready=True) for n in "ab"], seen=demand(pods=reports))
    assert marks(seen, 1) == {"b": CHEAP}


def test_nothing_is_marked_where_there_is_nothing_to_choose():
    seen = serving({"a": 5, "b": 0})
    assert marks(seen, 2) == {}
    assert marks(seen, 0) == {}
    assert marks(serving({"a": 4, "b": 4}), 1) == {}
    assert marks(serving({"a": None, "b": None}), 1) == {}


def test_replicas_that_are_not_ready_leave_before_any_that_is_marked():
    seen = serving({"a": 5, "b": 0, "c": 0}, c=pod("c"))
    assert marks(seen, 2) == {}
    assert marks(seen, 1) == {"b": CHEAP}


def test_an_unknown_load_is_no_small_load():
    seen = serving({"a": None, "b": 7})
    assert marks(seen, 1) == {"b": CHEAP}
    stale = demand(pods={"a": report(age=60.0, running=0), "b": report(running=7)})
    assert marks(world(replicas=2, pods=seen.pods, seen=stale), 1) == {"b": CHEAP}


def test_of_equally_loaded_ones_the_youngest_leaves():
    seen = serving({"a": 1, "b": 1, "c": 9}, a=pod("a", ready=True, age=50), b=pod("b", ready=True, age=10))
    assert marks(seen, 2) == {"b": CHEAP}


def test_old_marks_are_taken_back_and_those_of_others_stay():
    before = pod("a", ready=True, cost=CHEAP)
    theirs = pod("b", ready=True, cost="100")
    seen = serving({"a": 5, "b": 1, "c": 0}, a=before, b=theirs)
    assert marks(seen, 2) == {"a": None, "c": CHEAP}
    assert marks(seen, 1) == {"a": None, "c": CHEAP}
    assert marks(serving({"a": 0, "b": 5}, a=before), 1) == {}


def test_a_plan_marks_on_the_way_down_only():
    seen = serving({"a": 5, "b": 0})
    assert plan_scale(seen, 1).marks == {"b": CHEAP}
    assert plan_scale(seen, 3).marks == {}
