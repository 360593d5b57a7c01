"""The client of `torpor bench`: streams of chat completions with httpx, bounded in number and time.

An answer counts as whole with a `[DONE]` and at least one token; anything else is a failure with its cause:
a status, an error event, a stream that ended early, a time-out, a connection that broke.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from torpor.cli.manners import shown

PATH: Final = "/v1/chat/completions"
LONGEST_CAUSE: Final = 160


class BadAddressError(Exception):
    """The URL is none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: where, what, how much. seconds: no request begins later; timeout: of one request."""

    url: str
    model: str
    requests: int
    concurrency: int
    prompt_words: int
    max_tokens: int
    seconds: float
    timeout: float
    key: str | None = None


@dataclass(slots=True)
class Answer:
    """One request. first, last: seconds from its beginning to the first and the last token. tokens: by the
    engine's count, else the events that had text. gaps: seconds between two such events. failure: None where
    it was answered whole.
    """

    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    prompt_tokens: int | None = None
    gaps: list[float] = field(default_factory=list)
    failure: str | None = None


async def run(plan: Plan, done: Callable[[int], None]) -> tuple[list[Answer], float]:
    """Send the requests; `done` hears of each. Returns the answers and the seconds that all of it took."""
    answers: list[Answer] = []
    numbers = iter(range(plan.requests))
    begun = time.monotonic()
    headers = {"Authorization": f"Bearer {plan.key}"} if plan.key else {}
    # The pool has no bound of its own: each worker has one request at a time.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=plan.concurrency)
    try:
        httpx.URL(plan.url + PATH)
    except httpx.InvalidURL as error:
        raise BadAddressError(str(error)) from None
    async with httpx.AsyncClient(headers=headers, timeout=plan.timeout, limits=limits) as client:

        async def work() -> None:
            for number in numbers:
                if time.monotonic() - begun > plan.seconds:
                    return
                answers.append(await _one(client, plan, number))
                done(1)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(plan.concurrency, plan.requests)):
                group.create_task(work())
    return answers, time.monotonic() - begun


def prompt(number: int, words: int) -> str:
    """Return a prompt of so many words that begins like no other."""
    return " ".join(
        [f"Request {number}:", *(f"word{(number * 7919 + index) % 9973}" for index in range(words))]
    )


async def _one(client: httpx.AsyncClient, plan: Plan, number: int) -> Answer:
    body = {
        "model": plan.model,
        "messages": [{"role": "user", "content": prompt(number, plan.prompt_words)}],
        "max_tokens": plan.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer, begun = Answer(), time.monotonic()
    try:
        async with asyncio.timeout(plan.timeout), client.stream("POST", plan.url + PATH, json=body) as reply:
            if reply.status_code != 200:
                answer.failure = _refusal(reply.status_code, await reply.aread())
                return answer
            answer.failure = "the stream ended without [DONE]"
            async for line in reply.aiter_lines():
                if line.startswith("data:") and _event(answer, line[5:].strip(), time.monotonic() - begun):
                    break
    except TimeoutError:
        answer.failure = f"no whole answer within {plan.timeout:g} s"
    except httpx.TimeoutException:
        answer.failure = f"no data within {plan.timeout:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        answer.failure = _cause(f"{type(error).__name__}: {error}")
    return answer


def _event(answer: Answer, data: str, now: float) -> bool:
    """Take one event in; whether the stream is over."""
    if data == "[DONE]":
        answer.failure = None if answer.tokens else "an answer without a token"
        return True
    try:
        event = json.loads(data)
    except ValueError:
        answer.failure = "an event that is no JSON"
        return True
    if not isinstance(event, dict):
        return False
    if event.get("error"):
        answer.failure = _cause(f"error event: {_message(event)}")
        return True
    choices, usage = event.get("choices"), event.get("usage")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices else None
    if isinstance(delta, dict) and (delta.get("content") or delta.get("reasoning_content")):
        if answer.tokens:
            answer.gaps.append(now - answer.last)
        else:
            answer.first = now
        answer.last = now
        answer.tokens += 1
    if isinstance(usage, dict):
        counted, asked = usage.get("completion_tokens"), usage.get("prompt_tokens")
        answer.prompt_tokens = asked if isinstance(asked, int) else None
        if isinstance(counted, int) and answer.tokens and counted > 0:
            answer.tokens = counted
    return False


def _refusal(status: int, body: bytes) -> str:
    try:
        told = _message(json.loads(body))
    except ValueError:
        told = body[:LONGEST_CAUSE].decode(errors="replace")
    return _cause(f"{status}: {told}")


def _message(document: Any) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    return str(error.get("message") if isinstance(error, dict) else error or document)


def _cause(text: str) -> str:
    return shown(text)[:LONGEST_CAUSE]
