"""A release of Torpor that one scenario has for itself, to kill, roll and deceive.

A scenario that lays hands on Torpor's own pods would take the fleets of every other with it, as long as all
share one release. So it installs a second one: the same chart and images, in a namespace of its own, serving
the namespace of that one test alone (`watchNamespaces`). Several such scenarios run side by side.

The chart asks that two installations share no namespace, and the shared release serves all of them: so these
scenarios run when that one is gone. A release of this kind has no object outside its two namespaces, hence
their deletion is the whole uninstall, and nothing waits for it.
"""

import functools
from dataclasses import dataclass
from typing import Any

from e2e.support import install
from e2e.support.fleets import merge
from e2e.support.http1 import Address
from e2e.support.kube import Cluster, Object
from e2e.support.machine import Machine

# Half of the chart's default: else a handful of releases that start leave next to nothing to the engines.
MODEST = {"resources": {"requests": {"cpu": "50m"}}}


@dataclass
class OwnRelease:
    """Torpor in `namespace` for the fleets of the namespace `serves`; `install` brings it."""

    machine: Machine
    namespace: str
    serves: str

    @property
    def cluster(self) -> Cluster:
        return self.machine.cluster

    def install(self, *, operators: int = 1, gateways: int = 1, **values: Any) -> None:
        """Install it and wait until every pod is ready. `values` are the chart's and win over everything.

        One pod of each part unless the scenario is about several: each start costs seconds of a processor.
        """
        ours: Object = {
            "watchNamespaces": [self.serves],
            "crds": {"install": False},
            "rbac": {"aggregateRoles": False},
            "operator": {"replicaCount": operators, **MODEST},
            "gateway": {"replicaCount": gateways, **MODEST},
        }
        install.install(self.machine, merge(ours, values), self.namespace)

    @functools.cached_property
    def gateway(self) -> Address:
        """Where this host reaches its gateway."""
        return install.gateway_address(self.cluster, self.namespace)

    def pods(self, deployment: str) -> list[Object]:
        """The pods of one of its Deployments (install.GATEWAY, install.OPERATOR) that stay."""
        return install.pods(self.cluster, deployment, self.namespace)

    def leader(self) -> Object:
        """The operator pod that holds its Lease now; waits a moment for one."""
        return install.leader(self.cluster, self.namespace)

    def kubectl(self, *args: str) -> str:
        """Run kubectl in its namespace; returns what it printed."""
        return self.cluster.kubectl(*args, "-n", self.namespace)
