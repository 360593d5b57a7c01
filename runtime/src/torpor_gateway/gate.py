"""The gate: who is asking, what may they use, and how much of it now.

A client shows its key as `Authorization: Bearer KEY` or `x-api-key: KEY`; neither goes on to an engine. The
key's SHA-256 is looked up. That comparison takes a time that depends on the hash alone, and nobody can choose
a hash, so the time tells nothing about other keys; a wrong key and none get the same bytes.

Limits are the installation's, but processes do not talk to each other: each enforces its share, the limit
divided by the processes that are alive, and at least 1. Requests are counted when they are let in; tokens are
charged then as far as can be told (the prompt by its bytes, the fleet's mean answer) and put right by what
the answer took, when it is over. A request that no engine saw costs no tokens, and one refused here costs
nothing. Without keys the gate is open and says so.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torpor.dispatch import Lane

from torpor_gateway.answers import Refusal
from torpor_gateway.buckets import Bucket
from torpor_gateway.keys import ApiKey, digest
from torpor_gateway.request import RequestHead

log = logging.getLogger(__name__)

UNMEASURED_ANSWER = 256  # tokens, for a fleet that has not answered yet
_JITTER = 0.25  # of Retry-After, added: clients of one key must not come back together
_PLACE_SECONDS = 1.0  # Retry-After where a place is missing: nobody knows when a request ends
_TELL_SECONDS = 60.0  # between two lines in the log about one key


@dataclass(slots=True)
class KeyState:
    """One key in this process: how much of its limits is used, and what happened so far."""

    key: ApiKey
    lane: Lane
    under_way: int = 0
    requests: Bucket | None = None
    tokens: Bucket | None = None
    admitted: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    told_at: float = float("-inf")


class Lease:
    """What one request holds of its key's limits, from when it is let in to its end."""

    __slots__ = ("_bucket", "_charged", "_gate", "headers", "state")

    def __init__(self, gate: "Gate", state: KeyState, charged: int) -> None:
        self._gate, self.state, self._charged, self._bucket = gate, state, charged, state.tokens
        self.headers = gate.headers(state)

    def end(self, prompt: int, output: int) -> None:
        """The request is over and took so many tokens."""
        state = self.state
        state.under_way -= 1
        state.prompt_tokens += prompt
        state.output_tokens += output
        if self._bucket is not None:
            self._bucket.take(prompt + output - self._charged, self._gate.now())


