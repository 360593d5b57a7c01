"""The `torpor` command.

`main` is the console script, under the names `torpor` and `kubectl-torpor`: kubectl finds the second one on
the path and calls it for `kubectl torpor`. The commands live in `app`, which needs typer; importing this
package does not.
"""

import gc
import sys
from typing import Final

YOUNG: Final = 100_000  # objects made before the collector looks: a thousand fleets would call it for nothing


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    gc.set_threshold(YOUNG)
    try:
        from torpor.cli.app import app  # noqa: PLC0415 - the message below is for those who lack the extra
    except ModuleNotFoundError as error:
        sys.exit(f"torpor: {error.name} is not installed; pip install 'torpor[cli]' brings it")
    as_plugin = sys.argv[0].rpartition("/")[2].startswith("kubectl-")
    app(prog_name="kubectl torpor" if as_plugin else "torpor")
