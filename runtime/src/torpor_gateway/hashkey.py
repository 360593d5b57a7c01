"""`torpor-gateway hash-key`: from a key to the entry that a Secret may show.

The key comes by standard input and never as an argument, where the shell's history and every process list
would keep it. The entry goes to standard output, so that it can be redirected; a new key (`--new`) goes to
standard error, because it is to be handed over once and kept nowhere.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence

from torpor_gateway.keys import LONGEST_KEY, SHORTEST_KEY, digest, well_formed

_PREFIX = "sk-"  # by which people and scanners of secrets know a key
_ENTRY = """\
sha256: "{hash}"
# models: [NAMESPACE/MODEL, "NAMESPACE/*", MODEL]    # absent: every model
# concurrentRequests: 8                              # absent: no limit, as for the next two
# requestsPerMinute: 600
# tokensPerMinute: 200000
# priority: interactive                              # or batch
"""


def main(argv: Sequence[str]) -> int:
    """Read a key, print its entry; return the exit code: 0, or 2 for a key that is none."""
    parser = argparse.ArgumentParser(
        prog="torpor-gateway hash-key",
        description="Reads an API key from standard input and prints the entry to put into the Secret.",
    )
    parser.add_argument("--new", action="store_true", help="make a key; it is printed on standard error")
    if parser.parse_args(argv).new:
        key = _PREFIX + secrets.token_urlsafe(32)
        print(f"the key, to be handed over and kept nowhere else: {key}", file=sys.stderr)  # noqa: T201
    else:
        key = sys.stdin.readline(LONGEST_KEY + 8).strip()
    if not well_formed(key):
        print(  # noqa: T201
            f"torpor-gateway: a key has {SHORTEST_KEY} to {LONGEST_KEY} visible ASCII characters and no "
            "space; `torpor-gateway hash-key --new` makes one",
            file=sys.stderr,
        )
        return 2
    print(_ENTRY.format(hash=digest(key.encode("ascii")).hex()), end="")  # noqa: T201
    return 0