class Gate:
    """All keys in this process. Open until `replace` was called for the first time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.open = True
        self.states: dict[str, KeyState] = {}
        self.processes = 1  # that share the limits
        self.failures = 0  # reads of the keys that came to nothing
        self.stale = False  # whether the last one did
        self._by_digest: dict[bytes, KeyState] = {}

    # --- the keys, and who shares them ---

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Take these keys and no others. What is used of a key's limits stays used."""
        before, self.states, self._by_digest = self.states, {}, {}
        self.open = False
        for key in keys:
            state = before.get(key.name) or KeyState(key, Lane(key.name, key.batch))
            state.key, state.lane = key, Lane(key.name, key.batch)
            self._fit(state)
            self.states[key.name] = state
            self._by_digest.update(dict.fromkeys(key.digests, state))

    def share(self, processes: int) -> None:
        """So many processes are alive, this one included."""
        processes = max(1, processes)
        if processes == self.processes:
            return
        log.info("limits of API keys are divided by %d processes (before: %d)", processes, self.processes)
        self.processes = processes
        for state in self.states.values():
            self._fit(state)

    def _fit(self, state: KeyState) -> None:
        state.requests = self._fitted(state.requests, state.key.requests_per_minute)
        state.tokens = self._fitted(state.tokens, state.key.tokens_per_minute)

    def _fitted(self, bucket: Bucket | None, limit: int | None) -> Bucket | None:
        if limit is None:
            return None
        mine = max(1.0, limit / self.processes)
        if bucket is None:
            return Bucket(mine, self.now())
        bucket.resize(mine, self.now())
        return bucket

    # --- for requests ---

    def identify(self, head: RequestHead) -> KeyState | None:
        """Return the key of a request; None where no key is asked for. Raises Refusal 401."""
        if self.open:
            return None
        scheme, _, bearer = head.authorization.partition(b" ")
        for given in (bearer.strip() if scheme.lower() == b"bearer" else b"", head.api_key):
            state = self._by_digest.get(digest(given)) if given else None
            if state is not None:
                return state
        raise Refusal(
            401,
            "invalid_api_key",
            "a valid API key is required: send `Authorization: Bearer KEY` or `x-api-key: KEY`",
            headers=b"WWW-Authenticate: Bearer\r\n",
        )

    def admit(self, state: KeyState, tokens: int) -> Lease:
        """Let a request in that is expected to take so many tokens. Raises Refusal 429."""
        now, key = self.now(), state.key
        if key.concurrent_requests is not None and state.under_way >= max(
            1, key.concurrent_requests // self.processes
        ):
            raise self._refusal(state, "concurrentRequests", key.concurrent_requests, _PLACE_SECONDS)
        if state.requests is not None and (wait := state.requests.wait(1, now)):
            raise self._refusal(state, "requestsPerMinute", key.requests_per_minute, wait)
        if state.tokens is not None and (wait := state.tokens.wait(tokens, now)):
            raise self._refusal(state, "tokensPerMinute", key.tokens_per_minute, wait)
        state.under_way += 1
        state.admitted += 1
        if state.requests is not None:
            state.requests.take(1, now)
        if state.tokens is not None:
            state.tokens.take(tokens, now)
        return Lease(self, state, tokens)

    def refused(self, state: KeyState, reason: str) -> None:
        """Count a refusal that had another reason than a limit of the key."""
        state.refusals[reason] += 1

    def _refusal(self, state: KeyState, limit: str, value: int | None, wait: float) -> Refusal:
        state.refusals[limit] += 1
        share = f", shared by {self.processes} gateway processes" if self.processes > 1 else ""
        message = f"API key {state.key.name}: its {limit} of {value}{share} are used up"
        now = self.now()
        if now - state.told_at >= _TELL_SECONDS:
            state.told_at = now
            log.info("%s; refusing its requests for now", message)
        later = wait * (1 + _JITTER * random.random())  # noqa: S311
        advice = f"; come back in {later:.1f} s" if limit != "concurrentRequests" else "; wait for one to end"
        return Refusal(
            429, "rate_limit_exceeded", message + advice, retry_after=later, headers=self.headers(state)
        )

    def headers(self, state: KeyState) -> bytes:
        """Return OpenAI's header lines: of the installation's limits, as far as this process can tell."""
        if state.requests is None and state.tokens is None:
            return b""
        now = self.now()
        text = b""
        for kind, bucket, limit in (
            (b"requests", state.requests, state.key.requests_per_minute),
            (b"tokens", state.tokens, state.key.tokens_per_minute),
        ):
            if bucket is not None and limit is not None:
                left = min(limit, max(0, int(bucket.level(now) * self.processes)))
                text += b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\n" % (
                    kind,
                    limit,
                    kind,
                    left,
                )
                text += b"x-ratelimit-reset-%b: %b\r\n" % (kind, duration(bucket.until_full(now)))
        return text


def unknown_model() -> Refusal:
    """Answer a key that may not use every model: one it may not use and one that is not are the same."""
    message = "the model does not exist, or this API key may not use it"
    return Refusal(404, "model_not_found", message, param="model")


def duration(seconds: float) -> bytes:
    """Write a time as OpenAI does: 6m0s, 1.5s, 120ms."""
    if seconds < 1:
        return b"%dms" % round(seconds * 1000)
    minutes, rest = divmod(round(seconds, 1), 60)
    text = f"{rest:.1f}".removesuffix(".0")
    return (f"{minutes:.0f}m{text}s" if minutes else f"{text}s").encode()
