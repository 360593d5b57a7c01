"""A reconciler at work in a test: a server that answers as told, and what the watches and gateways tell."""

import copy

from torpor import metrics
from torpor.api import constants as c
from torpor.api import names
from torpor.api.routes import BareNames
from torpor.build import revision_of
from torpor.cluster.client import ApiError
from torpor.cluster.resources import DEPLOYMENTS, FLEETS, PODS
from torpor.control.executor import Executor
from torpor.control.naming import Naming
from torpor.control.reconciler import Parts, Reconciler
from torpor.control.store import Store

from tests.unit.control.worlds import BUILD, KEY, NOW, UID, demand, fleet, service


class Server:
    """Keeps what is applied and numbers it; `fail` maps a kind to the error its next write gets, `refuses`
    names the kinds that are refused for ever.
    """

    def __init__(self, raw):
        self.raw, self.applied, self.fail, self.refuses, self.version = raw, [], {}, set(), 100

    def ready(self, name, store):
        """A pod of the fleet becomes ready."""
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        labels = names.pod_selector(KEY.name) | {c.LABEL_REVISION: revision_of(service(self.raw))}
        metadata = {"name": name, "namespace": KEY.namespace, "uid": name, "labels": labels}
        store.put(PODS, {"metadata": metadata | {"resourceVersion": "50"}, "status": status})

    async def get(self, resource, namespace, name):
        return None

    async def apply(self, manifest, *, subresource=None):
        kind = f"{manifest['kind']}/{subresource}" if subresource else manifest["kind"]
        if kind in self.refuses:
            raise ApiError(422, "Invalid", "it may not change")
        if error := self.fail.pop(kind, None):
            raise error
        self.applied.append(kind)
        self.version += 1
        answer = copy.deepcopy(manifest)
        if subresource:
            answer = copy.deepcopy(self.raw) | {"status": answer["status"]}
        answer["metadata"] |= {"resourceVersion": str(self.version), "uid": UID if subresource else kind}
        return answer

    async def merge(self, resource, namespace, name, patch, *, subresource=None):
        kind = f"{resource.kind}/{subresource}" if subresource else f"{resource.kind} {name}"
        if error := self.fail.pop(kind, None):
            raise error
        self.applied.append(kind)
        self.version += 1
        if subresource is None:
            metadata = {
                "name": name,
                "namespace": namespace,
                "uid": name,
                "resourceVersion": str(self.version),
            }
            return {"metadata": metadata | patch["metadata"]}
        # As the API server answers: the subresource's own kind, of which only the version is of use.
        return {"kind": "Scale", "metadata": {"resourceVersion": str(self.version)}, "spec": patch["spec"]}


class Gateways:
    seen = demand()

    def fleet(self, key, uid):
        return self.seen

    def forget(self, key):
        pass


class Told:
    def __init__(self):
        self.reasons = []

    async def record(self, metadata, severity, reason, message):
        self.reasons.append(reason)


class Desk:
    """A reconciler and everything around it."""

    def __init__(self, **spec):
        self.raw = fleet(**spec)
        metrics.forget(*KEY)  # what another test's fleet of this name left
        self.server, self.store, self.gateways, self.told = Server(self.raw), Store(), Gateways(), Told()
        self.store.put(FLEETS, copy.deepcopy(self.raw))
        parts = Parts(
            self.store,
            Naming(BareNames()),
            self.gateways,
            Executor(self.server, self.store),
            self.told,
            BUILD,
        )
        self.now = 0.0
        self.wall = NOW
        self.reconciler = Reconciler(parts, clock=lambda: self.now, wall=lambda: self.wall)

    def respec(self, **spec):
        """The owner changes the spec."""
        metadata = copy.deepcopy(self.store.get(FLEETS, *KEY)["metadata"])
        metadata |= {
            "generation": metadata["generation"] + 1,
            "resourceVersion": str(self.server.version + 1),
        }
        status = self.store.get(FLEETS, *KEY).get("status", {})
        self.raw = self.server.raw = fleet(**spec) | {"metadata": metadata, "status": status}
        self.store.put(FLEETS, copy.deepcopy(self.raw))

    async def look(self, after=1.0):
        self.now += after
        self.server.applied.clear()
        return await self.reconciler.look(KEY)

    @property
    def replicas(self):
        return self.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines")["spec"]["replicas"]
