"""What one pod says in its metrics.

It is read through the API server's proxy, since a pod's address means something on the node alone.
"""

import re

from e2e.support.kube import ApiError, Cluster, Object


def metric(cluster: Cluster, pod: Object, port: int, series: str) -> float | None:
    """The value of a series of a pod, with labels as they are written or any where `series` has none.

    None where the pod does not answer or has no such series.
    """
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    path = cluster.path("pods", namespace, f"{name}:{port}") + "/proxy/metrics"
    try:
        text = str(cluster.request("GET", path))
    except ApiError:
        return None
    labels = "" if "{" in series else r"(?:\{.*\})?"
    found = re.search(rf"^{re.escape(series)}{labels} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None
