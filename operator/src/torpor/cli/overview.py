"""What `torpor status` says of a fleet: read from its object, with nothing worked out again.

State, replicas, reason, signals and hours are those of `status`, as the operator wrote them last (its
numbers of queue and KV cache are at most half a minute old and per replica). Tokens per second are in no
object: they come from the gateways' counters where those can be read (`live`), else there is a dash. Reading
is tolerant: a part that is missing, or mangled, is a dash and never an error, for this page is what one looks
at when something is wrong.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from torpor.cli.manners import columns, items, mapping, shown

HEAD: Final = ("NAMESPACE", "NAME", "STATE", "REPLICAS", "QUEUE", "KV", "TOKENS/S", "NEXT", "SAVED", "WHY")
NONE: Final = "-"
DAY_SECONDS: Final = 86_400.0
HOUR_SECONDS: Final = 3_600.0


def overview(
    raw: Mapping[str, Any], now: datetime, rates: Mapping[tuple[str, str], float] | None = None
) -> dict[str, Any]:
    """Return a fleet's line as JSON values; what is not known is None. rates: output tokens per second."""
    metadata, status = mapping(raw, "metadata"), mapping(raw, "status")
    decision, scaling = mapping(status, "decision"), mapping(raw, "spec", "scaling")
    key = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    ready = next((it for it in items(status.get("conditions")) if it.get("type") == "Ready"), {})
    signals = {it.get("name"): it for it in items(decision.get("signals"))}
    following = mapping(status, "schedule", "next")
    return {
        "namespace": key[0],
        "name": key[1],
        "state": _text(ready.get("reason")),
        "ready": _text(ready.get("status")),
        "mode": _text(decision.get("mode") or scaling.get("mode")),
        "replicas": {
            "ready": _whole(status.get("readyReplicas")),
            "desired": _whole(status.get("desiredReplicas")),
            "recommended": _whole(decision.get("recommendedReplicas")),
            "min": _whole(scaling.get("minReplicas")),
            "max": _whole(scaling.get("maxReplicas")),
        },
        "why": _text(decision.get("reason")),
        "message": _text(decision.get("message") or ready.get("message")),
        "queuePerReplica": _decimal(signals.get("queueDepth", {}).get("value")),
        "kvPercent": _decimal(signals.get("kvCacheUtilization", {}).get("value")),
        "outputTokensPerSecond": None if rates is None else rates.get(key),
        "next": {name: _text(following.get(name)) for name in ("time", "name")} if following else None,
        "saved": _saved(status, now),
        "requests": [dict(item) for item in items(status.get("requests"))],
    }


def table(fleets: Sequence[Mapping[str, Any]], now: datetime, width: int | None = None) -> str:
    """Return the lines of many fleets."""
    return columns(HEAD, [_row(fleet, now) for fleet in fleets], width)


def _row(fleet: Mapping[str, Any], now: datetime) -> list[str]:
    state = fleet["state"] or "Unknown"
    if fleet["ready"] != "True" and fleet["state"]:
        state += "!"
    if fleet["mode"] in ("Recommend", "Paused") and state != fleet["mode"]:
        state += f" ({fleet['mode']})"
    why = ": ".join(part for part in (fleet["why"], fleet["message"]) if part)
    cells = [
        fleet["namespace"],
        fleet["name"],
        state,
        _replicas(fleet["replicas"]),
        _number(fleet["queuePerReplica"]),
        NONE if fleet["kvPercent"] is None else f"{fleet['kvPercent']:.0f}%",
        _number(fleet["outputTokensPerSecond"]),
        _next(fleet["next"], now),
        _hours(fleet["saved"]),
        why or "no operator has looked at it yet",
    ]
    return [shown(cell) for cell in cells]


