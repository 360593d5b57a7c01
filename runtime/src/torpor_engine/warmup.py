"""One generated token before the first Ready.

An engine whose health is good may still compile, capture graphs or allocate on its first request, and it may
serve another model than the fleet's. So the launcher asks for one token, under the fleet's own name, the way
a client would. Models that do not generate are asked for an embedding or a classification. A model that takes
none of these (speech, for one) cannot be warmed without knowing its input; it becomes ready with a note
instead of never.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torpor_engine.localhost import AnswerError
from torpor_engine.outcomes import LaunchError, Outcome, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor_engine.localhost import Localhost

MODELS_SECONDS = 30.0
# Compiling on the first request may take many minutes; the startup budget ends the wait, not this.
TOKEN_SECONDS = 86400.0
# Not the right request for this model; anything else that is not 200 is a failure of the engine.
WRONG_KIND = (400, 404, 405, 422, 501)


def requests_for(name: str) -> list[tuple[str, dict[str, object]]]:
    """Paths and bodies that make a model do the least work, the likeliest first."""
    return [
        ("/v1/completions", {"model": name, "prompt": "Hi", "max_tokens": 1, "temperature": 0}),
        (
            "/v1/chat/completions",
            {
                "model": name,
                "messages": [{"role": "user", "content": "Hi"}],
                "max_tokens": 1,
                "temperature": 0,
            },
        ),
        ("/v1/embeddings", {"model": name, "input": "Hi"}),
        ("/pooling", {"model": name, "input": "Hi"}),
        ("/classify", {"model": name, "input": "Hi"}),
    ]


async def check_served_names(engine: Localhost, names: Sequence[str]) -> None:
    """Make sure that the engine serves every name of the fleet.

    Raises LaunchError(WarmupFailed) naming what it serves instead.
    """
    try:
        answer = await engine.request("GET", "/v1/models", MODELS_SECONDS)
        served = (
            [str(model["id"]) for model in json.loads(answer.body)["data"]] if answer.status == 200 else None
        )
    except (AnswerError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(
            Outcome.WarmupFailed, f"/v1/models of the engine cannot be read: {error}; see its log"
        ) from None
    if served is None:
        raise LaunchError(
            Outcome.WarmupFailed, f"/v1/models of the engine answered {answer.status}; see its log"
        )
    absent = [name for name in names if name not in served]
    if absent:
        raise refuse(
            Outcome.WarmupFailed,
            "spec.model.name",
            ", ".join(absent),
            f"the engine serves {', '.join(served) or 'nothing'}",
            "remove what renames the model from spec.engine.args or its --config file",
        )


async def warm_up(engine: Localhost, names: Sequence[str], say: Callable[[str], None]) -> str | None:
    """Have one token generated under the first of `names`; the caller bounds the time.

    Returns the path that worked, None when the model takes no request known here. Raises
    LaunchError(WarmupFailed).
    """
    await check_served_names(engine, names)
    refusals = []
    for path, body in requests_for(names[0]):
        try:
            answer = await engine.request("POST", path, TOKEN_SECONDS, body)
        except AnswerError as error:
            raise LaunchError(
                Outcome.WarmupFailed, f"the first token never came: {path}: {error}; see the engine's log"
            ) from None
        if answer.status == 200:
            return path
        said = answer.body.decode("utf-8", "replace")[:300]
        if answer.status not in WRONG_KIND:
            raise LaunchError(
                Outcome.WarmupFailed,
                f"the first token failed: {path} answered {answer.status}: {said}; see the engine's log",
            )
        refusals.append(f"{path} {answer.status}")
    say(f"this model takes none of the warm-up requests ({', '.join(refusals)}); ready without one")
    return None
