"""One chat request, and what became of it.

The promise says that a request is answered, or refused at once with a status and a true `Retry-After`;
everything else is lost. `chat` sends one request and sorts it into these three: an answer counts only with
a `finish_reason` and, when streamed, with `[DONE]`; an error event in a stream that had begun is a loss,
because the client had been told 200.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from e2e.support import http1
from e2e.support.http1 import Address

PATH = "/v1/chat/completions"


@dataclass
class Outcome:
    """What became of a request. Times are wall-clock seconds; None means that it did not come so far."""

    kind: Literal["answered", "refused", "lost"]
    detail: str = ""
    streamed: bool = False
    status: int | None = None
    retry_after: str | None = None
    begun_at: float = 0.0
    sent_at: float | None = None
    first_comment_at: float | None = None
    first_data_at: float | None = None
    done_at: float | None = None
    text: str = ""
    error: dict[str, object] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """A stream that had delivered data and then did not end well."""
        return self.streamed and self.kind == "lost" and self.first_data_at is not None


def body(model: str, *, stream: bool, max_tokens: int, prompt: str = "Say hello.") -> bytes:
    """The JSON of a chat completion request."""
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "stream": stream,
        }
    ).encode()


async def chat(
    to: Address,
    model: str,
    *,
    stream: bool = True,
    max_tokens: int = 8,
    prompt: str = "Say hello.",
    seconds: float = 120,
    headers: dict[str, str] | None = None,
    on_sent: Callable[[float], None] | None = None,
) -> Outcome:
    """Send one chat completion and wait for its end, at most `seconds`; never raises for what a server does.

    `on_sent` is called with the wall clock once the last byte has left.
    """
    outcome = Outcome("lost", "not ended", streamed=stream, begun_at=time.time())
    payload = body(model, stream=stream, max_tokens=max_tokens, prompt=prompt)
    try:
        async with asyncio.timeout(seconds):
            async with http1.request(to, "POST", PATH, payload, headers, on_sent=on_sent) as answer:
                outcome.status, outcome.sent_at = answer.status, answer.sent_at
                outcome.retry_after = answer.headers.get("retry-after")
                if answer.status == 200 and stream:
                    await _follow(answer, outcome)
                else:
                    _judge(await answer.body(), outcome)
    except TimeoutError:
        outcome.detail = f"no end within {seconds:g} s (status {outcome.status})"
    except (OSError, http1.CutShortError, ValueError, LookupError) as error:
        outcome.detail = f"{type(error).__name__}: {error} (status {outcome.status})"
    outcome.done_at = time.time()
    return outcome


def _judge(raw: bytes, outcome: Outcome) -> None:
    """Sort an answer that came whole."""
    found = json.loads(raw) if raw else {}
    if outcome.status == 200:
        choice = found["choices"][0]
        outcome.text = choice["message"]["content"] or ""
        outcome.first_data_at = time.time()
        if choice.get("finish_reason"):
            outcome.kind, outcome.detail = "answered", str(choice["finish_reason"])
        else:
            outcome.detail = "an answer without finish_reason"
        return
    outcome.error = found.get("error") or {}
    outcome.detail = f"{outcome.status} {outcome.error.get('code')}: {outcome.error.get('message')}"
    if outcome.status in (429, 503) and outcome.retry_after:
        outcome.kind = "refused"


async def _follow(answer: http1.Answer, outcome: Outcome) -> None:
    """Read server-sent events to their end."""
    finish, done, rest = None, False, b""
    async for piece in answer.pieces():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b":"):
                outcome.first_comment_at = outcome.first_comment_at or time.time()
            elif line.startswith(b"data:"):
                outcome.first_data_at = outcome.first_data_at or time.time()
                data = line[5:].strip()
                if data == b"[DONE]":
                    done = True
                    continue
                event = json.loads(data)
                if "error" in event:
                    outcome.error = event["error"]
                    outcome.detail = f"error event: {event['error']}"
                    outcome.first_data_at = None if not outcome.text else outcome.first_data_at
                    return
                for choice in event.get("choices", []):
                    outcome.text += choice.get("delta", {}).get("content") or ""
                    finish = choice.get("finish_reason") or finish
    if finish and done:
        outcome.kind, outcome.detail = "answered", str(finish)
    else:
        outcome.detail = (
            f"the stream ended without {'[DONE]' if finish else 'finish_reason'}: {outcome.text[-40:]!r}"
        )


def chat_now(to: Address, model: str, **options: object) -> Outcome:
    """`chat` for callers without an event loop."""
    return asyncio.run(chat(to, model, **options))  # type: ignore[arg-type]
