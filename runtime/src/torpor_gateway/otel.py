"""What the standard `OTEL_*` variables say: whether traces are recorded, which, and where they go.

Recording is on where an endpoint is named, and off otherwise. The names, the defaults and the meaning are
those of OpenTelemetry's specification, as far as they concern traces over OTLP/HTTP; so a gateway is set up
like every other program of an installation, and the same variables reach all workers. One thing is narrower
than the specification: traces are sent as JSON, which every receiver of OTLP/HTTP takes, so a protocol that
is named and is another one cannot be obeyed and is an error rather than a silent difference.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from torpor_gateway.settings import SettingsError

_PREFIX, _TRACES = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
_SAMPLERS = ("always_on", "always_off", "traceidratio")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HALF = 1 << 64  # a ratio is compared with the second half of a trace's id, as OpenTelemetry's SDKs do


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which requests are recorded: `bound` of 2**64 of the traces that begin here, and with `by_parent`, of
    those that began elsewhere, the ones that were sampled there.
    """

    by_parent: bool
    bound: int

    def samples(self, trace: str, parent_sampled: bool | None) -> bool:
        """Decide for a trace's id; `parent_sampled` is None where the trace begins here."""
        if self.by_parent and parent_sampled is not None:
            return parent_sampled
        return int(trace[16:], 16) < self.bound


@dataclass(frozen=True, slots=True)
class Otel:
    """How traces leave this process. Seconds and spans."""

    url: str
    headers: tuple[tuple[str, str], ...]
    timeout: float
    gzip: bool
    certificate: str
    sampler: Sampler
    service: str
    resource: tuple[tuple[str, str], ...]
    delay: float
    max_queue: int
    max_batch: int


def read(environ: Mapping[str, str]) -> Otel | None:
    """Read the variables; None where no trace is to be recorded. Raises SettingsError."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if (exporter := environ.get("OTEL_TRACES_EXPORTER", "").strip()) not in ("", "otlp"):
        if exporter == "none":
            return None
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter!r}: must be otlp or none")
    variable = _named(environ, "ENDPOINT")
    url = environ.get(variable, "").strip()
    if not url:
        return None
    _check_url(variable, url)
    if not variable.startswith(_TRACES):
        url = url.rstrip("/") + "/v1/traces"
    _choose(
        environ, "PROTOCOL", "http/json", ("http/json",), "; the collector's port for HTTP (4318) takes it"
    )
    resource = dict(_pairs("OTEL_RESOURCE_ATTRIBUTES", environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    service = environ.get("OTEL_SERVICE_NAME") or resource.pop("service.name", "torpor-gateway")
    resource.pop("service.name", None)
    batch = _number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1)
    return Otel(
        url=url,
        headers=_headers(environ),
        timeout=_number(environ, _named(environ, "TIMEOUT"), 10_000, 1) / 1000,
        gzip=_choose(environ, "COMPRESSION", "none", ("none", "gzip")) == "gzip",
        certificate=_certificate(environ),
        sampler=_sampler(environ),
        service=service,
        resource=tuple(resource.items()),
        delay=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000, 1) / 1000,
        max_queue=max(batch, _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1)),
        max_batch=batch,
    )


def _named(environ: Mapping[str, str], name: str) -> str:
    """Return the variable that holds: that of traces, if it is set, before that of all signals."""
    return _TRACES + name if environ.get(_TRACES + name) else _PREFIX + name


def _choose(
    environ: Mapping[str, str], name: str, default: str, known: tuple[str, ...], hint: str = ""
) -> str:
    variable = _named(environ, name)
    value = environ.get(variable, "").strip() or default
    if value not in known:
        raise SettingsError(f"{variable}={value!r}: must be {' or '.join(known)}{hint}")
    return value


def _check_url(origin: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"{origin}={url!r}: must be a URL such as http://collector:4318")


def _number(environ: Mapping[str, str], variable: str, default: int, minimum: int) -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and minimum <= int(text[:10]) <= 10**9):
        raise SettingsError(f"{variable}={text!r}: must be a whole number from {minimum} to {10**9}")
    return int(text[:10])


def _pairs(variable: str, text: str) -> list[tuple[str, str]]:
    """Read `key=value,key=value`, percent-encoded where need be."""
    pairs = []
    for item in filter(None, (item.strip() for item in text.split(","))):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            # The text itself may be a secret: it is not repeated.
            raise SettingsError(f"{variable}: must be KEY=VALUE, several of them separated by commas")
        pairs.append((unquote(key.strip()), unquote(value.strip())))
    return pairs


def _headers(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    variable = _named(environ, "HEADERS")
    pairs = _pairs(variable, environ.get(variable, ""))
    for name, value in pairs:
        if not _TOKEN.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise SettingsError(f"{variable}: the header {name!r} cannot be sent")
    return tuple(pairs)


def _certificate(environ: Mapping[str, str]) -> str:
    variable = _named(environ, "CERTIFICATE")
    file = environ.get(variable, "").strip()
    try:
        if file:
            ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"{variable}={file!r}: must be a file of PEM certificates: {error}") from None
    return file


def _sampler(environ: Mapping[str, str]) -> Sampler:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    root = name.removeprefix("parentbased_")
    if root not in _SAMPLERS:
        known = ", ".join([*_SAMPLERS, *(f"parentbased_{one}" for one in _SAMPLERS)])
        raise SettingsError(f"OTEL_TRACES_SAMPLER={name!r}: must be one of {known}")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(root)
    if ratio is None:
        text = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
        try:
            ratio = float(text)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            raise SettingsError(f"OTEL_TRACES_SAMPLER_ARG={text!r}: must be a number from 0 to 1")
    return Sampler(root != name, round(ratio * _HALF))
