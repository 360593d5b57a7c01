"""The one door to the Kubernetes API.

The official asynchronous client carries transport, TLS and login; this wrapper adds what a controller needs
and the generated methods do not give: plain dicts in and out, a time limit on every call, server-side apply,
errors with the server's own sentence, and a guard in front of every write. The guard is the fence of leader
election: a process that lost its lease, or was frozen long enough to have lost it, raises `NotLeading`
instead of writing.

It does not retry. Who calls has a queue with back-off, and a retry here would hide from it how the server
fares.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from torpor import metrics
from torpor.api import constants
from torpor.cluster.errors import LONGEST_MESSAGE, ApiError
from torpor.cluster.resources import EVENTS, Object, Resource, resource_of

REQUEST_SECONDS = 15.0
PAGE = 500
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach and convince the API server, for a second client. The token is without its scheme."""

    server: str
    ca_file: str | None
    insecure: bool
    token: str | None
    certificate_file: str | None
    key_file: str | None


class NotLeadingError(Exception):
    """A write was attempted without a valid lease. Nothing was sent."""


class Kube:
    """Plain-dict access to the API server. `may_write` is asked before every write except those of the lease
    itself.
    """

    def __init__(self, configuration: Configuration, may_write: Callable[[], bool] = lambda: True) -> None:
        self._client = ApiClient(configuration=configuration)
        self.may_write = may_write

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> "Kube":
        """Log in: as the service account inside a cluster, else with `kubeconfig` (None: the usual file)."""
        configuration = Configuration()
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration
            )
        return cls(configuration)

    async def access(self) -> Access:
        """Return what this client uses now; a service account's token is read again where it is old."""
        configuration = self._client.configuration
        token = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return Access(
            server=configuration.host,
            ca_file=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token.split(" ", 1)[-1].strip() if token else None,
            certificate_file=configuration.cert_file,
            key_file=configuration.key_file,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        seconds: float = REQUEST_SECONDS,
    ) -> Object:
        """Send one request and return the parsed answer. Raises ApiError."""
        return _parse(await self._exchange(method, path, query, body, content_type, seconds))

    async def text(
        self, path: str, *, query: Mapping[str, str] | None = None, seconds: float = REQUEST_SECONDS
    ) -> str:
        """GET what is no JSON, such as a log. Raises ApiError."""
        found = await self._exchange("GET", path, query, None, "application/json", seconds, accept="*/*")
        return found.decode(errors="replace")

    async def _exchange(  # noqa: PLR0917 - of `request`, passed on
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        seconds: float,
        *,
        accept: str = "application/json",
    ) -> bytes:
        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            parameters = await self._client.param_serialize(
                method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response = await self._client.call_api(*parameters, _request_timeout=seconds)
            text: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(
                0, type(error).__name__, str(error) or f"no answer within {seconds:g} s"
            ) from error
        if response.status >= 400:
            answer = _parse(text)
            raise ApiError(
                response.status,
                str(answer.get("reason") or response.reason or "Error"),
                str(answer.get("message") or text[:LONGEST_MESSAGE].decode(errors="replace")),
            )
        return text

    async def get(
        self, resource: Resource, namespace: str, name: str, *, seconds: float = REQUEST_SECONDS
    ) -> Object | None:
        """Read one object; None where there is none."""
        try:
            return await self.request("GET", resource.path(namespace, name), seconds=seconds)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> tuple[list[Object], str]:
        """Read all objects, page by page: (objects, resourceVersion of the list)."""
        items: list[Object] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.request(
                "GET", resource.path(namespace), query=query, seconds=4 * REQUEST_SECONDS
            )
            shared = {"apiVersion": resource.api_version, "kind": resource.kind}  # left out in lists
            items += [shared | item for item in page.get("items") or ()]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def apply(self, manifest: Object, *, subresource: str | None = None) -> Object:
        """Server-side apply as field manager `torpor`, taking over fields that others set.

        A `metadata.resourceVersion` in the manifest makes it conditional: 409 if the object changed since.
        """
        self._guard(f"{manifest['kind']}/{subresource}" if subresource else manifest["kind"])
        metadata = manifest["metadata"]
        return await self.request(
            "PATCH",
            resource_of(manifest).path(metadata["namespace"], metadata["name"], subresource),
            query={"fieldManager": constants.FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=APPLY,
        )

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str | None = None
    ) -> Object:
        """JSON merge patch, as field manager `torpor`."""
        self._guard(resource.kind)
        return await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            query={"fieldManager": constants.FIELD_MANAGER},
            body=patch,
            content_type=MERGE,
        )

    async def write_event(self, event: Object, *, exists: bool) -> Object:
        """Create an Event, or update the count of one that exists."""
        self._guard(EVENTS.kind)
        metadata = event["metadata"]
        if exists:
            return await self.request(
                "PATCH",
                EVENTS.path(metadata["namespace"], metadata["name"]),
                body=event,
                content_type=MERGE,
            )
        return await self.request("POST", EVENTS.path(metadata["namespace"]), body=event)

    def _guard(self, kind: str) -> None:
        if not self.may_write():
            raise NotLeadingError("this process does not hold the lease")
        metrics.WRITES.labels(kind).inc()


def _parse(text: bytes) -> Object:
    try:
        answer = json.loads(text) if text else {}
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
