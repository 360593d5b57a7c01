"""The gateway pods of a scenario's own release, one by one: what each says, and how many there are.

The Service shows them as one, which is the point of it and hides what a scenario about several wants to know.
`scale` waits until every one of them knows how many there are: limits are divided by that number, and while
pods come and go the sum is off by design.
"""

import time

from e2e.support import install
from e2e.support.fleets import is_ready
from e2e.support.kube import Object
from e2e.support.metrics import metric
from e2e.support.own import OwnRelease
from e2e.support.waiting import until

ADMIN = 9090  # the port with the metrics
SECONDS = 90  # for pods to come or go, and for the others to see it


def under_way(own: OwnRelease, key: str) -> int:
    """How many requests of an API key wait or run, at all gateways together."""
    series = f'torpor_gateway_key_requests_under_way{{key="{key}"}}'
    return int(sum(metric(own.cluster, pod, ADMIN, series) or 0 for pod in own.pods(install.GATEWAY)))


def scale(own: OwnRelease, count: int) -> list[Object]:
    """Have so many gateway pods, none on its way out, each of which divides its limits by `count`."""
    own.kubectl("scale", "deployment", install.GATEWAY, f"--replicas={count}")

    def check() -> list[Object]:
        there = own.cluster.list("pods", own.namespace)
        pods = [pod for pod in there if pod["metadata"]["name"].startswith(install.GATEWAY)]
        assert len(pods) == count, [pod["metadata"]["name"] for pod in pods]
        assert all(map(is_ready, pods)), "one of them is not ready"
        shares = [metric(own.cluster, pod, ADMIN, "torpor_gateway_sharing_processes") for pod in pods]
        assert shares == [count] * count, f"they divide limits by {shares}"
        return pods

    return until(f"{count} gateways divide the limits by {count}", check, seconds=SECONDS)


def lives(own: OwnRelease) -> dict[str, list[int]]:
    """The gateway pods by their uid, with the restarts of their containers."""
    return {
        pod["metadata"]["uid"]: [status["restartCount"] for status in pod["status"]["containerStatuses"]]
        for pod in own.pods(install.GATEWAY)
    }


def look_again(own: OwnRelease) -> None:
    """Have the kubelet put changed Secrets into the gateway pods now. It does when it looks at a pod the next
    time: after a minute or so by default, and at once when the pod's object changes.
    """
    for pod in own.pods(install.GATEWAY):
        touched = {"metadata": {"annotations": {"e2e.torpor.dev/touched": str(time.monotonic_ns())}}}
        own.cluster.patch("pods", pod["metadata"]["name"], touched, own.namespace)
