"""A new revision under traffic: with a spare GPU, without one, and one that can never start."""

import time

from e2e.support.fleets import fails
from e2e.support.load import Load
from e2e.support.waiting import until
from e2e.support.watch import Watch

SECONDS_TO_NAME_THE_REASON = 30
LONE = "example.com/lone-accelerator"
OLD, NEW = ["--startup-seconds=1"], ["--startup-seconds=1", "--seed=2"]


def revisions(fleet):
    return {pod["metadata"]["labels"]["serving.torpor.dev/revision"] for pod in fleet.pods(terminating=True)}


def test_with_a_spare_gpu_the_new_pod_comes_before_the_old_one_goes(world, make):
    fleet = make("surge", args=OLD, scaling={"minReplicas": 1})
    fleet.wait_replicas(1)
    (before,) = revisions(fleet)
    gaps = []
    with Load(world.gateway, fleet.model, clients=6, max_tokens=100, pause=0.1) as load:
        until("traffic flows", lambda: len(load.outcomes) > 6)
        fleet.patch(engine={"args": NEW})
        until("a pod of another revision", lambda: revisions(fleet) - {before})

        # Until the new one is ready the old one stays: at no look are there less than one ready.
        def replaced():
            if not fleet.ready_pods():
                gaps.append(f"no pod is ready while revisions {sorted(revisions(fleet))} exist")
            return before not in revisions(fleet)

        until("only the new revision is left", replaced, every=0.2)
        tally = load.end()
    assert not gaps, gaps[0]
    tally.must_be_whole(at_least=10)
    fleet.wait("Progressing", "False")


def test_a_bad_image_stops_the_rollout_and_not_the_service(world, make):
    fleet = make("stuck", args=OLD, scaling={"minReplicas": 1})
    fleet.wait_replicas(1)
    (good,) = revisions(fleet)
    with Load(world.gateway, fleet.model, clients=4, max_tokens=30, pause=0.2) as load:
        fleet.patch(engine={"image": "localhost:9/torpor/absent:1"})

        def named():
            return [
                c for c in fleet.status()["conditions"] if "ImagePullFailed" in c["reason"] + c["message"]
            ]

        until("Kubernetes knows of the failure", lambda: any(fails(pod) for pod in fleet.pods()))
        known_at = time.monotonic()
        until("a condition says ImagePullFailed", named)
        assert time.monotonic() - known_at <= SECONDS_TO_NAME_THE_REASON
        assert [
            p for p in fleet.ready_pods() if p["metadata"]["labels"]["serving.torpor.dev/revision"] == good
        ]
        fleet.patch(engine={"image": None})
        until("only the good revision is left", lambda: revisions(fleet) == {good})
        tally = load.end()
    tally.must_be_whole(at_least=10)
    fleet.wait("Ready", reason="Serving")


def head_start(world):
    """Roll a fleet that has the only accelerator of its kind; nearly all of it is waiting for the 60
    seconds.
    """
    node = world.cluster.list("nodes")[0]["metadata"]["name"]
    world.cluster.patch(
        "nodes", node, {"status": {"capacity": {LONE: "1"}, "allocatable": {LONE: "1"}}}, sub="status"
    )
    with world.namespace("in_place") as ns:
        resources = {"requests": {"cpu": "10m"}, "limits": {LONE: 1}}
        fleet = world.make(
            ns,
            "lone",
            gpus=0,
            args=OLD,
            scaling={"minReplicas": 1},
            engine={"resources": resources},
            drainSeconds=10,
        )
        fleet.wait_replicas(1)
        (before,) = revisions(fleet)
        with (
            Watch(world.cluster, "inferenceservices", ns) as services,
            Load(world.gateway, fleet.model, clients=3, max_tokens=60, pause=0.5) as load,
        ):
            fleet.patch(engine={"args": NEW})
            until("the new pod finds no room", lambda: len(fleet.pods()) == 2)
            scheduled = until("it is told", lambda: fleet.condition("PodsScheduled"))
            # True only until the one old pod is told to go, which a poll may miss.
            condition = until("it goes in place", lambda: went_in_place(services), seconds=240)
            until("only the new revision is left", lambda: before not in revisions(fleet))
            fleet.wait_replicas(1)
            tally = load.end()
        done = fleet.wait("Progressing", "False")
        return scheduled, condition, tally, done, fleet.ready_pods()


def went_in_place(watch):
    """The condition that said so, if a watch of inferenceservices saw it."""
    for seen in list(watch.events):
        for condition in seen.object.get("status", {}).get("conditions", []):
            if (condition["type"], condition["reason"]) == ("Progressing", "InPlaceRollout"):
                return condition
    return None


def test_without_a_spare_gpu_it_goes_in_place_with_requests_held(early):
    _, condition, tally, done, ready = early
    assert condition["message"], condition
    assert done["reason"] == "Stable", done
    assert len(ready) == 1
    tally.must_be_whole(at_least=10)
    # The gap shows: a request that met it waited for the new pod instead of failing.
    assert max(o.done_at - o.begun_at for o in tally.outcomes) > 2, (
        "nothing was held, so nothing went in place"
    )
