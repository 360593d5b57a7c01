"""kopf's part: watch, and turn each event into a call of the feed. Nothing else.

kopf brings login, watching and reconnecting; deciding what to do is level-triggered and lives in
`torpor.control`. So only `on.event` is used: kopf's change handlers write an annotation as large as the
object into every object, its timers and daemons add finalizers, its indices fill in quadratic time and keep
ghosts. Errors here are not retried, therefore nothing here can fail: an event goes into a dictionary and a
key into a queue.

Two embedded operators run, because a kopf operator has one set of namespaces: one over the fleets'
namespaces, one over our own for the addresses of the gateways.
"""

import asyncio
import datetime
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import kopf

from torpor.api import constants
from torpor.cluster.client import Kube
from torpor.cluster.resources import CHILDREN, ENDPOINT_SLICES, FLEETS, PODS, Resource
from torpor.control.watches import Feed, selector

TOKEN_SECONDS = 300


class EndlessBackoff:
    """Pauses between retries that never run out: 0.5 s growing to 30 s, each jittered. kopf gives up where
    they end.
    """

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - jitter, no secret
            pause = min(30.0, pause * 2)


def operators(
    feed: Feed,
    kube: Kube,
    *,
    home: str,
    demand_service: str,
    namespaces: tuple[str, ...],
    stop: asyncio.Event,
    streaming: bool,
) -> tuple[list[asyncio.Task[None]], list[asyncio.Event]]:
    """Start both kopf operators; return their tasks and the events that say that they have started.

    A task that ends means that watching has ended. kopf takes the process's signal handlers on starting:
    whoever wants them back installs them after the events.
    """
    fleets = (FLEETS, PODS, *CHILDREN)
    started = [asyncio.Event(), asyncio.Event()]
    both = (("fleets", fleets, namespaces), ("gateways", (ENDPOINT_SLICES,), (home,)))
    tasks = [
        _start(
            name,
            feed,
            kube,
            kinds,
            namespaces=where,
            settings=_settings(kinds, demand_service, streaming),
            started=event,
            stop=stop,
        )
        for (name, kinds, where), event in zip(both, started, strict=True)
    ]
    return tasks, started


def _start(
    name: str,
    feed: Feed,
    kube: Kube,
    resources: tuple[Resource, ...],
    *,
    namespaces: tuple[str, ...],
    settings: kopf.OperatorSettings,
    started: asyncio.Event,
    stop: asyncio.Event,
) -> asyncio.Task[None]:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login(kube))
    for resource in resources:
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(
            _pass_on(feed, resource)
        )
    running = kopf.operator(
        registry=registry,
        settings=settings,
        clusterwide=not namespaces,
        namespaces=namespaces,
        # Peering is off, yet kopf would ask for the user's name, and the image's user has none.
        identity=cast("Any", name),
        ready_flag=started,
        stop_flag=stop,
    )
    return asyncio.create_task(running, name=f"watch {name}")


def _pass_on(feed: Feed, resource: Resource) -> Callable[..., Any]:
    async def handle(event: dict[str, Any], **_: Any) -> None:
        feed.event(resource, event["type"], dict(event["object"]))

    return handle


def _login(kube: Kube) -> Callable[..., Any]:
    """Give kopf the same access that our own client has; a token is read again before it is old."""

    async def login(**_: Any) -> kopf.ConnectionInfo:
        access = await kube.access()
        expiration = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=TOKEN_SECONDS)
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_file,
            insecure=access.insecure,
            token=access.token,
            certificate_path=access.certificate_file,
            private_key_path=access.key_file,
            expiration=expiration if access.token else None,
        )

    return login


def _settings(resources: tuple[Resource, ...], demand_service: str, streaming: bool) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # a fixed set of kinds; no right to list namespaces or CRDs is needed
    settings.posting.enabled = False  # Events come from the recorder, which counts instead of repeating
    settings.peering.standalone = True  # one writer by Lease
    settings.watching.initial_streaming = streaming
    settings.watching.chunk_size = None if streaming else 500
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 0.5
    settings.watching.inactivity_timeout = 90
    for resource in resources:
        if wanted := selector(resource, demand_service):
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = wanted
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = EndlessBackoff()
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = 20
    settings.persistence.finalizer = f"{constants.GROUP}/finalizer"  # never used: nothing here needs one
    return settings
