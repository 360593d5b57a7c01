"""Command line of the launcher: `torpor-engine.pyz run -- ARGS...`.

There is one command. Everything else the launcher needs comes from the environment that the operator sets,
because the arguments after `--` belong to the user and go to the engine as they are.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: torpor-engine.pyz run [--] ENGINE_ARGS...   (settings: TORPOR_* environment variables)\n"


def main(argv: Sequence[str]) -> int:
    """Run the launcher with the arguments after the program's name; return the process's exit code."""
    if not argv or argv[0] != "run":
        sys.stderr.write(USAGE)
        return 64
    args = list(argv[1:])
    if args and args[0] == "--":
        del args[0]
    # Process 1 loses signals that it has no handler for yet; blocked, they wait until `launch` has one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    from torpor_engine.launcher import launch  # noqa: PLC0415 - a wrong call needs no event loop

    return launch(args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
