"""What each of several workers gets of one gateway's settings, and the port that they share.

Limits on connections and bytes are for all workers together and divided among them: the pod's memory is one.
The kernel spreads connections by a hash, evenly enough for limits of some hundred; a worker that is unlucky
refuses earlier.
"""

import socket
from dataclasses import replace

from torpor_gateway.settings import Settings, SettingsError, address

VARIABLE = "TORPOR_WORKER"  # what a worker learns from its supervisor, as JSON


def share(settings: Settings, index: int, listen: str, tls_listen: str = "") -> Settings:
    """Return the settings of worker `index` of `settings.workers`; it listens on these addresses."""
    demand = settings.demand_listen
    if demand:
        host, port = address("demand-listen", demand)
        demand = f"{host if ':' not in host else f'[{host}]'}:{port + index if port else 0}"
    return replace(
        settings,
        listen=listen,
        tls_listen=tls_listen,
        demand_listen=demand,
        admin_listen="",
        pod_name=f"{settings.pod_name}/{index}" if settings.pod_name else "",
        max_connections=-(-settings.max_connections // settings.workers),
        max_buffered_bytes=settings.max_buffered_bytes // settings.workers,
    )


def check(settings: Settings) -> None:
    """Raise SettingsError for what several workers cannot do."""
    count = settings.workers
    if settings.max_buffered_bytes // count < settings.max_body_bytes:
        raise SettingsError(
            f"TORPOR_WORKERS={count}: each has {settings.max_buffered_bytes // count} bytes of "
            f"TORPOR_MAX_BUFFERED_BYTES, less than one body may have ({settings.max_body_bytes}, "
            "TORPOR_MAX_BODY_BYTES); raise the first or lower one of the others"
        )
    if settings.demand_listen:
        _, port = address("demand-listen", settings.demand_listen)
        if port and port + count - 1 > 65535:
            raise SettingsError(f"TORPOR_WORKERS={count}: the demand ports from {port} on end beyond 65535")


def reserve(listen: str) -> tuple[socket.socket, str]:
    """Bind the data port without listening, so that it stays ours while workers come and go.

    Returns the socket and the address with its port. Raises OSError where somebody else has it.
    """
    host, port = address("listen", listen)
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    for option in (None, socket.SO_REUSEPORT):  # first alone: with SO_REUSEPORT two gateways would share it
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if option is not None:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            sock.bind(where)
            if option is None and port:
                sock.listen(1)  # only then the kernel says that somebody else listens
        except OSError:
            sock.close()
            raise
        if option is None:
            sock.close()
    name = f"[{host}]" if ":" in host else host
    return sock, f"{name}:{sock.getsockname()[1]}"
