"""/metrics of a real operator that woke a fleet: what it serves is what is documented, and it adds up."""

import pytest
from torpor.api import constants as c

from tests.exposition import OPERATOR, Exposition, documented
from tests.integration.kube import until
from tests.integration.operator.test_fleets import READY, stats

SPEC = {
    "model": {"uri": "hf://org/model"},
    "engine": {
        "type": "Simulated",
        "args": ["--profile=llama-3.1-8b-h100"],
        "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}},
    },
    "scaling": {
        "maxReplicas": 2,
        "objectives": {"timeToFirstTokenMilliseconds": 1000, "interTokenLatencyMilliseconds": 50},
        "schedule": {
            "timeZone": "UTC",
            "windows": [
                {
                    "name": "even",
                    "days": ["Mon", "Wed", "Fri", "Sun"],
                    "start": "00:00",
                    "end": "24:00",
                    "minReplicas": 0,
                    "maxReplicas": 2,
                }
            ],
            "outside": {"minReplicas": 0, "maxReplicas": 1},
        },
    },
}
# What a test of seconds does not bring about, and why.
LATER = {
    "torpor_fleet_work_replicas": "the work of minutes has to be known",
    "torpor_fleet_forecast_work_replicas": "a forecast needs an earlier day",
    "torpor_fleet_clamp_replicas": "no rule has to have the last word at the last look",
}


def create(cluster):
    answer = cluster.kube.create(
        {
            "apiVersion": c.API_VERSION,
            "kind": c.KIND,
            "metadata": {"name": "llm", "namespace": cluster.namespace},
            "spec": SPEC,
        }
    )
    assert answer.status_code == 201, answer.text


@pytest.mark.timeout(600)
def test_what_is_served_is_what_is_documented_and_adds_up(led):
    cluster = led(TORPOR_GPU_HOUR_PRICES='{"nvidia.com/gpu": "2.50"}')

    def scrape():
        return Exposition(cluster.operator.get("/metrics").text)

    create(cluster)
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    cluster.pod("pod-0", READY)
    cluster.gateway.say(fleet, held={"count": 0}, inFlight=1, arrivals=1, pods=stats(running=1))
    cluster.wait_condition(c.READY, "True", c.SERVING)
    told = documented(OPERATOR)
    must = set(told) - set(LATER)
    until(lambda: must <= set(scrape().metrics()), f"all of {sorted(must)} are served")
    page = scrape()
    served = page.metrics()
    assert {name: told.get(name) for name in served} == served, "nothing is served that is not documented"
    page.checked_by_promtool()
    page.histograms_are_sound()

    one = {"namespace": cluster.namespace, "name": "llm"}
    assert page.sum("torpor_operator_leader") == 1
    assert page.by("torpor_operator_gateway_streams", "state") == {"live": 1}
    assert page.sum("torpor_fleet_ready_replicas", **one) == 1
    assert page.sum("torpor_fleet_wakes_total", **one) == 1 == page.sum("torpor_operator_wake_seconds_count")
    changes = page.by("torpor_fleet_decisions_total", "reason", **one)
    assert sum(changes.values()) >= page.sum("torpor_fleet_desired_replicas", **one) == cluster.replicas()
    for single in ("mode", "decision"):
        assert list(page.by(f"torpor_fleet_{single}", single if single == "mode" else "reason").values()) == [
            1
        ]
    types = [labels["type"] for labels, _ in page.samples("torpor_fleet_condition", **one)]
    reasons = page.by("torpor_fleet_condition_reason", "type", **one)
    assert reasons == dict.fromkeys(types, 1), "each condition once, with one reason"
    assert sorted(types) == sorted(
        {condition["type"] for condition in cluster.fleet()["status"]["conditions"]}
    )
    price = page.sum("torpor_fleet_price_per_gpu_hour", **one)
    assert price == 2.5
    assert page.sum("torpor_fleet_hold_limit_seconds", kind="stream") >= 1

    cluster.kube.http.delete(cluster.fleet_path())
    until(lambda: not any("namespace" in labels for labels in fleets_of(scrape())), "its series are gone")


def fleets_of(page):
    return [
        sample.labels
        for family in page.families
        for sample in family.samples
        if sample.name.startswith("torpor_fleet_")
    ]
