"""Every limit of the gateway, in one place, with its unit and the reason for its default.

Each setting is a field; `TORPOR_` and the field's name in capitals is its environment variable, and
`--field-name` its flag. A flag beats the environment. Booleans and lists are not needed here, so values are
integers, floats and strings, and the type of the default decides how text is read.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torpor.api import constants

MIB = 1 << 20
TLS_VERSIONS = ("1.2", "1.3")


def _setting(default: Any, text: str, minimum: float = 0) -> Any:
    return field(default=default, metadata={"help": text, "minimum": minimum})


class SettingsError(ValueError):
    """A setting that cannot be used. The message names the setting, the value and the rule."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The gateway's settings. Seconds, bytes and counts, as the names say."""

    listen: str = _setting(
        f"0.0.0.0:{constants.GATEWAY_PORT}", "HOST:PORT for clients; empty beside tls-listen: none"
    )
    tls_listen: str = _setting("", "HOST:PORT for clients that speak HTTPS; empty: none do")
    tls_folder: str = _setting("", "folder with tls.crt and tls.key, as a Secret of that type is mounted")
    tls_min_version: str = _setting("1.2", "oldest TLS that is spoken: 1.2 or 1.3")
    demand_listen: str = _setting(f"0.0.0.0:{constants.GATEWAY_DEMAND_PORT}", "HOST:PORT for the operator")
    admin_listen: str = _setting(f"0.0.0.0:{constants.ADMIN_PORT}", "HOST:PORT for metrics and probes")
    namespace: str = _setting("", "the gateway's own namespace")
    watch_namespaces: str = _setting("", "namespaces to serve, separated by commas; empty: all")
    bare_names: str = _setting("*", "namespaces whose models need no prefix; *: all, empty: none")
    cors_origins: str = _setting("", "origins whose pages may call, separated by commas; *: all, empty: none")
    cluster_domain: str = _setting(constants.DEFAULT_CLUSTER_DOMAIN, "the cluster's DNS domain")
    demand_token_file: str = _setting("", "file with the bearer token of the demand stream")
    pod_name: str = _setting("", "this process's pod")
    api_keys: str = _setting("", "API keys: a mounted Secret's folder, or a file; empty: everybody may ask")
    access_log: str = _setting(
        "", "a line of JSON for each request: - to standard output, else a file; empty: none"
    )
    demand_service: str = _setting(
        "", "the Service whose endpoints are the gateway's pods, to share key limits"
    )

    workers: int = _setting(1, "processes that share the port; limits are divided among them", 1)
    max_connections: int = _setting(10_000, "client connections; more are told 503", 1)
    max_header_bytes: int = _setting(32 * 1024, "request line and headers together", 1024)
    max_headers: int = _setting(100, "header fields of a request", 8)
    header_seconds: float = _setting(10.0, "from a request's first byte to the end of its headers", 0.1)
    idle_seconds: float = _setting(75.0, "an unused client connection is kept for this long", 0.1)
    max_body_bytes: int = _setting(32 * MIB, "one request's body", 1024)
    max_buffered_bytes: int = _setting(1024 * MIB, "bodies of all requests of this process together", MIB)
    body_grace_seconds: float = _setting(10.0, "a body may come at any rate for this long", 0.1)
    min_body_bytes_per_second: int = _setting(1024, "then at this rate on average", 1)
    slow_reader_seconds: float = _setting(
        60.0, "a client that stays behind its answer for this long is cut off", 0.1
    )
    linger_seconds: float = _setting(2.0, "how long a refused upload is read and thrown away", 0)
    connect_seconds: float = _setting(5.0, "to connect to an engine", 0.1)
    pool_idle_seconds: float = _setting(4.0, "an unused engine connection is kept (vLLM closes after 5 s)", 0)
    comment_seconds: float = _setting(10.0, "between two SSE comments of a held stream", 0.1)
    session_header: str = _setting(
        "x-session-id", "requests with the same value of this header go to the same pod; empty: none do"
    )
    stats_fresh_seconds: float = _setting(
        float(constants.STATS_FRESH_SECONDS), "a launcher's report counts", 0.5
    )
    drain_delay_seconds: float = _setting(5.0, "after SIGTERM, until new connections are refused", 0)
    grace_seconds: float = _setting(1500.0, "after SIGTERM, until what is left is cut off", 1)
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    @classmethod
    def load(cls, environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from the environment, then from flags. Raises SettingsError."""
        chosen: dict[str, Any] = {}
        for item in fields(cls):
            text = environ.get("TORPOR_" + item.name.upper())
            origin = "TORPOR_" + item.name.upper()
            if flags and flags.get(item.name) is not None:
                text, origin = flags[item.name], "--" + item.name.replace("_", "-")
            if text is None or (text == "" and not isinstance(item.default, str)):
                continue
            chosen[item.name] = _read(origin, text, item.default, item.metadata["minimum"])
        settings = replace(cls(), **chosen)
        _check_together(settings)
        return settings

    def without(self, name: str) -> "Settings":
        """Return the settings with the text setting `name` emptied."""
        changes: dict[str, Any] = {name: ""}
        return replace(self, **changes)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser, skip: Sequence[str] = ()) -> None:
        """Give `parser` one flag per setting."""
        for item in fields(cls):
            if item.name not in skip:
                text = f"{item.metadata['help']} (default: {item.default})".replace("%", "%%")
                parser.add_argument("--" + item.name.replace("_", "-"), metavar="VALUE", help=text)


def _check_together(settings: Settings) -> None:
    """Raise SettingsError for settings that need each other."""
    if settings.tls_min_version not in TLS_VERSIONS:
        raise SettingsError(
            f"TORPOR_TLS_MIN_VERSION={settings.tls_min_version!r}: must be one of {', '.join(TLS_VERSIONS)}"
        )
    if settings.tls_listen and not settings.tls_folder:
        raise SettingsError(
            f"TORPOR_TLS_LISTEN={settings.tls_listen!r}: needs a certificate; name the folder with "
            "tls.crt and tls.key in TORPOR_TLS_FOLDER"
        )
    if settings.tls_folder and not settings.tls_listen:
        raise SettingsError(
            f"TORPOR_TLS_FOLDER={settings.tls_folder!r}: no port would show that certificate; set "
            f"TORPOR_TLS_LISTEN, for example to 0.0.0.0:{constants.GATEWAY_TLS_PORT}"
        )


def _read(origin: str, text: str, default: Any, minimum: float) -> Any:
    if isinstance(default, str):
        return text
    kind = type(default)
    try:
        value = kind(text)
    except ValueError:
        rule = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{origin}={text!r}: must be {rule}") from None
    if not value >= minimum or value == float("inf"):
        raise SettingsError(f"{origin}={text!r}: must be at least {minimum:g} and finite")
    return value


def address(name: str, text: str) -> tuple[str, int]:
    """Read `HOST:PORT` (`[::1]:80` for IPv6; an empty host is all addresses). Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{name}={text!r}: must be HOST:PORT with a port of at most 65535")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)