def detail(fleet: Mapping[str, Any], raw: Mapping[str, Any], now: datetime) -> str:
    """Return the page about one fleet."""
    status, replicas = mapping(raw, "status"), fleet["replicas"]
    cold = mapping(status, "coldStart")
    bounds = f"{_some(replicas['min'])} to {_some(replicas['max'])}"
    lines = [
        ("fleet", f"{fleet['namespace']}/{fleet['name']}"),
        ("state", fleet["state"] or "no operator has looked at it yet"),
        ("replicas", f"{_replicas(replicas)} ready of wanted, {bounds} allowed, mode {_some(fleet['mode'])}"),
        ("why", ": ".join(part for part in (fleet["why"], fleet["message"]) if part) or NONE),
        ("queue", f"{_number(fleet['queuePerReplica'])} waiting per replica"),
        ("KV cache", NONE if fleet["kvPercent"] is None else f"{fleet['kvPercent']:.0f}%"),
        ("tokens/s", _number(fleet["outputTokensPerSecond"])),
        ("next", _next(fleet["next"], now)),
        ("saved", _hours(fleet["saved"], whole=True)),
        ("cold start", _cold(cold)),
        ("url", str(status.get("url") or NONE)),
    ]
    for item in fleet["requests"]:
        told = f"{item.get('value')}: {item.get('state')}, {item.get('message') or 'no reason is given'}"
        lines.append((f"{item.get('name')}-at", told))
    for condition in items(status.get("conditions")):
        told = f"{condition.get('status')} {condition.get('reason')} {condition.get('message') or ''}"
        lines.append((str(condition.get("type")), told))
    size = max(len(shown(name)) for name, _ in lines)
    return "\n".join(f"{shown(name).ljust(size)}  {shown(told).rstrip()}" for name, told in lines)


def _saved(status: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """What was used and saved up to now, the interval that runs included."""
    from torpor.api.saved import saved  # noqa: PLC0415 - `torpor --help` comes by here

    if not mapping(status, "saved") or (found := saved(status, now.timestamp())) is None:
        return None
    return {
        "since": found.since.isoformat().replace("+00:00", "Z"),
        "gpuSecondsUsed": found.totals.used,
        "gpuSecondsAsleep": found.totals.asleep,
        "gpuSecondsSaved": {"max": found.totals.saved_max, "peak": found.totals.saved_peak},
        "pricePerGpuHour": found.price,
        "share": found.share,
    }


def _hours(saved: Mapping[str, Any] | None, *, whole: bool = False) -> str:
    """Say what was saved against the maximum always on, in hours of an accelerator; `whole`: all of it."""
    if saved is None:
        return NONE
    seconds = saved["gpuSecondsSaved"]
    told = f"{seconds['max'] / HOUR_SECONDS:.1f} GPU h"
    if not whole:
        return told
    if (price := saved["pricePerGpuHour"]) is not None:
        told += f" = {seconds['max'] / HOUR_SECONDS * price:.2f} at {price:g} an hour"
    if saved["share"] is not None:
        told += f", {100 * saved['share']:.0f}% of always on at maxReplicas"
    used, peak = saved["gpuSecondsUsed"] / HOUR_SECONDS, seconds["peak"] / HOUR_SECONDS
    return f"{told}; {peak:.1f} against the peak; {used:.1f} used since {saved['since']}"


def _cold(cold: Mapping[str, Any]) -> str:
    last = _decimal(cold.get("lastSeconds"))
    if last is None:
        return NONE
    phases = ", ".join(f"{it.get('name')} {it.get('seconds')} s" for it in items(cold.get("phases")))
    return f"{last:.1f} s the last one" + (f" ({phases})" if phases else "")


def _replicas(replicas: Mapping[str, Any]) -> str:
    told = f"{_some(replicas['ready'])}/{_some(replicas['desired'])}"
    recommended = replicas["recommended"]
    return told if recommended in (None, replicas["desired"]) else f"{told} ({recommended} rec.)"


def _next(following: Mapping[str, Any] | None, now: datetime) -> str:
    """When other hours begin, in local time: the hour alone where it is within a day."""
    if following is None:
        return NONE
    try:
        at = datetime.fromisoformat(str(following["time"])).astimezone()
        ahead = (at - now.astimezone(UTC)).total_seconds()
    except (ValueError, OverflowError, TypeError, OSError):
        return NONE
    clock = at.strftime("%H:%M" if ahead < DAY_SECONDS else "%a %d %b %H:%M")
    return f"{clock} {following['name'] or ''}".rstrip()


def _some(value: Any) -> str:
    return "?" if value is None else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _decimal(value: Any) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if abs(number) < 1e18 else None
