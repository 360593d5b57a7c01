"""A cluster, as a person at a terminal reaches it: by kubeconfig and context, one sentence for each failure.

Each failure names who answered (or did not) and what to do: no kubeconfig, a server that is away, a login
that ended, a right that is missing, a cluster without Torpor or with another version of its API, a fleet that
is not there. Reads and one kind of write, the annotation of a fleet, go through here.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from torpor.api import constants as c
from torpor.cli.manners import NO, NO_CLUSTER, TroubleError, items, mapping

SECONDS: Final = 10.0  # for one request
LIST_SECONDS: Final = 60.0
PASSING: Final = (429, 500, 502, 503, 504)
MOST_NAMES: Final = 10  # of other fleets, where the wanted one is not there
FIELD_MANAGER: Final = "torpor-cli"

Object = dict[str, Any]


class Cluster:
    """One API server. `namespace`: the one that is meant where none is named."""

    def __init__(self, kube: Any, host: str, namespace: str) -> None:
        self.kube, self.host, self.namespace = kube, host, namespace

    async def fleet(self, name: str, namespace: str | None) -> Object:
        """Return one fleet's object. Raises TroubleError."""
        where = namespace or self.namespace
        path = fleet_path(where, name)
        return await self.ask("GET", path, f"show {where}/{name}", missing=(where, name))

    async def fleets(self, namespace: str | None) -> AsyncIterator[Object]:
        """Yield the fleets of a namespace, None: of all. Raises TroubleError."""
        from torpor.cluster.errors import ApiError  # noqa: PLC0415 - see `connected`
        from torpor.cluster.resources import FLEETS  # noqa: PLC0415

        where = "all namespaces" if namespace is None else f"namespace {namespace}"
        try:
            async for page in self.kube.pages(FLEETS, namespace):
                for fleet in page:
                    yield fleet
        except ApiError as error:
            raise await self._trouble(error, f"list the fleets of {where}", None) from None

    async def annotate(self, name: str, namespace: str, key: str, value: str) -> Object:
        """Write one annotation of a fleet. Raises TroubleError."""
        return await self.ask(
            "PATCH",
            fleet_path(namespace, name),
            f"annotate {namespace}/{name}",
            missing=(namespace, name),
            query={"fieldManager": FIELD_MANAGER},
            body={"metadata": {"annotations": {key: value}}},
            content_type="application/merge-patch+json",
        )

    async def ask(
        self, method: str, path: str, what: str, *, missing: tuple[str, str] | None = None, **more: Any
    ) -> Object:
        """Send one request. `what` completes "HOST refuses to …"; `missing`: whom a 404 is about."""
        from torpor.cluster.errors import ApiError  # noqa: PLC0415 - see `connected`

        try:
            answer: Object = await self.kube.request(method, path, **({"seconds": SECONDS} | more))
        except ApiError as error:
            raise await self._trouble(error, what, missing) from None
        return answer

    async def text(self, path: str, what: str, query: Mapping[str, str]) -> str:
        """Return an answer that is no JSON. Raises TroubleError."""
        from torpor.cluster.errors import ApiError  # noqa: PLC0415 - see `connected`

        try:
            return str(await self.kube.text(path, query=query, seconds=LIST_SECONDS))
        except ApiError as error:
            raise await self._trouble(error, what, None) from None

    async def _trouble(self, error: Any, what: str, missing: tuple[str, str] | None) -> TroubleError:
        if error.status == 0:
            told = f"{self.host} does not answer ({error.message}); is the cluster up?"
            return TroubleError(told, NO_CLUSTER, passing=True)
        if error.status < 400:
            told = f"{self.host} is no API server ({error.message}); see the server in the kubeconfig"
            return TroubleError(told, NO_CLUSTER)
        if error.status == 401:
            told = f"{self.host} does not accept the login of this context ({error.message}); log in again"
            return TroubleError(told, NO_CLUSTER)
        if error.status == 403:
            told = f"{self.host} refuses to {what}: {error.message}; ask its administrator for that right"
            return TroubleError(told, NO_CLUSTER)
        if error.status != 404:
            told, passing = f"{self.host} refuses to {what}: {error.message}", error.status in PASSING
            return TroubleError(told, NO, passing=passing)
        if missing is not None and f'"{missing[1]}" not found' in error.message:
            return TroubleError(await self._absent(*missing), NO)
        if missing is None and "not found" in error.message and "page not found" not in error.message:
            return TroubleError(f"cannot {what}: {error.message}", NO)
        return TroubleError(await self._no_torpor(), NO_CLUSTER)

    async def _absent(self, namespace: str, name: str) -> str:
        from torpor.cluster.errors import ApiError  # noqa: PLC0415 - see `connected`

        told = f"there is no {c.KIND} {name} in namespace {namespace}"
        path = fleet_path(namespace)
        try:
            page = await self.kube.request("GET", path, query={"limit": "50"}, seconds=SECONDS)
        except ApiError:
            return f"{told}; name another with -n"
        names = [str(mapping(item, "metadata").get("name")) for item in items(page.get("items"))]
        there = ", ".join(names[:MOST_NAMES]) or "none"
        return f"{told}; there is {there}; name another namespace with -n"

    async def _no_torpor(self) -> str:
        """Say why the kind is not known: no Torpor, or another version of its API."""
        from torpor.cluster.errors import ApiError  # noqa: PLC0415 - see `connected`

        try:
            group = await self.kube.request("GET", f"/apis/{c.GROUP}", seconds=SECONDS)
        except ApiError:
            group = {}
        served = [str(item.get("version")) for item in items(group.get("versions"))]
        if served and c.VERSION not in served:
            return (
                f"{self.host} serves {c.GROUP} as {', '.join(served)}, and this torpor speaks {c.VERSION}; "
                "install the torpor of the version that runs there"
            )
        return f"{self.host} knows no {c.KIND} of {c.GROUP}; is Torpor installed in this cluster?"


def fleet_path(namespace: str, name: str | None = None) -> str:
    """Return the URL path of a fleet, or of a namespace's fleets."""
    from torpor.cluster.resources import FLEETS  # noqa: PLC0415 - see `connected`

    return FLEETS.path(namespace, name)


@asynccontextmanager
async def connected(kubeconfig: str | None, context: str | None) -> AsyncIterator[Cluster]:
    """Log in and give the cluster. Raises TroubleError.

    The client takes a quarter of a second to load, so who only asks for help does not.
    """
    from torpor.cluster.kubeconfig import LoginError, login  # noqa: PLC0415
    from torpor.cluster.light import Light  # noqa: PLC0415

    kube = None
    try:
        found = login(kubeconfig, context)
        kube = Light(found)
        yield Cluster(kube, found.server, found.namespace)
    except LoginError as error:  # a credential may end while a command runs
        raise TroubleError(str(error), NO_CLUSTER) from None
    finally:
        if kube is not None:
            await kube.close()
