"""The API server for somebody at a terminal: a few requests, and no second to load before the first.

The same answers and errors as the operator's client (`client`), without what only an operator needs: no
generated types, no guard, no writes but the one merge patch that is asked for. httpx carries the transport,
proxies of the environment included; as for kubectl they do not count for a server on this machine.
"""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from torpor.cluster.credentials import credential, tls
from torpor.cluster.errors import LONGEST_MESSAGE, ApiError
from torpor.cluster.kubeconfig import Login, LoginError
from torpor.cluster.resources import Object, Resource

PAGE: Final = 500
SECONDS: Final = 10.0
LIST_SECONDS: Final = 60.0
AGENT: Final = "torpor-cli"


class Light:
    """One API server, for as long as a command runs. Raises LoginError where the login cannot be used.

    silent_for: as for `credential`.
    """

    def __init__(self, login: Login, silent_for: float | None = None) -> None:
        self._login, self._silent_for = login, silent_for
        self._open()

    def _open(self) -> None:
        self._credential = credential(self._login, self._silent_for)
        server, name = self._login.server, self._login.tls_name
        try:
            self._client = httpx.AsyncClient(
                verify=tls(self._login, self._credential) if server.startswith("https:") else False,
                headers=[("User-Agent", AGENT), *self._credential.headers],
                proxy=self._login.proxy,
                trust_env=not _here(server),
            )
        except (ImportError, ValueError) as error:
            raise LoginError(f"the proxy of {server} cannot be used: {error}; use an http:// one") from None
        self._extensions = {"sni_hostname": name} if name else {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float = SECONDS,
    ) -> Object:
        """Send one request and return the parsed answer. Raises ApiError."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": accept, "Content-Type": content_type}
        text = await self._exchange(method, path, query, content, headers, seconds)
        if (answer := _parse(text)) is None:
            raise ApiError(200, "NotKubernetes", "what it answers is no object of Kubernetes")
        return answer

    async def text(
        self, path: str, *, query: Mapping[str, str] | None = None, seconds: float = SECONDS
    ) -> str:
        """GET what is no JSON, such as a log. Raises ApiError."""
        found = await self._exchange("GET", path, query, None, {"Accept": "*/*"}, seconds)
        return found.decode(errors="replace")

    async def pages(self, resource: Resource, namespace: str | None) -> AsyncIterator[list[Object]]:
        """Yield all objects, a page at a time. Raises ApiError."""
        query = {"limit": str(PAGE)}
        while True:
            page = await self.request("GET", resource.path(namespace), query=query, seconds=LIST_SECONDS)
            listed = page.get("items")
            shared = {"apiVersion": resource.api_version, "kind": resource.kind}  # left out in lists
            yield [shared | item for item in listed or () if isinstance(item, dict)]
            metadata = page.get("metadata")
            following = metadata.get("continue") if isinstance(metadata, dict) else None
            if not following:
                return
            query["continue"] = str(following)

    async def _exchange(  # noqa: PLR0917 - of `request`, passed on
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> bytes:
        for again in (False, True):
            try:
                async with asyncio.timeout(seconds):  # httpx's own is for each piece of an answer
                    response = await self._client.request(
                        method, self._login.server + path, params=query, content=content, headers=headers,
                        timeout=seconds, extensions=self._extensions,
                    )  # fmt: skip
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                why = str(error) or f"no answer within {seconds:g} s"
                raise ApiError(0, type(error).__name__, why) from error
            if response.status_code != 401 or again or self._credential.lasting:
                break
            await self.close()  # a token that has ended while this ran
            self._open()
        if response.is_success:
            return response.content
        answer = _parse(response.content) or {}
        said = answer.get("message") or response.text[:LONGEST_MESSAGE]
        if response.is_redirect:
            said = f"it sends on to {response.headers.get('Location', '')[:200]}, and is no API server then"
        reason = str(answer.get("reason") or response.reason_phrase or "Error")
        raise ApiError(response.status_code, reason, str(said))


def _here(server: str) -> bool:
    """Return whether a server is on this machine."""
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
