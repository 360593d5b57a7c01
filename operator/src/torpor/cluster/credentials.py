"""Who asks, proved as a kubeconfig's user entry says: certificate, token, token file, password, or a plugin.

A plugin (`exec`) is how people of managed clusters log in: a program is run that prints a credential
(client.authentication.k8s.io v1 and v1beta1). It gets this process's standard input, where that is a terminal
and it may ask, and its standard error, so that it can say which page to open. Without a terminal what it
complains of is quoted. A credential is asked for once, and once more where the server no longer takes it;
nothing is kept on disk but for the moment in which OpenSSL loads a key.

Of the `auth-provider` of old, kubectl has `oidc` left: its id token is used as it is and not renewed.
"""

import base64
import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from torpor.cluster.kubeconfig import Entry, Login, LoginError, read

GROUP: Final = "client.authentication.k8s.io"
VERSIONS: Final = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
SECONDS: Final = 60.0  # for a plugin that nobody talks to
EXTRA: Final = "!#$&'*+-.^_`|~"  # what may stand in a header's name unescaped, besides letters and digits


@dataclass(frozen=True, slots=True)
class Credential:
    """headers: for every request. certificate, key: PEM, both or none. lasting: asking again changes
    nothing.
    """

    headers: tuple[tuple[str, str], ...] = ()
    certificate: str | None = None
    key: str | None = None
    lasting: bool = True


def credential(login: Login, silent_for: float | None = None) -> Credential:
    """Return what proves who asks; runs the plugin where the user entry names one. Raises LoginError.

    silent_for: seconds that the plugin has, and it may not ask anything; None: it may, where it can.
    """
    user = login.user
    certificate, key = user.content("client-certificate"), user.content("client-key")
    if (certificate is None) != (key is None):
        raise LoginError(f"{user.file}: {user.what} needs client-certificate and client-key, or neither")
    file, token, lasting = user.path("tokenFile"), user.text("token"), True
    if file is not None:
        token, lasting = read(file, f"tokenFile of {user.what}").strip(), False
    elif token is None and isinstance(user.fields.get("auth-provider"), dict):
        token = _id_token(user)
    elif token is None and user.text("username") is not None:
        pair = f"{user.text('username')}:{user.text('password') or ''}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Credential((("Authorization", basic), *_instead(user)), certificate, key)
    elif token is None and user.fields.get("exec") is not None:
        status = _asked(login, silent_for)
        token, lasting = status.get("token"), False
        certificate = status.get("clientCertificateData") or certificate
        key = status.get("clientKeyData") or key
    bearer = (("Authorization", f"Bearer {token}"),) if token else ()
    return Credential((*bearer, *_instead(user)), certificate, key, lasting)


def tls(login: Login, found: Credential) -> ssl.SSLContext:
    """Return how to speak TLS with the server. Raises LoginError."""
    try:
        context = ssl.create_default_context(cadata=login.ca)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13's; many clusters' own CA fails it
        if login.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if found.certificate and found.key:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:  # readable by its owner alone
                pair.write(f"{found.certificate}\n{found.key}\n")
                pair.flush()
                context.load_cert_chain(pair.name)
    except (ssl.SSLError, ValueError) as error:
        where = login.cluster.file if login.ca and not found.certificate else login.user.file
        raise LoginError(f"{where}: its certificates cannot be used: {_line(error)}") from None
    return context


def _instead(user: Entry) -> tuple[tuple[str, str], ...]:
    """Whom the user speaks for: `as`, `as-uid`, `as-groups`, `as-user-extra`."""
    headers = [("Impersonate-User", user.text("as")), ("Impersonate-Uid", user.text("as-uid"))]
    groups, extra = user.fields.get("as-groups"), user.fields.get("as-user-extra")
    headers += [("Impersonate-Group", str(group)) for group in (groups if isinstance(groups, list) else ())]
    for name, values in extra.items() if isinstance(extra, dict) else ():
        key = f"Impersonate-Extra-{quote(str(name), safe=EXTRA)}"
        headers += [(key, str(value)) for value in (values if isinstance(values, list) else ())]
    return tuple((name, value) for name, value in headers if value)


