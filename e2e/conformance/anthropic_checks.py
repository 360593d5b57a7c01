"""Programs that use the `anthropic` library on `/v1/messages`: what they send, and what they have to get."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from e2e.conformance.checks import check, error_of, mark, name_of, running, stopped
from e2e.conformance.site import KEY, LONG

if TYPE_CHECKING:
    from e2e.conformance.site import Site

CLIENT = "anthropic"
ASK: list[Any] = [{"role": "user", "content": "Say something about rivers."}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "strict": True,  # a small model needs to be held to it
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
FORCED: Any = {"type": "tool", "name": "weather"}
REPLAYED: dict[str, Any] = {"model": "replayed", "messages": ASK, "max_tokens": 8}


@check(CLIENT, "messages, whole, with a system prompt", recorded=True)
def anthropic_messages(site: Site) -> None:
    with site.anthropic(default_headers=mark("anthropic_messages")) as client:
        answer = client.messages.create(**REPLAYED, system="You are terse.")
        assert (answer.type, answer.role) == ("message", "assistant")
        assert answer.content[0].type == "text"
        assert answer.content[0].text
        assert answer.stop_reason == "max_tokens"
        assert answer.usage.output_tokens == 8


@check(CLIENT, "messages, streamed, event by event", recorded=True)
def anthropic_stream(site: Site) -> None:
    with site.anthropic(default_headers=mark("anthropic_stream")) as client:
        kinds = [event.type for event in client.messages.create(**REPLAYED, stream=True)]
        assert kinds[0] == "message_start"
        assert kinds[-2:] == ["message_delta", "message_stop"]
        assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
        assert "content_block_delta" in kinds


@check(CLIENT, "messages, streamed through `messages.stream()`", recorded=True)
def anthropic_stream_helper(site: Site) -> None:
    with (
        site.anthropic(default_headers=mark("anthropic_stream_helper")) as client,
        client.messages.stream(**REPLAYED) as stream,
    ):
        words = "".join(stream.text_stream)
        message = stream.get_final_message()
        assert words
        assert message.content[0].type == "text"
        assert message.content[0].text == words
        assert message.stop_reason == "max_tokens"
        assert message.usage.output_tokens == 8


@check(CLIENT, "messages, whole and streamed, asynchronous, ten at once", recorded=True)
async def anthropic_async(site: Site) -> None:
    async with (
        site.anthropic_async(default_headers=mark("anthropic_async")) as client,
        site.anthropic_async(default_headers=mark("anthropic_async_stream")) as streaming,
    ):

        async def streamed() -> str:
            async with streaming.messages.stream(**REPLAYED) as stream:
                return "".join([text async for text in stream.text_stream])

        async def whole() -> str | None:
            return (await client.messages.create(**REPLAYED)).stop_reason

        assert all(await asyncio.gather(*(call() for call in [streamed, whole] * 5)))


@check(CLIENT, "tool use that is asked for by name, whole; then its result", recorded=True)
def anthropic_tools(site: Site) -> None:
    with site.anthropic(default_headers=mark("anthropic_tools")) as client:
        asked: dict[str, Any] = {**REPLAYED, "max_tokens": 64, "tools": [WEATHER]}
        answer = client.messages.create(**asked, tool_choice=FORCED)
        assert answer.stop_reason == "tool_use"
        used = next(block for block in answer.content if block.type == "tool_use")
        assert used.name == "weather"
        assert used.input["city"] in ("Paris", "Oslo")
        said: Any = [
            {"type": "text", "text": "Let me see."},
            used.model_dump(include={"type", "id", "name", "input"}),
        ]
        result: Any = [{"type": "tool_result", "tool_use_id": used.id, "content": "It is raining."}]
        asked["messages"] = [
            *ASK,
            {"role": "assistant", "content": said},
            {"role": "user", "content": result},
        ]
        after = client.messages.create(**asked, tool_choice={"type": "none"})
        assert after.content[0].type == "text"


@check(CLIENT, "tool use that must be one, streamed", recorded=True)
def anthropic_tools_stream(site: Site) -> None:
    asked: dict[str, Any] = {**REPLAYED, "max_tokens": 64, "tools": [WEATHER], "tool_choice": {"type": "any"}}
    with (
        site.anthropic(default_headers=mark("anthropic_tools_stream")) as client,
        client.messages.stream(**asked) as stream,
    ):
        assert "input_json" in {event.type for event in stream}
        message = stream.get_final_message()
        used = next(block for block in message.content if block.type == "tool_use")
        assert used.input["city"] in ("Paris", "Oslo")


@check(CLIENT, "tokens of a prompt counted (`messages.count_tokens`)", recorded=True)
def anthropic_count(site: Site) -> None:
    with site.anthropic(default_headers=mark("anthropic_count")) as client:
        assert client.messages.count_tokens(model="replayed", messages=ASK).input_tokens > 5


@check(CLIENT, "models, listed and one by one")
def anthropic_models(site: Site) -> None:
    with site.anthropic() as client:
        assert {"llm", "replayed", "asleep"} <= {model.id for model in client.models.list()}
        assert client.models.retrieve("llm").id == "llm"


@check(CLIENT, "a bearer token in the place of `x-api-key`", recorded=True)
def anthropic_bearer(site: Site) -> None:
    with site.anthropic(api_key=None, auth_token=KEY, default_headers=mark("anthropic_bearer")) as client:
        assert client.messages.create(**REPLAYED).content


@check(CLIENT, "a client-side time-out, which stops the engine")
def anthropic_timeout(site: Site) -> None:
    before = site.replayed_work()
    with site.anthropic(timeout=1.0, default_headers=mark("anthropic_messages:0", pace="3600")) as client:
        error = error_of(lambda: client.messages.create(**REPLAYED | {"max_tokens": LONG}))
    assert name_of(error) == "APITimeoutError"
    stopped(site.replayed_work, before)


@check(CLIENT, "a stream that is closed in the middle, which stops the engine")
def anthropic_cancel(site: Site) -> None:
    before = site.replayed_work()
    with site.anthropic(default_headers=mark("anthropic_stream:0", pace="3600")) as client:
        stream = client.messages.create(**REPLAYED | {"max_tokens": LONG}, stream=True)
        next(iter(stream))
        running(site.replayed_work)
        stream.close()
        stopped(site.replayed_work, before)


@check(CLIENT, "an asynchronous task that is cancelled, which stops the engine")
async def anthropic_cancel_async(site: Site) -> None:
    before = site.replayed_work()
    async with site.anthropic_async(default_headers=mark("anthropic_messages:0", pace="3600")) as client:

        async def ask() -> None:
            await client.messages.create(**REPLAYED | {"max_tokens": LONG})

        task = asyncio.create_task(ask())
        await asyncio.to_thread(running, site.replayed_work)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await asyncio.to_thread(stopped, site.replayed_work, before)
