"""Setting up the access log and the traces of a process, and ending them after its last request."""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping

from torpor_gateway import otel
from torpor_gateway.server import Server

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def recording(
    server: Server, instance: str, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[None]:
    """Have the server's requests written down as the settings and the `OTEL_*` variables say; not at all
    where they say nothing. `instance` names this process. Raises SettingsError.
    """
    settings, tracing = server.settings, otel.read(environ)
    if tracing is None and not settings.access_log:
        yield
        return
    # Imported here: most gateways need none of it.
    from torpor_gateway.accesslog import AccessLog  # noqa: PLC0415
    from torpor_gateway.otlp import Exporter  # noqa: PLC0415
    from torpor_gateway.trail import Recorder  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        access_log = exporter = None
        if settings.access_log:
            access_log = AccessLog(settings.access_log)
            stack.push_async_callback(access_log.close)
        if tracing is not None:
            resource = {"service.instance.id": instance}
            if settings.pod_name:
                resource |= {"k8s.pod.name": settings.pod_name, "k8s.namespace.name": settings.namespace}
            exporter = Exporter(tracing, tuple(resource.items()), _version())
            stack.push_async_callback(exporter.close)
            log.info("traces go to %s", tracing.url.partition("://")[2].partition("/")[0].rpartition("@")[2])
        server.recorder = Recorder(access_log, exporter, tracing.sampler if tracing is not None else None)
        yield


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version("torpor")
    except metadata.PackageNotFoundError:  # an image has the sources without the package's description
        return ""
