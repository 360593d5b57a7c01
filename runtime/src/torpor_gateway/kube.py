"""The Kubernetes API, as little of it as a gateway needs: list and watch, with one HTTP client.

Two resources are read and nothing is written, so a client library with models and a cache would be most of
the image and most of the memory. Credentials are the pod's (the token file is read again before each request:
Kubernetes replaces it) or those of a kubeconfig with a token or a client certificate; plug-in commands are
refused, a server has no browser.
"""

import asyncio
import base64
import logging
import os
import random
import socket
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson
import yaml

log = logging.getLogger(__name__)

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PAGE = 500
_WATCH_SECONDS = (180, 280)
_SHORT_WATCH_SECONDS = 1.0  # a server that ends watches at once is not asked again at once
_BACKOFF = (0.2, 10.0)
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class KubeError(Exception):
    """The API server refused, or the credentials cannot be used."""


class _Gone(Exception):  # noqa: N818
    """The resource version is too old: list again."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, and as whom to speak to it."""

    server: str
    tls: ssl.SSLContext
    token: str = ""
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of a request; reads the token file. Raises KubeError."""
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise KubeError(f"{self.token_file} cannot be read: {error}") from None
        return {"Authorization": f"Bearer {token}"} if token else {}


def find_access(environ: Mapping[str, str] = os.environ) -> Access:
    """Return the access of KUBECONFIG, else of the pod's service account. Raises KubeError."""
    if environ.get("KUBECONFIG"):
        return _from_kubeconfig(Path(environ["KUBECONFIG"].split(os.pathsep)[0]))
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise KubeError(
            "neither KUBECONFIG nor a service account is there; outside a cluster use --static FILE"
        )
    tls = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    where = f"[{host}]" if ":" in host else host
    return Access(f"https://{where}:{port}", tls, token_file=_ACCOUNT / "token")


def _from_kubeconfig(path: Path) -> Access:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"] or {}
        if user.get("exec") or user.get("auth-provider"):
            raise KubeError(f"{path}: users.user.exec is not supported; use a token or a client certificate")
        tls = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
        if cluster.get("certificate-authority-data"):
            tls.load_verify_locations(
                cadata=base64.b64decode(cluster["certificate-authority-data"]).decode("ascii")
            )
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        _client_certificate(tls, user)
        token_file = Path(user["tokenFile"]) if user.get("tokenFile") else None
        return Access(str(cluster["server"]).rstrip("/"), tls, str(user.get("token") or ""), token_file)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise KubeError(f"{path} cannot be used: {error!r}") from None


def _named(config: Any, kind: str, name: str) -> Any:
    return next(item for item in config[kind] if item["name"] == name)


def _client_certificate(tls: ssl.SSLContext, user: Mapping[str, Any]) -> None:
    if user.get("client-certificate"):
        tls.load_cert_chain(user["client-certificate"], user.get("client-key"))
    elif user.get("client-certificate-data"):
        with tempfile.TemporaryDirectory() as folder:  # ssl takes files only
            pair = Path(folder) / "pair.pem"
            pair.touch(mode=0o600)
            data = base64.b64decode(user["client-certificate-data"]) + b"\n"
            pair.write_bytes(data + base64.b64decode(user.get("client-key-data", "")))
            tls.load_cert_chain(str(pair))


class Listener(Protocol):
    """Whoever keeps the objects of one watch."""

    def replace(self, items: list[dict[str, Any]]) -> None:
        """The whole world of this watch, after a list."""

    def put(self, item: dict[str, Any]) -> None:
        """An object was added or changed."""

    def remove(self, item: dict[str, Any]) -> None:
        """An object was deleted."""


def client(access: Access) -> httpx.AsyncClient:
    """Return the HTTP client for lists and watches."""
    transport = httpx.AsyncHTTPTransport(
        verify=access.tls, retries=0, limits=httpx.Limits(max_connections=None), socket_options=_KEEP_ALIVE
    )
    return httpx.AsyncClient(
        base_url=access.server, transport=transport, timeout=httpx.Timeout(30.0, connect=5.0), trust_env=False
    )


class Watch:
    """Lists a collection and follows it for ever. `synced`: what is known is what the API server knows."""

    def __init__(
        self, http: httpx.AsyncClient, access: Access, path: str, listener: Listener, selector: str = ""
    ) -> None:
        self._http, self._access, self._path, self._listener = http, access, path, listener
        self._selector = {"labelSelector": selector} if selector else {}
        self._version = ""
        self._delay = _BACKOFF[0]
        self.listed = False
        self.synced = False
        self.on_change: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Follow until cancelled; every failure is tried again, with a growing, jittered delay."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except _Gone:
                log.info("%s: the watch is too old, listing again", self._path)
                self._version = ""
                await self._pause()
            except (httpx.HTTPError, KubeError, OSError, ssl.SSLError, ValueError, KeyError) as error:
                if self.synced or self._delay >= _BACKOFF[1]:
                    log.warning(
                        "%s: %s: %s; going on with what was known", self._path, type(error).__name__, error
                    )
                self._set_synced(False)
                await self._pause()
            except Exception:
                # An object of a shape that nobody foresaw must not end the watch of all others.
                log.exception("%s: listing again", self._path)
                self._version = ""
                self._set_synced(False)
                await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self._delay * (0.5 + random.random()))  # noqa: S311
        self._delay = min(self._delay * 2, _BACKOFF[1])

    def _set_synced(self, synced: bool) -> None:
        if self.synced is not synced:
            self.synced = synced
            self.on_change()

    async def _list(self) -> None:
        items: list[dict[str, Any]] = []
        page: dict[str, str] = {}
        while True:
            params = {"limit": str(_PAGE), **self._selector, **page}
            response = await self._http.get(self._path, params=params, headers=self._access.headers())
            if response.status_code == 410 and page:  # the pages that are left have expired
                page, items = {}, []
                continue
            if response.status_code != 200:
                raise KubeError(f"list: {response.status_code} {response.text[:200]}")
            value = orjson.loads(response.content)
            items += value.get("items") or []
            meta = value["metadata"]
            if not meta.get("continue"):
                break
            page = {"continue": meta["continue"]}
        self._listener.replace(items)
        self._version = meta["resourceVersion"]
        self.listed = True

    async def _watch(self) -> None:
        seconds = random.randint(*_WATCH_SECONDS)  # noqa: S311
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
            **self._selector,
        }
        timeout = httpx.Timeout(30.0, connect=5.0, read=seconds + 30.0)
        headers = self._access.headers() | {"Accept-Encoding": "identity"}
        request = self._http.build_request("GET", self._path, params=params, headers=headers, timeout=timeout)
        response = await self._http.send(request, stream=True)
        try:
            if response.status_code == 410:
                raise _Gone
            if response.status_code != 200:
                text = (await response.aread())[:200].decode(errors="replace")
                raise KubeError(f"watch: {response.status_code} {text}")
            self._delay = _BACKOFF[0]
            self._set_synced(True)
            opened = asyncio.get_running_loop().time()
            rest = b""
            async for data in response.aiter_bytes():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        self._event(orjson.loads(line))
        finally:
            await response.aclose()
        if asyncio.get_running_loop().time() - opened < _SHORT_WATCH_SECONDS:
            await self._pause()

    def _event(self, event: dict[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise _Gone
            raise KubeError(f"watch: {item.get('code')} {item.get('message')}")
        self._version = item["metadata"]["resourceVersion"]
        if kind == "DELETED":
            self._listener.remove(item)
        elif kind in ("ADDED", "MODIFIED"):
            self._listener.put(item)
