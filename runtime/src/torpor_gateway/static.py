"""Fleets out of a file, for those who have no Kubernetes: benches, tests, two GPUs under a desk.

    fleets:
    - name: llm                        # required
      models: [llm]                    # default: the name
      endpoints: ["127.0.0.1:9001"]    # [] is asleep: requests are held until the file says otherwise
      maxConcurrency: 8                # per endpoint; absent: everything is sent at once
      coldStart: {response: KeepAlive, holdSeconds: 900, …}    # as spec.traffic.coldStart
      maxQueueSeconds: 60
      maxOutputTokens: {default: 1024, maximum: 4096}    # as in spec.traffic, like the next
      timeoutSeconds: {default: 300, maximum: 900}
      routing: PrefixAware             # or LeastLoaded

An endpoint may also be `{address: HOST:PORT, maxConcurrency: N}`. The file is read again on SIGHUP. One that
is wrong changes nothing: the fleets of the last good one go on, and the message names the field, the value
and the rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torpor.api import constants
from torpor.api.names import FleetKey

from torpor_gateway.policy import FleetSpec, read_policy
from torpor_gateway.registry import Registry

NAMESPACE = "static"
_TRAFFIC_FIELDS = {"coldStart", "maxQueueSeconds", "maxOutputTokens", "timeoutSeconds", "routing"}
_FLEET_FIELDS = {"name", "models", "endpoints", "maxConcurrency"} | _TRAFFIC_FIELDS
_COLD_START_FIELDS = {"response", "holdSeconds", "unaryHoldSeconds", "maxHeldRequests", "maxHeldMebibytes"}
_RESPONSES = (constants.RESPONSE_HOLD, constants.RESPONSE_KEEP_ALIVE, constants.RESPONSE_REJECT)


class StaticError(ValueError):
    """The file cannot be used. The message names the field, the value and the rule."""


@dataclass(frozen=True, slots=True)
class StaticEndpoint:
    """An engine's address; `max_concurrency` None sends everything at once."""

    host: str
    port: int
    max_concurrency: int | None


@dataclass(frozen=True, slots=True)
class StaticFleet:
    """One entry of the file."""

    spec: FleetSpec
    endpoints: tuple[StaticEndpoint, ...]


