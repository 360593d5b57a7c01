"""How many tokens went by, when the answer does not say.

An answer with `usage` is exact. For the rest, a request's bytes and a stream's data events are multiplied by
two ratios of the fleet: tokens per prompt byte, tokens per event. The ratios start at what English text gives
and are corrected by every answer that has `usage`, and by the launchers' token counters: between two reports
in which a pod was idle, all its tokens came from the requests in between, and where this process saw each of
them (the pod never reported more requests than this process had there) the quotient is exact. Options are
never put into a client's request to get at the numbers.
"""

from dataclasses import dataclass, field

import orjson

_WEIGHT = 0.2  # of one observation in the moving average
_PROMPT_RANGE = (0.01, 2.0)
_OUTPUT_RANGE = (0.1, 50.0)


@dataclass(slots=True)
class Ratios:
    """Tokens per byte of request body, and tokens per data event of a stream."""

    prompt_per_byte: float = 0.25
    output_per_event: float = 1.0

    def learn_prompt(self, tokens: int, size: int) -> None:
        """Correct the prompt ratio by one exact observation."""
        if size > 0 and tokens > 0:
            self.prompt_per_byte += _WEIGHT * (_clamp(tokens / size, _PROMPT_RANGE) - self.prompt_per_byte)

    def learn_output(self, tokens: int, events: int) -> None:
        """Correct the output ratio by one exact observation."""
        if events > 0 and tokens > 0:
            self.output_per_event += _WEIGHT * (
                _clamp(tokens / events, _OUTPUT_RANGE) - self.output_per_event
            )


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


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
    if not isinstance(found, dict):
        return None
    prompt = found.get("prompt_tokens", found.get("input_tokens"))
    output = found.get("completion_tokens", found.get("output_tokens", 0))
    if not isinstance(prompt, int) or not isinstance(output, int) or prompt < 0 or output < 0:
        return None
    return prompt, output
