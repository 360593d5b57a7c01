"""Where the cluster is and who asks, as kubectl finds it: kubeconfig files, else the pod's service account.

The files of $KUBECONFIG are read as one: whoever names a cluster, a user, a context or the current context
first is believed, and a relative path counts from the file that holds it. What is read is a handful of
documented fields; a field that is of the wrong kind is named with its file. Without any file, and with no
context asked for, a pod's service account is used.

Why not the official client's loader: importing that client, which the operator needs, takes 0.7 s of a
command that should take one in all (docs/adr/0008). Nothing is ever written to a kubeconfig.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DEFAULT: Final = "~/.kube/config"
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MOST_NAMES: Final = 10
OTHER: Final = "name another with --kubeconfig and --context (kubectl config get-contexts)"


class LoginError(Exception):
    """There is no way to a cluster; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster, user or context of a kubeconfig: its fields, and the file that they are from."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    file: Path = Path()
    what: str = ""

    def text(self, name: str) -> str | None:
        """Return a field that is text, None where it is absent or empty. Raises LoginError."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise LoginError(f"{self.file}: {name} of {self.what}: must be text; write it in quotes")
        return value

    def path(self, name: str) -> Path | None:
        """Return a field that names a file; what is relative counts from the kubeconfig."""
        told = self.text(name)
        return None if told is None else self.file.parent / Path(told).expanduser()

    def content(self, name: str) -> str | None:
        """Return what NAME-data holds in base64, else what is in the file that NAME names."""
        if (data := self.text(f"{name}-data")) is not None:
            try:
                return base64.b64decode(data, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise LoginError(
                    f"{self.file}: {name}-data of {self.what}: must be base64 of PEM; {OTHER}"
                ) from None
        path = self.path(name)
        return None if path is None else read(path, f"{name} of {self.what}")


@dataclass(frozen=True, slots=True)
class Login:
    """A server and who asks it. server: its URL; ca: PEM, None for the system's; tls_name: whom its
    certificate must name, where that is not the host of the URL; namespace: the usual one.
    """

    server: str
    namespace: str
    user: Entry
    cluster: Entry = field(default_factory=Entry)
    ca: str | None = None
    insecure: bool = False
    tls_name: str | None = None
    proxy: str | None = None


def login(kubeconfig: str | None, context: str | None) -> Login:
    """Return the way to a cluster. Raises LoginError.

    kubeconfig: a file or several (None: $KUBECONFIG, else ~/.kube/config); context: of them (None: the
    current one).
    """
    where, found = _files(kubeconfig)
    if not found:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            return service_account()
        raise LoginError(f"there is no kubeconfig at {where}; {OTHER}")
    documents = [(file, _document(file)) for file in found]
    name = context or next(filter(None, (document.get("current-context") for _, document in documents)), None)
    contexts = _entries(documents, "context")
    if name is None:
        raise LoginError(f"{where} has no current-context; name one with --context: {_listed(contexts)}")
    if name not in contexts:
        raise LoginError(f'{where} has no context "{name}"; name one with --context: {_listed(contexts)}')
    chosen = contexts[name]
    cluster = _of(_entries(documents, "cluster"), chosen, "cluster")
    user = _of(_entries(documents, "user"), chosen, "user") if chosen.text("user") else Entry()
    return Login(
        server=_url(cluster),
        namespace=chosen.text("namespace") or "default",
        user=user,
        cluster=cluster,
        ca=cluster.content("certificate-authority"),
        insecure=cluster.fields.get("insecure-skip-tls-verify") is True,
        tls_name=cluster.text("tls-server-name"),
        proxy=cluster.text("proxy-url"),
    )


def contexts(kubeconfig: str | None) -> list[str]:
    """Return the names of the contexts. Raises LoginError."""
    return list(_entries([(file, _document(file)) for file in _files(kubeconfig)[1]], "context"))


def service_account() -> Login:
    """Return the way to the cluster whose pod this is. Raises LoginError."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    account = "the pod's service account"
    namespace = read(ACCOUNT / "namespace", account).strip() or "default"
    user = Entry({"tokenFile": str(ACCOUNT / "token")}, ACCOUNT / "token", account)
    address = f"https://{f'[{host}]' if ':' in host else host}:{port or 443}"
    return Login(address, namespace, user, ca=read(ACCOUNT / "ca.crt", account))


def read(path: Path, what: str) -> str:
    """Return the text of a file. Raises LoginError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise LoginError(f"{what} cannot be read: {path}: {why}; {OTHER}") from None


def _files(kubeconfig: str | None) -> tuple[str, list[Path]]:
    """Return where kubeconfigs are looked for, and those that exist."""
    where = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT
    files = [Path(part).expanduser() for part in where.split(os.pathsep) if part]
    return where, [file for file in files if file.exists()]


def _document(file: Path) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415 - a pod has no kubeconfig

    try:
        text = read(file, "the kubeconfig")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = yaml.load(text, loader)  # noqa: S506 - both are safe ones
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise LoginError(f"{file} is no YAML: {' '.join(str(error).split())[:200]}; {OTHER}") from None
    if found is not None and not isinstance(found, dict):
        raise LoginError(f"{file} is no kubeconfig: it holds no fields; {OTHER}")
    return found or {}


def _entries(documents: list[tuple[Path, Mapping[str, Any]]], kind: str) -> dict[str, Entry]:
    """Return the entries of a kind by name; the first of a name counts."""
    found: dict[str, Entry] = {}
    for file, document in documents:
        listed = document.get(f"{kind}s")
        if listed is not None and not isinstance(listed, list):
            raise LoginError(f"{file} is no kubeconfig: {kind}s must be a list; {OTHER}")
        for item in listed or ():
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise LoginError(f"{file} is no kubeconfig: each of {kind}s must have a name; {OTHER}")
            fields = item.get(kind)
            entry = Entry(fields if isinstance(fields, dict) else {}, file, f'{kind} "{item["name"]}"')
            found.setdefault(item["name"], entry)
    return found


def _of(entries: Mapping[str, Entry], context: Entry, kind: str) -> Entry:
    name = context.text(kind)
    if name is None or name not in entries:
        raise LoginError(
            f'{context.file}: {context.what} names {kind} "{name or ""}", which is nowhere; {OTHER}'
        )
    return entries[name]


def _url(cluster: Entry) -> str:
    server = cluster.text("server")
    if server is None:
        raise LoginError(f"{cluster.file}: {cluster.what} has no server; {OTHER}")
    if "://" not in server:  # kubectl takes a bare host too
        secured = ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify")
        server = f"{'https' if any(map(cluster.fields.get, secured)) else 'http'}://{server}"
    if not server.startswith(("https://", "http://")):
        raise LoginError(
            f"{cluster.file}: server of {cluster.what}: must begin with https:// or http://; {OTHER}"
        )
    return server.rstrip("/")


def _listed(contexts: Mapping[str, Entry]) -> str:
    more = ", ..." if len(contexts) > MOST_NAMES else ""
    return (", ".join(list(contexts)[:MOST_NAMES]) or "there is none in it") + more
