"""The bytes of answers, field by field in the order vLLM writes them.

A streamed token is the hot path: everything but its text is the same for the whole answer, so the parts
around it are built once per request. Fields that vLLM always sends as null are literals here. What is not
offered (logprobs, tool calls, token ids) is always null.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of an answer."""

    prompt: int
    completion: int

    @property
    def fields(self) -> dict[str, object]:
        """As in a stream's usage chunk."""
        return {
            "prompt_tokens": self.prompt,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens": self.completion,
        }

    @property
    def full(self) -> dict[str, object]:
        """As in a whole answer: with the null details."""
        return {**self.fields, "prompt_tokens_details": None, "completion_tokens_details": None}


_NO_STOP = b',"stop_reason":null'


@dataclass(frozen=True, slots=True)
class Origin:
    """What every piece of an answer repeats: its id, model name, Unix time and the engine's fingerprint."""

    identifier: str
    model: str
    created: int
    fingerprint: str


class StreamShape:
    """The chunks of one streamed answer. `chat` is False for /v1/completions."""

    def __init__(self, origin: Origin, *, chat: bool) -> None:
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {"id": origin.identifier, "object": kind, "created": origin.created, "model": origin.model}
        self._chat = chat
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        self._signature = b',"system_fingerprint":' + orjson.dumps(origin.fingerprint)
        self._field = b'"delta":{"content":' if chat else b'"text":'
        self._close = b"}" if chat else b""
        self._ids = b',"token_ids":null}]' if chat else b',"prompt_token_ids":null,"token_ids":null}]'
        unfinished = b',"logprobs":null,"finish_reason":null'
        self._token_tail = self._close + unfinished + (b"" if chat else _NO_STOP) + self._ids
        self._before: list[bytes] = []

    def role(self, usage: bytes = b"") -> bytes:
        """The first chunk of a chat answer; empty for completions, which have none."""
        if not self._chat:
            return b""
        return (
            self._head
            + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
            + usage
            + b',"prompt_token_ids":null,"prompt_text":null}\n\n'
        )

    def token(self, index: int, text: str, usage: bytes = b"") -> bytes:
        """A chunk in mid-answer; `usage` from `running_usage`, or empty."""
        return self._opening(index) + orjson.dumps(text) + self._token_tail + usage + b"}\n\n"

    def last(
        self, index: int, text: str, reason: str, stop: str | None, *, usage: bytes, sign: bool
    ) -> bytes:
        """The chunk with the finish reason. `sign`: no usage chunk follows that carries the fingerprint."""
        why = b',"logprobs":null,"finish_reason":%b,"stop_reason":%b' % (
            orjson.dumps(reason),
            orjson.dumps(stop),
        )
        signature = self._signature if sign else b""
        return (
            self._opening(index)
            + orjson.dumps(text)
            + self._close
            + why
            + self._ids
            + usage
            + signature
            + b"}\n\n"
        )

    def running_usage(self, usage: Usage) -> bytes:
        """The usage field of `continuous_usage_stats`; in chat it has a null that the usage chunk lacks."""
        details = {"completion_tokens_details": None} if self._chat else {}
        return b',"usage":' + orjson.dumps({**usage.fields, **details})

    def usage(self, usage: Usage) -> bytes:
        """The chunk without choices of `include_usage`."""
        return self._head + b'],"usage":' + orjson.dumps(usage.fields) + self._signature + b"}\n\n"

    def _opening(self, index: int) -> bytes:
        while len(self._before) <= index:
            self._before.append(self._head + b'{"index":%d,' % len(self._before) + self._field)
        return self._before[index]
