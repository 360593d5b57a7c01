"""The download phase: the Hub's files, loaded by the engine's own client before the engine starts.

The work is in `hub`, which runs as a program on the engine's Python; this module starts it and turns its
answer into the launcher's words. Without a client of the Hub in the image there is no such phase and the
engine loads for itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torpor_engine.flags import flag_value
from torpor_engine.outcomes import LaunchError, Outcome
from torpor_engine.sources import PLAIN_LOAD_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torpor_engine.children import Children
    from torpor_engine.preflight import Plan

# The zipapp, or the folder of the sources: either can be imported from.
ARCHIVE = str(Path(__file__).resolve().parents[1])
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from torpor_engine.hub import main; main(*sys.argv[2:])"
)


async def download(
    children: Children,
    plan: Plan,
    args: Sequence[str],
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> bool:
    """Load the model's files into the cache; False when there is nothing to load here.

    Raises LaunchError(ModelNotFound, ModelAccessDenied, CacheNotWritable or OutOfMemory).
    """
    source, engine = plan.source, plan.engine
    if source.hub is None or engine.type != "vLLM":
        return False
    if not engine.has_hub:
        say(
            "no huggingface_hub in the image: the engine loads the model by itself, not as a phase of its own"
        )
        return False
    cache = flag_value(args, "--download-dir") or ""
    weights = "1" if flag_value(args, "--load-format") in PLAIN_LOAD_FORMATS else "0"
    argv = [engine.python, "-c", PROGRAM, ARCHIVE, source.hub, source.revision or "main", cache, weights]
    code, output = await children.ask(argv, {**environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}, None)
    try:
        result = json.loads(output.splitlines()[-1])
        outcome, message = result.get("outcome"), str(result.get("message"))
    except (IndexError, ValueError, AttributeError):
        raise LaunchError(
            Outcome.EngineCrashed,
            f"the download of hf://{source.hub} ended with code {code} and said nothing; see the log",
        ) from None
    if outcome is not None:
        raise LaunchError(Outcome[outcome], message)
    return True