def parse(text: str) -> tuple[StaticFleet, ...]:
    """Read the file's text. Raises StaticError."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StaticError(f"the file is not YAML: {error}") from None
    if not isinstance(value, dict) or set(value) != {"fleets"}:
        raise StaticError("the file must be a mapping with the one field `fleets`")
    entries = value["fleets"]
    if not isinstance(entries, list):
        raise _wrong("fleets", entries, "must be a list")
    fleets: list[StaticFleet] = []
    taken: dict[str, str] = {}
    for index, entry in enumerate(entries):
        fleet = _fleet(f"fleets[{index}]", entry)
        name = fleet.spec.key.name
        if any(other.spec.key.name == name for other in fleets):
            raise _wrong(f"fleets[{index}].name", name, "is used twice; choose another")
        for model in fleet.spec.models:
            if taken.setdefault(model, name) != name:
                raise _wrong(
                    f"fleets[{index}].models",
                    model,
                    f"belongs to fleet {taken[model]!r} already; choose another",
                )
        fleets.append(fleet)
    return tuple(fleets)


def _wrong(field: str, value: Any, rule: str) -> StaticError:
    shown = repr(value)
    return StaticError(f"{field}: {shown if len(shown) < 80 else shown[:77] + '...'}: {rule}")


def _fleet(where: str, entry: Any) -> StaticFleet:
    if not isinstance(entry, dict):
        raise _wrong(where, entry, "must be a mapping")
    _known(where, entry, _FLEET_FIELDS)
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(f"{where}.name", name, "must be a text that is not empty")
    models = entry.get("models", [name])
    if (
        not isinstance(models, list)
        or not models
        or not all(isinstance(model, str) and model for model in models)
    ):
        raise _wrong(f"{where}.models", models, "must be a list of texts, at least one")
    limit = _limit(f"{where}.maxConcurrency", entry.get("maxConcurrency"))
    endpoints = entry.get("endpoints", [])
    if not isinstance(endpoints, list):
        raise _wrong(f"{where}.endpoints", endpoints, "must be a list of HOST:PORT; [] is asleep")
    cold = entry.get("coldStart") or {}
    if not isinstance(cold, dict):
        raise _wrong(f"{where}.coldStart", cold, "must be a mapping")
    _known(f"{where}.coldStart", cold, _COLD_START_FIELDS)
    if cold.get("response", _RESPONSES[0]) not in _RESPONSES:
        raise _wrong(
            f"{where}.coldStart.response", cold["response"], f"must be one of {', '.join(_RESPONSES)}"
        )
    for field in sorted(_COLD_START_FIELDS - {"response"}):
        _number(f"{where}.coldStart.{field}", cold.get(field))
    _number(f"{where}.maxQueueSeconds", entry.get("maxQueueSeconds"))
    _bound(f"{where}.maxOutputTokens", entry.get("maxOutputTokens"), 10_000_000)
    _bound(f"{where}.timeoutSeconds", entry.get("timeoutSeconds"), 86_400)
    routing = entry.get("routing", constants.ROUTINGS[0])
    if routing not in constants.ROUTINGS:
        raise _wrong(f"{where}.routing", routing, f"must be one of {', '.join(constants.ROUTINGS)}")
    spec = FleetSpec(
        key=FleetKey(NAMESPACE, name),
        uid=name,
        models=tuple(models),
        policy=read_policy({field: entry.get(field) for field in _TRAFFIC_FIELDS}),
    )
    found = tuple(
        _endpoint(f"{where}.endpoints[{index}]", item, limit) for index, item in enumerate(endpoints)
    )
    return StaticFleet(spec, found)


def _known(where: str, entry: Mapping[Any, Any], fields: set[str]) -> None:
    for field in entry:
        if field not in fields:
            raise _wrong(
                f"{where}.{field}",
                entry[field],
                f"is not a field here; there are {', '.join(sorted(fields))}",
            )


def _limit(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise _wrong(where, value, "must be a whole number from 1 to 1000000")
    return value


def _number(where: str, value: Any) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86400 * 30
    ):
        raise _wrong(where, value, "must be a number from 0 to 2592000")


def _bound(where: str, value: Any, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or not value:
        raise _wrong(where, value, "must be a mapping with default or maximum")
    _known(where, value, {"default", "maximum"})
    for field, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            raise _wrong(f"{where}.{field}", number, f"must be a whole number from 1 to {most}")
    if value.get("default", 1) > value.get("maximum", most):
        raise _wrong(f"{where}.default", value["default"], "must not exceed maximum; lower it")


def _endpoint(where: str, item: Any, limit: int | None) -> StaticEndpoint:
    if isinstance(item, dict):
        _known(where, item, {"address", "maxConcurrency"})
        limit = _limit(f"{where}.maxConcurrency", item.get("maxConcurrency", limit))
        item = item.get("address")
    rule = "must be HOST:PORT with a port from 1 to 65535"
    if not isinstance(item, str):
        raise _wrong(where, item, rule)
    host, _, port = item.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise _wrong(where, item, rule)
    return StaticEndpoint(host.removeprefix("[").removesuffix("]"), int(port), limit)


class StaticSource:
    """Keeps the registry as the file says."""

    def __init__(self, path: Path, registry: Registry) -> None:
        self._path = path
        self._registry = registry

    def load(self) -> int:
        """Read the file and apply it; return the number of fleets. Raises StaticError, nothing changed."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StaticError(f"{self._path} cannot be read: {error}") from None
        fleets = parse(text)
        registry = self._registry
        for key in set(registry.fleets) - {fleet.spec.key for fleet in fleets}:
            registry.remove(key)
        for entry in fleets:
            fleet = registry.put(entry.spec, managed=False)
            now = {endpoint.name: endpoint for endpoint in fleet.endpoints.values()}
            wanted = []
            for item in entry.endpoints:
                endpoint = registry.endpoint(
                    fleet, item.host, item.port, max_concurrency=item.max_concurrency
                )
                kept = now.get(endpoint.name, endpoint)
                kept.load_state.max_num_seqs = item.max_concurrency
                wanted.append(kept)
            registry.set_endpoints(fleet, wanted)
        registry.complete = True
        return len(fleets)
