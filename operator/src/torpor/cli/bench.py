"""`torpor bench`: what a client sees of a served model, through its gateway.

Streams of chat completions, so many at once, and of each when its first token came and how fast the others
followed: these two are never mixed into one number, because prefill and decode fail for different reasons.
Every prompt begins differently, so no prefix is cached from another one. The run is bounded in requests and
in seconds; what is refused or broken is counted by its cause and not tried again.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from torpor.cli.manners import (
    NO,
    USAGE,
    Output,
    TroubleError,
    check_format,
    columns,
    emit,
    finish,
    progress,
)

KEY_VARIABLE: Final = "TORPOR_API_KEY"
SHARES: Final = (50, 95, 99)


def bench(
    model: Annotated[str, typer.Argument(help="What clients put in model: NAME, or NAMESPACE/NAME.")],
    *,
    url: Annotated[
        str, typer.Option(help="The gateway; kubectl port-forward makes the default one.")
    ] = "http://127.0.0.1:8080",
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="Requests in all.")] = 100,
    concurrency: Annotated[int, typer.Option(min=1, max=512, help="Requests at once.")] = 4,
    prompt_words: Annotated[int, typer.Option(min=1, max=100_000, help="Words of a prompt.")] = 200,
    max_tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of an answer, at most.")] = 128,
    seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="Begin no request after so long.")
    ] = 300.0,
    timeout: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds for one request.")] = 600.0,
    output: Output = "table",
) -> None:
    """Send streams to a model and say how soon the first token comes and how fast the others follow.

    An API key is read from the environment variable TORPOR_API_KEY. A sleeping fleet is woken by the first
    request, whose time to the first token is then the cold start.
    """
    check_format(output)
    if not url.startswith(("http://", "https://")):
        raise TroubleError(f'--url "{url}": must begin with http:// or https://; name the gateway', USAGE)
    from torpor.cli import load  # noqa: PLC0415 - httpx takes a while to load

    plan = load.Plan(
        url.rstrip("/"), model, requests, concurrency, prompt_words, max_tokens, seconds, timeout,
        os.environ.get(KEY_VARIABLE),
    )  # fmt: skip
    try:
        with progress("requests", requests) as done:
            answers, took = finish(load.run(plan, done))
    except load.BadAddressError as error:
        raise TroubleError(
            f'--url "{url}": {error}; name the gateway like http://127.0.0.1:8080', USAGE
        ) from None
    figures = summary(answers, took)
    if not figures["answered"]:
        causes = "; ".join(f"{cause} ({count})" for cause, count in figures["failures"].items())
        told = (
            f"none of {len(answers)} requests was answered: {causes}; is {url} the gateway and {model} served"
        )
        raise TroubleError(f"{told} (torpor status -A)?", NO)
    emit(figures, output, lambda: _table(figures))


def summary(answers: Sequence[Any], took: float) -> dict[str, Any]:
    """Return the figures of a run. took: seconds from its first request to its last answer.

    `prefillToDecode`: time until the first token over time after it, of all answers together.
    """
    whole = [answer for answer in answers if answer.failure is None]
    firsts = [answer.first * 1000 for answer in whole]
    speeds = [
        (answer.tokens - 1) / (answer.last - answer.first)
        for answer in whole
        if answer.tokens > 1 and answer.last > answer.first
    ]
    gaps = [gap * 1000 for answer in whole for gap in answer.gaps]
    tokens, prompts = sum(answer.tokens for answer in whole), [answer.prompt_tokens for answer in whole]
    decode = sum(answer.last - answer.first for answer in whole)
    prefill = sum(answer.first for answer in whole)
    return {
        "requests": len(answers),
        "answered": len(whole),
        "failures": dict(Counter(answer.failure for answer in answers if answer.failure is not None)),
        "seconds": round(took, 3),
        "timeToFirstTokenMilliseconds": percentiles(firsts),
        "tokensPerSecondOfAStream": percentiles(speeds, upper=False),
        "interTokenLatencyMilliseconds": percentiles(gaps),
        "outputTokens": tokens,
        "outputTokensPerSecond": round(tokens / took, 2) if took > 0 else None,
        "promptTokens": None if None in prompts else sum(prompts),
        "prefillToDecode": round(prefill / decode, 4) if decode > 0 else None,
    }


def percentiles(values: Sequence[float], *, upper: bool = True) -> dict[str, float] | None:
    """Return P50, P95 and P99 by nearest rank, None of nothing. `upper` False: where more is better, P95 is
    what 95 of 100 reach.
    """
    if not values:
        return None
    ordered = sorted(values, reverse=not upper)
    return {f"p{share}": round(ordered[max(0, -(-share * len(ordered) // 100) - 1)], 3) for share in SHARES}


def _table(figures: Mapping[str, Any]) -> str:
    names = {
        "timeToFirstTokenMilliseconds": "time to first token, ms",
        "interTokenLatencyMilliseconds": "between tokens, ms",
        "tokensPerSecondOfAStream": "tokens/s of a stream",
    }
    rows = []
    for key, told in names.items():
        values = figures[key] or {}
        rows.append([told, *(f"{values[f'p{share}']:.1f}" if values else "-" for share in SHARES)])
    lines = [
        columns(("", *(f"P{share}" for share in SHARES)), rows),
        "",
        f"{figures['answered']} of {figures['requests']} answered in {figures['seconds']:.1f} s, "
        f"{figures['outputTokens']} tokens, {figures['outputTokensPerSecond']} tokens/s together",
    ]
    if figures["prefillToDecode"] is not None:
        lines.append(f"time before the first token over time after it: {figures['prefillToDecode']:.2f}")
    lines += [f"failed: {cause} ({count})" for cause, count in figures["failures"].items()]
    return "\n".join(lines)
