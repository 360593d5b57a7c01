"""`torpor-gateway`: read the settings, build the process, run until told to stop."""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import uvloop

from torpor_gateway import hashkey
from torpor_gateway.process import Process
from torpor_gateway.settings import Settings, SettingsError
from torpor_gateway.shares import VARIABLE, share
from torpor_gateway.static import StaticError


def arguments() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="torpor-gateway",
        description="Holds requests while a fleet sleeps and carries them to its engines when it is awake.",
        epilog="Each setting can also be given as TORPOR_NAME in the environment. "
        "Traces are recorded where OTEL_EXPORTER_OTLP_ENDPOINT names a collector; the other OTEL_ variables "
        "count then. `torpor-gateway hash-key` prints the entry of an API key.",
    )
    parser.add_argument(
        "--static", metavar="FILE", help="fleets and endpoints from a file, without Kubernetes"
    )
    parser.add_argument("--admin", metavar="HOST:PORT", help="the same as --admin-listen")
    parser.add_argument("--demand", metavar="HOST:PORT", help="the same as --demand-listen")
    Settings.add_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway; return the exit code: 0 after a drain, 2 for bad settings."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["hash-key"]:
        return hashkey.main(argv[1:])
    flags = vars(arguments().parse_args(argv))
    static = flags.pop("static")
    for short in ("admin", "demand"):
        value = flags.pop(short)
        flags[f"{short}_listen"] = value or flags[f"{short}_listen"]
    try:
        settings = Settings.load(os.environ, flags)
        if static:  # ports beside the data port only where they are asked for
            for name in ("admin_listen", "demand_listen"):
                if flags[name] is None and "TORPOR_" + name.upper() not in os.environ:
                    settings = settings.without(name)
        told = orjson.loads(os.environ.pop(VARIABLE, "null"))
        who = f"worker {told['index']} " if told else ""
        logging.basicConfig(
            level=settings.log_level.upper(), format=f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s"
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)
        file = Path(static) if static else None
        if told is None and settings.workers > 1:
            return _supervise(settings, sys.argv[1:] if argv is None else argv, reloads=file is not None)
        supervisor = None
        if told is not None:
            settings = share(settings, told["index"], told["listen"], told["tlsListen"])
            supervisor = socket.socket(fileno=told["fd"])
        uvloop.run(Process(settings, file, supervisor).run())
    except (SettingsError, StaticError, ValueError) as error:
        print(f"torpor-gateway: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        print(f"torpor-gateway: {error}; is the address in use?", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _supervise(settings: Settings, argv: Sequence[str], *, reloads: bool) -> int:
    # Imported here: a single process needs none of it.
    from torpor_gateway.workers import Supervisor  # noqa: PLC0415

    code: int = uvloop.run(Supervisor(settings, argv, reloads=reloads).run())
    return code


if __name__ == "__main__":
    sys.exit(main())
