"""What goes wrong, as programs that use the `anthropic` library meet it: class, type, and the cause's name.

The library takes `error.type` for one of its own words, `error.details.error_code` for the cause, and the
header `request-id` for what people quote when they ask for help.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, get_args

from e2e.conformance.anthropic_checks import ASK, CLIENT
from e2e.conformance.checks import check, error_of, error_of_async, mark, name_of, retried_after, stopped
from e2e.conformance.site import LONG, MAX_BODY, OUTPUT_CEILING, SECONDS, SINGLE_KEY, SINGLE_REFUSED
from e2e.support.waiting import until

if TYPE_CHECKING:
    from e2e.conformance.site import Site


def failing(site: Site, model: str = "replayed", client: dict[str, Any] | None = None, **request: Any) -> Any:
    """The error of a request for a message."""
    with site.anthropic(**(client or {})) as asking:
        return error_of(
            lambda: asking.messages.create(model=model, **({"messages": ASK, "max_tokens": 8} | request))
        )


def seen(error: Any) -> tuple[str, int, str | None, str | None]:
    """What a program sees of an error of the gateway; the rest is checked here."""
    from anthropic.types.shared.error_type import ErrorType  # noqa: PLC0415 - as in `site`

    assert error.type in get_args(ErrorType), "a type that the library does not know"
    assert error.api_message
    if error.status_code != 200:  # of a stream that had begun the head is spent
        assert error.request_id, "nothing to quote"
        assert error.body["request_id"] == error.request_id
    return name_of(error), error.status_code, error.type, error.error_code


@check(CLIENT, "400 of the engine: `BadRequestError`", recorded=True)
def anthropic_400_engine(site: Site) -> None:
    error = failing(site, client={"default_headers": mark("anthropic_400_engine")}, max_tokens=100_000)
    assert name_of(error) == "BadRequestError"
    assert "100000" in str(error.body)


@check(CLIENT, "400 of the gateway: `BadRequestError`")
def anthropic_400(site: Site) -> None:
    error = failing(site, "bounded", max_tokens=OUTPUT_CEILING + 1)
    assert seen(error) == ("BadRequestError", 400, "invalid_request_error", "above_maximum")


@check(CLIENT, "401: `AuthenticationError`")
def anthropic_401(site: Site) -> None:
    error = failing(site, client={"api_key": "sk-wrong"})
    assert seen(error) == ("AuthenticationError", 401, "authentication_error", "invalid_api_key")


@check(CLIENT, "404, a model that is not there: `NotFoundError`")
def anthropic_404_model(site: Site) -> None:
    assert seen(failing(site, "nobody")) == ("NotFoundError", 404, "not_found_error", "model_not_found")
    with site.anthropic() as client:
        error = error_of(lambda: client.messages.count_tokens(model="nobody", messages=ASK))
        assert seen(error) == ("NotFoundError", 404, "not_found_error", "model_not_found")


@check(CLIENT, "404, a path that is not served (`messages.batches`): `NotFoundError`")
def anthropic_404_path(site: Site) -> None:
    with site.anthropic() as client:
        assert seen(error_of(client.messages.batches.list)) == (
            "NotFoundError",
            404,
            "not_found_error",
            "not_found",
        )


@check(CLIENT, "413: `ContentTooLargeError`")
def anthropic_413(site: Site) -> None:
    for size in (MAX_BODY, 20 * MAX_BODY):
        error = failing(site, messages=[{"role": "user", "content": "x" * size}])
        assert seen(error) == ("ContentTooLargeError", 413, "invalid_request_error", "body_too_large")


@check(
    CLIENT, "429 of a key's limit: `RateLimitError`; with retries the client waits Retry-After and is served"
)
def anthropic_429(site: Site) -> None:
    paced = mark("anthropic_stream:0", pace="3600")
    with (
        site.anthropic(api_key=SINGLE_KEY, default_headers=paced) as first,
        site.anthropic(
            api_key=SINGLE_KEY, max_retries=5, default_headers=mark("anthropic_messages:0")
        ) as second,
        ThreadPoolExecutor(1) as aside,
    ):
        stream = first.messages.create(model="replayed", messages=ASK, max_tokens=LONG, stream=True)
        next(iter(stream))
        error = failing(site, client={"api_key": SINGLE_KEY})
        assert seen(error) == ("RateLimitError", 429, "rate_limit_error", "rate_limit_exceeded")
        assert int(error.response.headers["retry-after"]) >= 1
        before, began = site.metric(SINGLE_REFUSED), time.monotonic()
        answer = aside.submit(
            second.messages.with_raw_response.create, model="replayed", messages=ASK, max_tokens=8
        )
        until("the key is refused", lambda: site.metric(SINGLE_REFUSED) > before)
        stream.close()
        assert answer.result(SECONDS).retries_taken >= 1
        retried_after(began, 1.0)


@check(CLIENT, "503 of a fleet that sleeps: `ServiceUnavailableError`, and no retry before it could help")
def anthropic_503(site: Site) -> None:
    refused = r'torpor_gateway_requests_total\{code="503",name="asleep-anthropic",[^}]*\}'
    before = site.metric(refused)
    error = failing(site, "asleep-anthropic", {"max_retries": 2})
    assert seen(error) == ("ServiceUnavailableError", 503, "overloaded_error", "Waking")
    assert int(error.response.headers["retry-after"]) > 60
    assert site.metric(refused) == before + 1


@check(CLIENT, "504 of a request's time: `GatewayTimeoutError`, not retried, and the engine stops")
def anthropic_504(site: Site) -> None:
    before = site.replayed_work()
    headers = {"x-request-timeout": "0.5", **mark("anthropic_messages:0", pace="3600")}
    error = failing(site, client={"max_retries": 2, "default_headers": headers}, max_tokens=LONG)
    assert seen(error) == ("GatewayTimeoutError", 504, "timeout_error", "RequestTimeout")
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
    stopped(site.replayed_work, before)


@check(CLIENT, "a held stream whose fleet does not wake: an error while it is read; whole: 503")
def anthropic_held_in_vain(site: Site) -> None:
    with site.anthropic() as client:
        stream = client.messages.create(model="held", messages=ASK, max_tokens=8, stream=True)
        error = error_of(lambda: list(stream))
    assert seen(error) == ("APIStatusError", 200, "overloaded_error", "Waking")
    assert "did not wake" in error.api_message
    assert seen(failing(site, "held")) == ("ServiceUnavailableError", 503, "overloaded_error", "Waking")


@check(CLIENT, "a held stream whose fleet wakes: tokens after comments", recorded=True)
def anthropic_held(site: Site) -> None:
    site.sleep()
    held = r'torpor_gateway_held_requests\{name="waking",[^}]*\}'
    with site.anthropic(default_headers=mark("anthropic_held")) as client, ThreadPoolExecutor(1) as aside:

        def ask() -> str:
            with client.messages.stream(model="waking", messages=ASK, max_tokens=8) as stream:
                return "".join(stream.text_stream)

        words = aside.submit(ask)
        until("the request is held", lambda: site.metric(held) == 1)
        site.wake()
        assert words.result(SECONDS)


@check(CLIENT, "an engine that dies in the middle of a stream: an error, never a complete message")
def anthropic_dying(site: Site) -> None:
    with site.anthropic(default_headers=mark("anthropic_stream:0", cut="4")) as client:
        stream = client.messages.create(model="dying", messages=ASK, max_tokens=8, stream=True)
        error = error_of(lambda: list(stream))
    assert seen(error) == ("APIStatusError", 200, "api_error", "EngineGone")


@check(CLIENT, "errors of the asynchronous client")
async def anthropic_errors_async(site: Site) -> None:
    asked: dict[str, Any] = {"messages": ASK, "max_tokens": 8}
    async with site.anthropic_async() as client:
        for model, name in (("nobody", "NotFoundError"), ("asleep", "ServiceUnavailableError")):
            assert seen(await error_of_async(client.messages.create(model=model, **asked)))[0] == name

        async def read() -> list[Any]:
            async with client.messages.stream(model="held", **asked) as stream:
                return [event async for event in stream]

        assert seen(await error_of_async(read()))[2:] == ("overloaded_error", "Waking")
