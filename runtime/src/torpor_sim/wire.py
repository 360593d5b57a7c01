"""The bytes of answers, field by field in the order vLLM writes them.

A streamed token is the hot path: everything but its text is the same for the whole answer, so the parts around it are
built once per request. Fields that vLLM always sends as null are literals here. What is not offered (logprobs, tool
calls, token ids) is always null.
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


class StreamShape:
    """The chunks of one streamed answer. `chat` is False for /v1/completions."""

    def __init__(self, chat: bool, identifier: str, model: str, created: int, fingerprint: str) -> None:
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = orjson.dumps({"id": identifier, "object": kind, "created": created, "model": model})[:-1]
        self._head = b"data: " + head + b',"choices":['
        self._chat = chat
        self._fingerprint = b',"system_fingerprint":' + orjson.dumps(fingerprint)
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

    def _opening(self, index: int) -> bytes:
        while len(self._before) <= index:
            field = b'"delta":{"content":' if self._chat else b'"text":'
            self._before.append(self._head + b'{"index":%d,' % len(self._before) + field)
        return self._before[index]

    def token(self, index: int, text: str, usage: bytes = b"") -> bytes:
        """A chunk in mid-answer; `usage` from `running_usage`, or empty."""
        if self._chat:
            tail = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]'
        else:
            tail = b',"logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]'
        return self._opening(index) + orjson.dumps(text) + tail + usage + b"}\n\n"

    def last(
        self, index: int, text: str, reason: str, stop: str | None, usage: bytes = b"", *, sign: bool = True
    ) -> bytes:
        """The chunk with the finish reason; `sign` adds the fingerprint, which moves to the usage chunk if there is one."""
        names = (
            b'},"logprobs":null,"finish_reason":%b,"stop_reason":%b,"token_ids":null}]'
            if self._chat
            else b',"logprobs":null,"finish_reason":%b,"stop_reason":%b,"prompt_token_ids":null,"token_ids":null}]'
        )
        tail = names % (orjson.dumps(reason), orjson.dumps(stop))
        signature = self._fingerprint if sign else b""
        return self._opening(index) + orjson.dumps(text) + tail + usage + signature + b"}\n\n"

    def running_usage(self, usage: Usage) -> bytes:
        """The usage field of `continuous_usage_stats`."""
        return b',"usage":' + orjson.dumps(usage.fields)

    def usage(self, usage: Usage) -> bytes:
        """The chunk without choices of `include_usage`."""
        return self._head + b"]" + self.running_usage(usage) + self._fingerprint + b"}\n\n"


def chat_answer(
    identifier: str,
    model: str,
    created: int,
    fingerprint: str,
    text: str,
    reason: str,
    stop: str | None,
    usage: Usage,
) -> bytes:
    """A whole chat answer."""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reason,
        "stop_reason": stop,
        "token_ids": None,
        "routed_experts": None,
    }
    return orjson.dumps(
        {
            "id": identifier,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": fingerprint,
            "usage": usage.full,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }
    )


def completion_answer(
    identifier: str,
    model: str,
    created: int,
    fingerprint: str,
    answers: list[tuple[str, str, str | None]],
    usage: Usage,
) -> bytes:
    """A whole completion: text, finish reason and stop reason per prompt."""
    choices = [
        {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": reason,
            "stop_reason": stop,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for index, (text, reason, stop) in enumerate(answers)
    ]
    return orjson.dumps(
        {
            "id": identifier,
            "object": "text_completion",
            "created": created,
            "model": model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": fingerprint,
            "usage": usage.full,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }
    )


def embedding_answer(
    identifier: str, model: str, created: int, vectors: list[object], prompt_tokens: int
) -> bytes:
    """An embedding per input, as numbers or as base64 text."""
    data = [
        {"index": index, "object": "embedding", "embedding": vector} for index, vector in enumerate(vectors)
    ]
    usage = Usage(prompt_tokens, 0).full
    return orjson.dumps(
        {"id": identifier, "object": "list", "created": created, "model": model, "data": data, "usage": usage}
    )


def model_list(names: list[str], root: str, created: int, max_model_len: int) -> bytes:
    """The answer of /v1/models."""
    permission = {
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    cards = [
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": root,
            "parent": None,
            "max_model_len": max_model_len,
            "permission": [{"id": f"modelperm-{position:032x}", **permission}],
        }
        for position, name in enumerate(names)
    ]
    return orjson.dumps({"object": "list", "data": cards})