def _id_token(user: Entry) -> str:
    provider = user.fields["auth-provider"]
    config = provider.get("config")
    token = config.get("id-token") if isinstance(config, dict) else None
    if provider.get("name") != "oidc" or not isinstance(token, str):
        raise LoginError(
            f'{user.file}: {user.what} logs in by auth-provider "{provider.get("name")}" without a usable '
            "token; use its exec plugin (kubectl has no other way since 1.26)"
        )
    return token


def _asked(login: Login, silent_for: float | None) -> Mapping[str, Any]:
    """Run the plugin and return the status of its ExecCredential."""
    user, plugin = login.user, login.user.fields["exec"]
    if not isinstance(plugin, dict) or not isinstance(command := plugin.get("command"), str) or not command:
        raise LoginError(f"{user.file}: exec of {user.what}: must name a command")
    if (version := plugin.get("apiVersion")) not in VERSIONS:
        raise LoginError(
            f"{user.file}: exec of {user.what}: apiVersion must be {' or '.join(VERSIONS)}, it is "
            f"{_line(version)}; update the plugin"
        )
    if os.path.dirname(command):  # noqa: PTH120 - as kubectl: a bare name is looked for on the path
        command = str(user.file.parent / command)
    mode = plugin.get("interactiveMode")
    terminal = silent_for is None and mode != "Never" and sys.stdin.isatty() and sys.stderr.isatty()
    seconds = SECONDS if silent_for is None else silent_for
    if mode == "Always" and not terminal:
        raise LoginError(f"{command} of {user.what} must ask at a terminal, and there is none; log in first")
    told = {"cluster": _cluster(login)} if plugin.get("provideClusterInfo") is True else {}
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": terminal} | told}
    added = {
        str(it.get("name")): str(it.get("value")) for it in plugin.get("env") or () if isinstance(it, dict)
    }
    try:
        done = subprocess.run(
            [command, *map(str, plugin.get("args") or ())],
            stdin=None if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if terminal else subprocess.PIPE,
            timeout=None if terminal else seconds,
            env=os.environ | added | {"KUBERNETES_EXEC_INFO": json.dumps(info)},
            check=False,
        )
    except OSError as error:
        hint = _line(plugin.get("installHint") or "install it, or log in another way")
        raise LoginError(f"the login of {user.what} needs {command}: {error.strerror}; {hint}") from None
    except subprocess.TimeoutExpired:
        raise LoginError(
            f"{command}, the login of {user.what}, does not end within {seconds:g} s; run it by hand"
        ) from None
    if done.returncode:
        said = _line((done.stderr or b"").decode(errors="replace")) or "see above"
        raise LoginError(f"{command}, the login of {user.what}, failed: {said}; log in again")
    return _status(done.stdout, f"{command}, the login of {user.what},", version)


def _status(text: bytes, who: str, version: str) -> Mapping[str, Any]:
    found: Any = None
    with contextlib.suppress(ValueError):
        found = json.loads(text)
    status = found.get("status") if isinstance(found, dict) else None
    if not isinstance(status, dict) or found.get("kind") != "ExecCredential":
        raise LoginError(f"{who} printed no ExecCredential with a status; update it")
    if found.get("apiVersion") != version:
        told = f"{who} answered in {_line(found.get('apiVersion'))} where {version} was asked for"
        raise LoginError(f"{told}; make both the same in the kubeconfig")
    wanted = ("token", "clientCertificateData", "clientKeyData")
    kept = {name: status[name] for name in wanted if isinstance(status.get(name), str)}
    if not kept.get("token") and not (kept.get("clientCertificateData") and kept.get("clientKeyData")):
        raise LoginError(f"{who} printed neither a token nor a certificate with its key; log in again")
    return kept


def _cluster(login: Login) -> dict[str, Any]:
    """What a plugin is told of the cluster."""
    told: dict[str, Any] = {"server": login.server, "insecure-skip-tls-verify": login.insecure}
    if login.ca:
        told["certificate-authority-data"] = base64.b64encode(login.ca.encode()).decode()
    told |= {"tls-server-name": login.tls_name} if login.tls_name else {}
    told |= {"proxy-url": login.proxy} if login.proxy else {}
    for item in login.cluster.fields.get("extensions") or ():
        if isinstance(item, dict) and item.get("name") == f"{GROUP}/exec":
            told["config"] = item.get("extension")
    return told


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]
