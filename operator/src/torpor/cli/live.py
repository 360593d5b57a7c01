"""Output tokens per second, from the gateways' own counters, through the API server's proxy to their pods.

A rate is a difference: two readings of `torpor_gateway_tokens_total` and the time between them. It counts the
tokens of completed answers, so a long stream shows at its end. Each process is read by its pod, because sums
over pods that come and go jump. All of it is a courtesy: who may not list pods or use their proxy, or whose
cluster keeps the API server away from them, gets dashes and one sentence why, and everything else as before.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torpor.api import constants as c
from torpor.cli.manners import TroubleError, items, mapping
from torpor.cli.reach import SECONDS, Cluster

Key = tuple[str, str]
SELECTOR: Final = f"{c.LABEL_PART_OF}={c.PART_OF},{c.LABEL_COMPONENT_NAME}={c.GATEWAY_COMPONENT}"
MOST_PODS: Final = 32
_SAMPLE = re.compile(r'^torpor_gateway_tokens_total\{([^}]*kind="output"[^}]*)\} (\S+)$', re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Reading:
    """Output tokens by pod and fleet, and when they were read (monotonic seconds)."""

    at: float
    tokens: Mapping[tuple[str, Key], float]


def counted(text: str) -> dict[Key, float]:
    """Read the output tokens by fleet from a gateway's exposition."""
    found: dict[Key, float] = {}
    for labels, value in _SAMPLE.findall(text):
        named = dict(_LABEL.findall(labels))
        key = named.get("namespace", ""), named.get("name", "")
        try:
            found[key] = found.get(key, 0.0) + float(value)
        except ValueError:
            continue
    return found


def rates(before: Reading, after: Reading) -> dict[Key, float]:
    """Return tokens per second by fleet. A process that began again counts from its beginning, and one that
    is new or gone not at all.
    """
    seconds = after.at - before.at
    found: dict[Key, float] = {}
    for place, tokens in after.tokens.items():
        if seconds > 0 and place in before.tokens:
            old = before.tokens[place]
            grown = tokens - old if tokens >= old else tokens
            found[place[1]] = found.get(place[1], 0.0) + grown / seconds
    return found


async def read(cluster: Cluster) -> Reading:
    """Read every gateway pod once. Raises TroubleError where none can be read."""
    import asyncio  # noqa: PLC0415 - see `manners.finish`

    page = await cluster.ask(
        "GET", "/api/v1/pods", "list the gateways' pods", query={"labelSelector": SELECTOR}
    )
    places = [
        (str(meta.get("namespace")), str(meta.get("name")))
        for item in items(page.get("items"))[:MOST_PODS]
        if (meta := mapping(item, "metadata")) and mapping(item, "status").get("phase") == "Running"
    ]
    if not places:
        raise TroubleError(f"no gateway pod runs ({SELECTOR})")
    texts = await asyncio.gather(*(_text(cluster, *place) for place in places), return_exceptions=True)
    tokens: dict[tuple[str, Key], float] = {}
    refused = [found for found in texts if isinstance(found, BaseException)]
    if len(refused) == len(texts):
        raise refused[0]
    for (_, pod), text in zip(places, texts, strict=True):
        if isinstance(text, str):
            tokens |= {(pod, key): value for key, value in counted(text).items()}
    return Reading(time.monotonic(), tokens)


async def _text(cluster: Cluster, namespace: str, pod: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{c.ADMIN_PORT}/proxy/metrics"
    import asyncio  # noqa: PLC0415 - see `manners.finish`

    async with asyncio.timeout(SECONDS):
        return await cluster.text(path, f"read the metrics of {namespace}/{pod}", {})
