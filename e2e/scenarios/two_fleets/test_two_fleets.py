"""Two fleets, one broken: the other one does not notice."""

from e2e.support.load import Load
from e2e.support.waiting import until


def test_a_broken_fleet_leaves_its_neighbour_alone(world, make):
    sound = make("sound", scaling={"minReplicas": 1})
    sound.wait_replicas(1)
    made_at = sound.object()["metadata"]["generation"]
    broken = make("broken", wait=False, args=["--fault=exit-at-start=3"], scaling={"minReplicas": 1})
    with Load(world.gateway, sound.model, clients=4, max_tokens=20, pause=0.2) as load:
        broken.wait("Ready", "False")
        # The neighbour still reacts: a change of its spec is carried out while the broken one fails again
        # and again.
        sound.patch(scaling={"maxReplicas": 2, "minReplicas": 2})
        sound.wait_replicas(2)
        until("some traffic has passed", lambda: len(load.outcomes) >= 20)
        tally = load.end()
    tally.must_be_whole(at_least=20)
    assert sound.condition("Ready")["status"] == "True"
    assert sound.object()["metadata"]["generation"] > made_at
    assert broken.condition("Ready")["status"] == "False"
