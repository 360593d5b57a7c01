"""The bytes of whole answers, field by field in the order vLLM writes them.

Fields that vLLM always sends as null are sent as null: clients with strict schemas read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from torpor_sim.wire import Usage

if TYPE_CHECKING:
    from torpor_sim.wire import Origin


def chat_answer(origin: Origin, text: str, reason: str, stop: str | None, usage: Usage) -> bytes:
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
            "id": origin.identifier,
            "object": "chat.completion",
            "created": origin.created,
            "model": origin.model,
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": origin.fingerprint,
            "usage": usage.full,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }
    )


def completion_answer(origin: Origin, answers: list[tuple[str, str, str | None]], usage: Usage) -> bytes:
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
            "id": origin.identifier,
            "object": "text_completion",
            "created": origin.created,
            "model": origin.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": origin.fingerprint,
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
