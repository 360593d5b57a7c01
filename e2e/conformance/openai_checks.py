"""Programs that use the `openai` library: what they send, and what they have to get."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from e2e.conformance.checks import check, error_of, mark, name_of, running, stopped

if TYPE_CHECKING:
    from e2e.conformance.site import Site

CLIENT = "openai"
ASK: list[Any] = [{"role": "user", "content": "Say something about rivers."}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "strict": True,  # a small model needs to be held to it
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FORCED: Any = {"type": "function", "function": {"name": "weather"}}


class Place(BaseModel):
    """What a structured answer has to be."""

    city: str
    warm: bool


@check(CLIENT, "chat, whole")
def openai_chat(site: Site) -> None:
    with site.openai() as client:
        answer = client.chat.completions.create(model="llm", messages=ASK, max_tokens=8)
        assert answer.object == "chat.completion"
        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage
        assert answer.usage.completion_tokens == 8


@check(CLIENT, "chat, streamed, with usage")
def openai_chat_stream(site: Site) -> None:
    with site.openai() as client:
        options: Any = {"include_usage": True}
        parts = list(
            client.chat.completions.create(
                model="llm", messages=ASK, max_tokens=8, stream=True, stream_options=options
            )
        )
        assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == "length"
        assert parts[-1].usage
        assert parts[-1].usage.completion_tokens == 8


@check(CLIENT, "chat, streamed through `chat.completions.stream()`")
def openai_chat_stream_helper(site: Site) -> None:
    with (
        site.openai() as client,
        client.chat.completions.stream(model="llm", messages=ASK, max_tokens=8) as stream,
    ):
        events = list(stream)
        assert {"chunk", "content.delta", "content.done"} <= {event.type for event in events}
        assert all(event.content for event in events if event.type == "content.done")


@check(CLIENT, "chat, whole and streamed, asynchronous, ten at once")
async def openai_chat_async(site: Site) -> None:
    async with site.openai_async() as client:

        async def streamed() -> str:
            stream = await client.chat.completions.create(
                model="llm", messages=ASK, max_tokens=8, stream=True
            )
            return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])

        async def whole() -> str | None:
            answer = await client.chat.completions.create(model="llm", messages=ASK, max_tokens=8)
            return answer.choices[0].message.content

        assert all(await asyncio.gather(*(call() for call in [streamed, whole] * 5)))


@check(CLIENT, "raw answers and streaming answers (`with_raw_response`, `with_streaming_response`)")
def openai_raw(site: Site) -> None:
    with site.openai() as client:
        raw = client.chat.completions.with_raw_response.create(model="llm", messages=ASK, max_tokens=2)
        assert raw.status_code == 200
        assert raw.parse().choices
        with client.chat.completions.with_streaming_response.create(
            model="llm", messages=ASK, max_tokens=2, stream=True
        ) as answer:
            lines = [line for line in answer.iter_lines() if line]
            assert lines[-1] == "data: [DONE]"


@check(CLIENT, "completions, whole, streamed, several prompts")
def openai_completions(site: Site) -> None:
    with site.openai() as client:
        answer = client.completions.create(model="llm", prompt=["A river", "A lake"], max_tokens=4)
        assert [choice.index for choice in answer.choices] == [0, 1]
        stream = client.completions.create(model="llm", prompt="A river", max_tokens=4, stream=True)
        assert "".join(part.choices[0].text for part in stream)


@check(CLIENT, "tool call that is asked for by name, whole", recorded=True)
def openai_tools(site: Site) -> None:
    with site.openai(default_headers=mark("openai_tools")) as client:
        answer = client.chat.completions.create(
            model="replayed",
            messages=ASK,
            tools=[WEATHER],
            tool_choice=FORCED,
            max_tokens=64,  # type: ignore[list-item]
        )
        called = answer.choices[0].message.tool_calls
        assert called
        assert called[0].type == "function"
        assert called[0].function.name == "weather"
        assert json.loads(called[0].function.arguments)["city"] in ("Paris", "Oslo")


@check(CLIENT, "tool call that must be one, streamed; then its result", recorded=True)
def openai_tools_stream(site: Site) -> None:
    with site.openai(default_headers=mark("openai_tools_stream")) as client:
        with client.chat.completions.stream(
            model="replayed",
            messages=ASK,
            tools=[WEATHER],
            tool_choice="required",
            max_tokens=64,  # type: ignore[list-item]
        ) as stream:
            kinds = {event.type for event in stream}
            message = stream.get_final_completion().choices[0].message
        assert "tool_calls.function.arguments.delta" in kinds
        assert message.tool_calls
        call = message.tool_calls[0]
        assert json.loads(call.function.arguments)["city"] in ("Paris", "Oslo")
        told: list[Any] = [
            *ASK,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [call.model_dump(exclude={"function": {"parsed_arguments"}})],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "It is raining."},
        ]
        after = client.chat.completions.create(
            model="replayed",
            messages=told,
            tools=[WEATHER],
            tool_choice="none",
            max_tokens=8,  # type: ignore[list-item]
        )
        assert after.choices[0].message.content


@check(CLIENT, "structured output, parsed into a type (`chat.completions.parse`)", recorded=True)
def openai_structured(site: Site) -> None:
    with site.openai(default_headers=mark("openai_structured")) as client:
        answer = client.chat.completions.parse(
            model="replayed", messages=ASK, response_format=Place, max_tokens=64, temperature=0
        )
        assert isinstance(answer.choices[0].message.parsed, Place)


@check(CLIENT, "responses, whole", recorded=True)
def openai_responses(site: Site) -> None:
    with site.openai(default_headers=mark("openai_responses")) as client:
        answer = client.responses.create(model="replayed", input="Name a river.", max_output_tokens=8)
        assert answer.object == "response"
        assert answer.output_text
        assert answer.usage
        assert answer.usage.output_tokens == 8


@check(CLIENT, "responses, streamed", recorded=True)
def openai_responses_stream(site: Site) -> None:
    with site.openai(default_headers=mark("openai_responses_stream")) as client:
        events = list(
            client.responses.create(model="replayed", input="Name a river.", max_output_tokens=8, stream=True)
        )
        kinds = [event.type for event in events]
        assert kinds[0] == "response.created"
        assert "response.output_text.delta" in kinds
        assert kinds[-1] in ("response.completed", "response.incomplete")
        assert [event.sequence_number for event in events] == sorted(
            event.sequence_number for event in events
        )


@check(CLIENT, "responses, streamed, asynchronous", recorded=True)
async def openai_responses_async(site: Site) -> None:
    async with site.openai_async(default_headers=mark("openai_responses_async")) as client:
        stream = await client.responses.create(
            model="replayed", input="Name a river.", max_output_tokens=8, stream=True
        )
        kinds = [event.type async for event in stream]
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"


@check(CLIENT, "embeddings, one and several, as numbers and in base64", simulated=True)
def openai_embeddings(site: Site) -> None:
    with site.openai() as client:
        one = client.embeddings.create(model="llm", input="a river").data[0].embedding
        plain = client.embeddings.create(model="llm", input=["a lake", "a river"], encoding_format="float")
        assert [entry.index for entry in plain.data] == [0, 1]
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, plain.data[1].embedding, strict=True))


@check(
    CLIENT,
    "an upload (`audio.transcriptions`) goes where its form says; an engine of text alone says 404",
    recorded=True,
)
def openai_upload(site: Site) -> None:
    with site.openai(default_headers=mark("openai_upload")) as client:
        error = error_of(
            lambda: client.audio.transcriptions.create(model="replayed", file=("a.wav", b"RIFF" * 5000))
        )
        assert (name_of(error), error.code) == ("NotFoundError", None), "the gateway has a code for its own"
        nobody = error_of(lambda: client.audio.transcriptions.create(model="nobody", file=("a.wav", b"RIFF")))
        assert name_of(nobody) == "NotFoundError"


@check(CLIENT, "models, listed and one by one")
def openai_models(site: Site) -> None:
    with site.openai() as client:
        names = [model.id for model in client.models.list()]
        assert {"llm", "replayed", "asleep"} <= set(names)
        assert client.models.retrieve("llm").id == "llm"


@check(CLIENT, "a client-side time-out, which stops the engine")
def openai_timeout(site: Site) -> None:
    before = site.work()
    with site.openai(timeout=1.0) as client:
        error = error_of(
            lambda: client.chat.completions.create(
                model="llm", messages=ASK, max_tokens=site.long, extra_body={"ignore_eos": True}
            )
        )
    assert name_of(error) == "APITimeoutError"
    stopped(site.work, before)


@check(CLIENT, "a stream that is closed in the middle, which stops the engine")
def openai_cancel(site: Site) -> None:
    before = site.work()
    with site.openai() as client:
        stream = client.chat.completions.create(
            model="llm", messages=ASK, max_tokens=site.long, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        running(site.work)
        stream.close()
        stopped(site.work, before)
        # The client goes on with other requests as if nothing had been.
        assert client.chat.completions.create(model="llm", messages=ASK, max_tokens=2).choices


@check(CLIENT, "an asynchronous task that is cancelled, which stops the engine")
async def openai_cancel_async(site: Site) -> None:
    before = site.work()
    async with site.openai_async() as client:

        async def ask() -> None:
            await client.chat.completions.create(
                model="llm", messages=ASK, max_tokens=site.long, extra_body={"ignore_eos": True}
            )

        task = asyncio.create_task(ask())
        await asyncio.to_thread(running, site.work)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await asyncio.to_thread(stopped, site.work, before)
