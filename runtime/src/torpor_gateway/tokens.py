"""How many tokens went by, when the answer does not say.

An answer with `usage` is exact. For the rest, and for a prompt whose answer is still to come, a request's
bytes and a stream's data events are multiplied by two ratios of the fleet: tokens per prompt byte, tokens per
event. The ratios start at what English text gives and are corrected by every answer that has `usage`, and by
the launchers' token counters: between two reports in which a pod was idle, all its tokens came from the
requests in between, and where this process saw each of them (the pod never reported more requests than this
process had there) the quotient is exact. Options are never put into a client's request to get at the numbers.

A ratio is one of sums and not a mean of ratios: what is wanted of it are sums again, the tokens that arrive
and that wait, and a request's fixed part (names, parameters, braces) makes short ones poor in tokens. A mean
of ratios would take a long prompt for a fifth shorter where most are short.
"""

import re
from dataclasses import dataclass, field

import orjson

_KEPT = 0.95  # of what was seen before, at each observation: about twenty requests are remembered
# Of vLLM's Chat Completions and Completions, as it writes it.
_PLAIN = re.compile(
    rb'"usage": ?\{"prompt_tokens": ?([0-9]+), ?"total_tokens": ?[0-9]+, ?"completion_tokens": ?([0-9]+)'
)
_TAIL = 4096  # bytes in which the usage of a long answer is looked for
_PROMPT_RANGE = (0.01, 2.0)
_OUTPUT_RANGE = (0.1, 50.0)


@dataclass(slots=True)
class Ratios:
    """Tokens per byte of request body, and tokens per data event of a stream. Each starts with an assumed
    observation.
    """

    _prompt: tuple[float, float] = (250.0, 1000.0)  # tokens, bytes
    _output: tuple[float, float] = (100.0, 100.0)  # tokens, events

    @property
    def prompt_per_byte(self) -> float:
        """Tokens of a prompt per byte of its request."""
        return self._prompt[0] / self._prompt[1]

    @property
    def output_per_event(self) -> float:
        """Tokens of an answer per event of its stream."""
        return self._output[0] / self._output[1]

    def prompt(self, size: int) -> int:
        """Estimate the tokens of a prompt, or of several, by their bytes."""
        tokens, of = self._prompt
        return int(size * tokens / of + 0.5)

    def output(self, events: int) -> int:
        """Estimate the tokens of a streamed answer by its events."""
        tokens, of = self._output
        return int(events * tokens / of + 0.5)

    def learn_prompt(self, tokens: int, size: int) -> None:
        """Correct the prompt ratio by one exact observation."""
        if size > 0 and tokens > 0:
            self._prompt = _learned(self._prompt, tokens, size, _PROMPT_RANGE)

    def learn_output(self, tokens: int, events: int) -> None:
        """Correct the output ratio by one exact observation."""
        if events > 0 and tokens > 0:
            self._output = _learned(self._output, tokens, events, _OUTPUT_RANGE)


def _learned(
    seen: tuple[float, float], tokens: int, of: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    tokens_kept = min(max(tokens, bounds[0] * of), bounds[1] * of)
    return _KEPT * seen[0] + tokens_kept, _KEPT * seen[1] + of


@dataclass(slots=True)
class Calibration:
    """Compares one pod's token counters with what this process sent there, from idle to idle."""

    ratios: Ratios
    _start: tuple[int, int] | None = field(default=None)
    _bytes: int = 0
    _events: int = 0
    _clean: bool = True

    def sent(self, size: int, events: int) -> None:
        """Record a finished request of this process at this pod."""
        self._bytes += size
        self._events += events

    def report(
        self, at_pod: int | None, in_flight: int, prompt_total: int | None, output_total: int | None
    ) -> None:
        """Take in a report: requests at the pod, this process's requests there, and the engine's counters."""
        if at_pod is None or prompt_total is None or output_total is None:
            self._start = None
            return
        if at_pod > in_flight:
            self._clean = False
        if at_pod or in_flight:
            return
        if self._start is not None and self._clean:
            prompt, output = prompt_total - self._start[0], output_total - self._start[1]
            if self._bytes and prompt == 0 and output == 0:
                return  # counters older than the requests: wait for the next report
            if prompt >= 0 and output >= 0:
                self.ratios.learn_prompt(prompt, self._bytes)
                self.ratios.learn_output(output, self._events)
        self._start = (prompt_total, output_total)
        self._bytes = self._events = 0
        self._clean = True


def usage(content: bytes) -> tuple[int, int] | None:
    """Return (prompt, output) tokens of an answer's or an event's JSON, in OpenAI's or Anthropic's words."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    found = value.get("usage")
    if not isinstance(found, dict):
        inner = value.get("response")
        found = inner.get("usage") if isinstance(inner, dict) else None
    return _counts(found)


def tail(before: bytes, part: bytes) -> bytes:
    """Return the end of an answer that grew by `part`, as much of it as `usage_at_end` looks at."""
    return (part if len(part) >= _TAIL else before + part)[-_TAIL:]


def usage_at_end(content: bytes) -> tuple[int, int] | None:
    """Return (prompt, output) tokens of a JSON answer of which only the end was kept.

    Engines put `usage` behind what they generated; the text of an answer cannot be taken for it, because
    quotes inside of a JSON text are escaped.
    """
    begin = content.rfind(b'"usage":')
    if plain := _PLAIN.match(content, max(0, begin)):
        return int(plain[1]), int(plain[2])
    opened = content.find(b"{", begin) if begin >= 0 else -1
    end = opened
    while end >= 0:
        end = content.find(b"}", end) + 1
        if not end:
            return None
        if content.count(b"{", opened, end) == content.count(b"}", opened, end):
            try:
                return _counts(orjson.loads(content[opened:end]))
            except orjson.JSONDecodeError:
                return None
    return None


def _counts(found: object) -> tuple[int, int] | None:
    if not isinstance(found, dict):
        return None
    prompt = found.get("prompt_tokens", found.get("input_tokens"))
    output = found.get("completion_tokens", found.get("output_tokens", 0))
    if not isinstance(prompt, int) or not isinstance(output, int) or prompt < 0 or output < 0:
        return None
    return prompt, output
