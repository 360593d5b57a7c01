"""`torpor-gateway`: read the settings, build the process, run until told to stop."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from torpor_gateway import hashkey
from torpor_gateway.process import Process
from torpor_gateway.settings import Settings, SettingsError
from torpor_gateway.static import StaticError


def arguments() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="torpor-gateway",
        description="Holds requests while a fleet sleeps and carries them to its engines when it is awake.",
        epilog="Each setting can also be given as TORPOR_NAME in the environment. "
        "`torpor-gateway hash-key` prints the entry of an API key.",
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
        logging.basicConfig(
            level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)
        process = Process(settings, Path(static) if static else None)
        uvloop.run(process.run())
    except (SettingsError, StaticError, ValueError) as error:
        print(f"torpor-gateway: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        print(f"torpor-gateway: {error}; is the address in use?", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
