"""Worlds to look at: a fleet, its Deployment, its pods and what the gateways say, in a few words each."""

import copy
from datetime import UTC, datetime, timedelta

from torpor.api import constants as c
from torpor.api import names
from torpor.api.names import FleetKey
from torpor.build import BuildSettings, children, revision_of
from torpor.cluster.gateway_view import FleetDemand, PodReport
from torpor.cluster.resources import resource_of
from torpor.control.drift import stamped
from torpor.control.pods import read_pod
from torpor.control.spec import Followed, followed
from torpor.control.world import World

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
KEY = FleetKey("team", "llm")
UID = "11111111-1111-1111-1111-111111111111"
BUILD = BuildSettings("torpor-system", "torpor-gateway", "launcher:1", "engine:1")


def stamp(seconds_ago=0.0):
    return (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def fleet(generation=1, status=None, **spec):
    scaling = {"minReplicas": 0, "maxReplicas": 4} | spec.pop("scaling", {})
    body = {"model": {"uri": "hf://org/model"}, "engine": {"type": "Simulated"}, "scaling": scaling} | spec
    return {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND,
        "metadata": {
            "name": KEY.name,
            "namespace": KEY.namespace,
            "uid": UID,
            "generation": generation,
            "resourceVersion": "7",
            "creationTimestamp": stamp(1000),
        },
        "spec": body,
        "status": status or {},
    }


def service(raw):
    return followed(raw, Followed()).service


def pod(
    name="llm-0",
    *,
    ready=False,
    age=5.0,
    revision=None,
    status=None,
    terminating=False,
    unschedulable=None,
    cost=None,
):
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(1)}]
    if unschedulable is None:
        conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(age)})
    else:
        conditions.append(
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
                "lastTransitionTime": stamp(unschedulable),
            }
        )
    metadata = {
        "name": name,
        "namespace": KEY.namespace,
        "uid": name,
        "creationTimestamp": stamp(age),
        "labels": names.pod_selector(KEY.name)
        | {c.LABEL_REVISION: revision or revision_of(service(fleet()))},
    }
    if cost is not None:
        metadata["annotations"] = {c.ANNOTATION_DELETION_COST: cost}
    if terminating:
        metadata["deletionTimestamp"] = stamp()
    return read_pod({"metadata": metadata, "status": {"conditions": conditions} | (status or {})})


def container(state=None, last=None, image="vllm:1", name="engine"):
    return {
        "containerStatuses": [{"name": name, "image": image, "state": state or {}, "lastState": last or {}}]
    }


def report(state=c.STATE_READY, age=0.1, **stats):
    numbers = {
        "running": 0,
        "waiting": 0,
        "waitingCapacity": 0,
        "kvUtilization": 0.0,
        "metricsAgeSeconds": 0.1,
    }
    return PodReport(age, {"state": state} | numbers | stats)


def demand(gap="", reporting=2, pods=None, **numbers):
    return FleetDemand(reporting=reporting, gap=gap, pods=pods or {}, **numbers)


def live_children(raw, replicas, *, in_place=False, uid=UID):
    """The children as the API server would hold them after an apply."""
    made = {}
    for version, manifest in enumerate(children(service(raw), BUILD, replicas, None, in_place=in_place)):
        live = copy.deepcopy(stamped(manifest))
        live["metadata"]["resourceVersion"] = str(100 + version)
        for owner in live["metadata"]["ownerReferences"]:
            owner["uid"] = uid
        made[resource_of(live), live["metadata"]["name"]] = live
    return made


def world(raw=None, *, replicas=0, pods=(), seen=None, problems=(), conflicts=(), clock=1000.0, **more):
    raw = raw or fleet()
    return World(
        key=KEY,
        fleet=raw,
        service=more.pop("service", service(raw)),
        problems=tuple(problems),
        children=more.pop("children", live_children(raw, replicas)),
        pods=tuple(pods),
        demand=seen or demand(),
        now=more.pop("now", NOW),
        clock=clock,
        conflicts=tuple(conflicts),
        **more,
    )
