"""What goes wrong, as programs that use the `openai` library meet it: by the class of the exception."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from e2e.conformance.checks import check, error_of, error_of_async, mark, name_of, retried_after, stopped
from e2e.conformance.openai_checks import ASK, CLIENT
from e2e.conformance.site import LONG, MAX_BODY, OUTPUT_CEILING, SECONDS, SINGLE_KEY, SINGLE_REFUSED
from e2e.support.waiting import until

if TYPE_CHECKING:
    from e2e.conformance.site import Site


def failing(site: Site, model: str = "llm", client: dict[str, Any] | None = None, **request: Any) -> Any:
    """The error of a chat request."""
    with site.openai(**(client or {})) as asking:
        return error_of(lambda: asking.chat.completions.create(model=model, **({"messages": ASK} | request)))


@check(CLIENT, "400 of the engine: `BadRequestError`")
def openai_400_engine(site: Site) -> None:
    error = failing(site, max_tokens=-1)
    assert name_of(error) == "BadRequestError"
    assert "max_tokens" in error.message


@check(CLIENT, "400 of the gateway: `BadRequestError` with `param` and `code`")
def openai_400(site: Site) -> None:
    error = failing(site, "bounded", max_tokens=OUTPUT_CEILING + 1)
    assert name_of(error) == "BadRequestError"
    assert (error.code, error.param, error.type) == ("above_maximum", "max_tokens", "invalid_request_error")
    assert str(OUTPUT_CEILING) in error.message


@check(CLIENT, "401: `AuthenticationError`")
def openai_401(site: Site) -> None:
    error = failing(site, client={"api_key": "sk-wrong"})
    assert (name_of(error), error.code) == ("AuthenticationError", "invalid_api_key")


@check(CLIENT, "404, a model that is not there: `NotFoundError`")
def openai_404_model(site: Site) -> None:
    error = failing(site, "nobody")
    assert (name_of(error), error.code, error.param) == ("NotFoundError", "model_not_found", "model")
    with site.openai() as client:
        assert name_of(error_of(lambda: client.models.retrieve("nobody"))) == "NotFoundError"


@check(CLIENT, "404, a path that is not served (`files`, `batches`): `NotFoundError`")
def openai_404_path(site: Site) -> None:
    with site.openai() as client:
        for call in (client.files.list, client.batches.list):
            assert name_of(error_of(call)) == "NotFoundError"


@check(CLIENT, "413: `APIStatusError`, also where the body is refused before it is sent whole")
def openai_413(site: Site) -> None:
    for size in (MAX_BODY, 20 * MAX_BODY):
        error = failing(site, messages=[{"role": "user", "content": "x" * size}])
        assert (name_of(error), error.status_code, error.code) == ("APIStatusError", 413, "body_too_large")


@check(
    CLIENT, "429 of a key's limit: `RateLimitError`; with retries the client waits Retry-After and is served"
)
def openai_429(site: Site) -> None:
    with (
        site.openai(api_key=SINGLE_KEY, default_headers=mark("openai_tools_stream:0", pace="3600")) as first,
        site.openai(api_key=SINGLE_KEY, max_retries=5) as second,
        ThreadPoolExecutor(1) as aside,
    ):
        stream = first.chat.completions.create(
            model="replayed", messages=ASK, max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        error = failing(site, client={"api_key": SINGLE_KEY})
        assert (name_of(error), error.code) == ("RateLimitError", "rate_limit_exceeded")
        assert int(error.response.headers["retry-after"]) >= 1
        before, began = site.metric(SINGLE_REFUSED), time.monotonic()
        answer = aside.submit(
            second.chat.completions.with_raw_response.create, model="llm", messages=ASK, max_tokens=2
        )
        until("the key is refused", lambda: site.metric(SINGLE_REFUSED) > before)
        stream.close()
        assert answer.result(SECONDS).retries_taken >= 1
        retried_after(began, 1.0)


@check(CLIENT, "503 of a fleet that sleeps: `InternalServerError`, and no retry before it could help")
def openai_503(site: Site) -> None:
    refused = r'torpor_gateway_requests_total\{code="503",name="asleep-openai",[^}]*\}'
    before = site.metric(refused)
    error = failing(site, "asleep-openai", {"max_retries": 2})
    assert (name_of(error), error.status_code, error.code) == ("InternalServerError", 503, "Waking")
    assert int(error.response.headers["retry-after"]) > 60
    assert site.metric(refused) == before + 1


@check(CLIENT, "504 of a request's time: `InternalServerError`, not retried, and the engine stops")
def openai_504(site: Site) -> None:
    before = site.work()
    patient = {"max_retries": 2, "default_headers": {"x-request-timeout": "0.5"}}
    error = failing(site, client=patient, max_tokens=site.long, extra_body={"ignore_eos": True})
    assert (name_of(error), error.status_code, error.code) == ("InternalServerError", 504, "RequestTimeout")
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
    stopped(site.work, before)


@check(CLIENT, "a held stream whose fleet does not wake: `APIError` while it is read; whole: 503")
def openai_held_in_vain(site: Site) -> None:
    with site.openai() as client:
        stream = client.chat.completions.create(model="held", messages=ASK, stream=True)
        error = error_of(lambda: list(stream))
    assert (name_of(error), error.code) == ("APIError", "Waking")
    assert "did not wake" in error.message
    assert name_of(failing(site, "held")) == "InternalServerError"


@check(CLIENT, "a held stream whose fleet wakes: tokens after comments", recorded=True)
def openai_held(site: Site) -> None:
    site.sleep()
    held = r'torpor_gateway_held_requests\{name="waking",[^}]*\}'
    with site.openai(default_headers=mark("openai_held")) as client, ThreadPoolExecutor(1) as aside:

        def ask() -> str:
            stream = client.chat.completions.create(model="waking", messages=ASK, max_tokens=4, stream=True)
            return "".join(part.choices[0].delta.content or "" for part in stream if part.choices)

        words = aside.submit(ask)
        until("the request is held", lambda: site.metric(held) == 1)
        site.wake()
        assert words.result(SECONDS)


@check(CLIENT, "an engine that dies in the middle of a stream: `APIError`, never a complete answer")
def openai_dying(site: Site) -> None:
    with site.openai(default_headers=mark("openai_tools_stream:0", cut="3")) as client:
        stream = client.chat.completions.create(model="dying", messages=ASK, stream=True)
        error = error_of(lambda: list(stream))
        assert (name_of(error), error.code) == ("APIError", "EngineGone")


@check(CLIENT, "an engine that dies before it answers: 503, `InternalServerError`")
def openai_dead(site: Site) -> None:
    error = failing(site, "dying", {"default_headers": mark("openai_tools:0", cut="0")})
    assert (name_of(error), error.status_code, error.code) == ("InternalServerError", 503, "EngineGone")


@check(CLIENT, "errors of the asynchronous client")
async def openai_errors_async(site: Site) -> None:
    async with site.openai_async() as client:
        for model, name in (("nobody", "NotFoundError"), ("asleep", "InternalServerError")):
            request = client.chat.completions.create(model=model, messages=ASK)
            assert name_of(await error_of_async(request)) == name
        stream = await client.chat.completions.create(model="held", messages=ASK, stream=True)

        async def read() -> list[Any]:
            return [part async for part in stream]

        assert name_of(await error_of_async(read())) == "APIError"
