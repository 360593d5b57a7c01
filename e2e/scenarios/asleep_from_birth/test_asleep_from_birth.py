"""A fleet created at zero costs nothing: no pod, at no moment, whoever dies meanwhile."""

from e2e.support.processes import kill_container
from e2e.support.waiting import until
from e2e.support.watch import Watch, replica_changes


def test_a_fleet_created_at_zero_never_makes_a_pod(world, ns, make, own):
    own.install(operators=2)
    with (
        Watch(world.cluster, "pods", ns) as pods,
        Watch(world.cluster, "replicasets", ns) as sets,
        Watch(world.cluster, "deployments", ns) as deployments,
    ):
        first = make("first")
        assert first.condition("Ready")["reason"] == "Asleep"
        until("the Deployment exists", first.deployment)
        # A change and a new leader are the two moments at which a default of 1 could slip in.
        first.patch(engine={"args": ["--startup-seconds=2", "--seed=3"]})
        first.wait("Ready", reason="Asleep")
        kill_container(world.cluster, own.leader(), "operator")
        second = make("second")
        until("the Deployment of the second fleet exists", second.deployment)
    assert pods.events == []
    assert {seen.object["spec"]["replicas"] for seen in sets.events} <= {0}
    assert replica_changes(deployments, "first-engines")[0][1] == 0
    assert len(replica_changes(deployments, "first-engines")) == 1
    assert [step for _, step in replica_changes(deployments, "second-engines")] == [0]


def test_its_owner_can_read_why_it_has_no_pods(world, ns, make):
    make("quiet")
    told = world.cluster.kubectl("get", "isvc", "-n", ns, "quiet")
    header, row = told.splitlines()
    for column in ("NAME", "MODEL", "READY", "DESIRED", "AWAKE", "WHY", "AGE"):
        assert column in header, told
    assert "Asleep" in row, told
    world.cluster.kubectl("wait", "-n", ns, "isvc/quiet", "--for=condition=Ready", "--timeout=10s")
