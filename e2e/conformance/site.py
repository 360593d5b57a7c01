"""Where the checks are run: a gateway process with keys and fleets in the states that clients meet.

| fleet | what is behind it |
| --- | --- |
| `llm` | the engine under test |
| `replayed` | the engine for what the simulated one lacks: a tape, or the same vLLM |
| `bounded` | the engine under test, with ceilings |
| `waking` | nobody, until `wake()`; then what is behind `replayed` |
| `asleep`, `asleep-…` | nobody; it refuses at once. Retry-After shrinks from the first refusal on |
| `held` | nobody; it holds for a moment |
| `dying` | a tape, whose connections close when told |
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from e2e.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import anthropic
    import openai

SERVED = ("llm", "replayed", "bounded", "waking")  # the names that an engine under test has to serve
KEY, SINGLE_KEY = "sk-conformance-every-0001", "sk-conformance-single-0002"
SINGLE_REFUSED = r'torpor_gateway_key_refusals_total\{key="single",reason="concurrentRequests"\}'
ASLEEP = ("asleep", "asleep-openai", "asleep-anthropic")
MAX_BODY = 1_000_000
OUTPUT_CEILING = 64
LONG = 1500  # tokens of an answer that nobody waits for, in the context that a small machine has room for
SECONDS = 120.0  # for anything that is waited for: a bound for hangs


class Work(NamedTuple):
    """Requests at an engine: how many run, and how many have come to their own end so far."""

    running: int
    finished: int


@dataclass
class Site:
    """A running gateway. `work` and `replayed_work` look at the engines behind `llm` and `replayed`."""

    port: int
    admin: int
    file: Path
    process: subprocess.Popen[bytes]
    endpoints: dict[str, str]
    work: Callable[[], Work]
    replayed_work: Callable[[], Work]
    log: Path
    long: int = LONG  # tokens that take the engine longer than any test runs, where it has no other bound
    _awake: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The gateway's base URL."""
        return f"http://127.0.0.1:{self.port}"

    # --- clients: of each library the synchronous and the asynchronous one ---

    def openai(self, **more: Any) -> openai.OpenAI:
        """A client that does not retry, unless told."""
        import openai  # noqa: PLC0415 - seconds of a processor, for every process that collects the tests

        http = openai.DefaultHttpxClient(trust_env=False, verify=False)
        return openai.OpenAI(**self._arguments(f"{self.address}/v1", more), http_client=http)

    def openai_async(self, **more: Any) -> openai.AsyncOpenAI:
        """The same, asynchronous."""
        import openai  # noqa: PLC0415

        http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=False)
        return openai.AsyncOpenAI(**self._arguments(f"{self.address}/v1", more), http_client=http)

    def anthropic(self, **more: Any) -> anthropic.Anthropic:
        """A client that does not retry, unless told."""
        import anthropic  # noqa: PLC0415

        http = anthropic.DefaultHttpxClient(trust_env=False, verify=False)
        return anthropic.Anthropic(**self._arguments(self.address, more), http_client=http)

    def anthropic_async(self, **more: Any) -> anthropic.AsyncAnthropic:
        """The same, asynchronous."""
        import anthropic  # noqa: PLC0415

        http = anthropic.DefaultAsyncHttpxClient(trust_env=False, verify=False)
        return anthropic.AsyncAnthropic(**self._arguments(self.address, more), http_client=http)

    def _arguments(self, base: str, more: dict[str, Any]) -> dict[str, Any]:
        return {"base_url": base, "api_key": KEY, "max_retries": 0, "timeout": SECONDS} | more

    # --- the gateway ---

    def metric(self, pattern: str) -> float:
        """The sum of the gateway's samples whose name and labels match."""
        found = re.findall(rf"^{pattern} (\S+)$", get(f"http://127.0.0.1:{self.admin}/metrics"), re.MULTILINE)
        return sum(map(float, found))

    def wake(self) -> None:
        """Give the fleet `waking` its engine."""
        self._awake = [self.endpoints["replayed"]]
        self.write()

    def sleep(self) -> None:
        """Take it away again."""
        self._awake = []
        self.write()

    def write(self, *, tell: bool = True) -> None:
        """Write the fleets, and wait until the gateway has read them."""
        before = self.log.read_text().count("read again")
        self.file.write_text(json.dumps({"fleets": self._fleets()}))
        if tell:
            self.process.send_signal(signal.SIGHUP)
            until("the gateway reads its file", lambda: self.log.read_text().count("read again") > before)

    def _fleets(self) -> list[dict[str, Any]]:
        any_time = {"timeoutSeconds": {"maximum": 3600}}
        return [
            {"name": "llm", "endpoints": [self.endpoints["llm"]], **any_time},
            {"name": "replayed", "endpoints": [self.endpoints["replayed"]], **any_time},
            {
                "name": "bounded",
                "endpoints": [self.endpoints["llm"]],
                "maxOutputTokens": {"maximum": OUTPUT_CEILING},
            },
            {"name": "waking", "endpoints": self._awake},
            *({"name": name, "coldStart": {"response": "Reject"}} for name in ASLEEP),
            {"name": "held", "coldStart": {"holdSeconds": 0.3, "unaryHoldSeconds": 0.3}},
            {"name": "dying", "endpoints": [self.endpoints["dying"]]},
        ]


def get(url: str) -> str:
    """The text at `url`, asked without a proxy. Raises OSError, also for a status that is an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=SECONDS) as answer:
        return str(answer.read().decode())


def engine_work(address: str) -> Work:
    """Look at an engine, `http://HOST:PORT`, through its metrics."""
    text = get(f"{address}/metrics")

    def total(pattern: str) -> int:
        return int(sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE)))

    running = total(r"vllm:num_requests_(?:running|waiting)\{[^}]*\}")
    # One whose client left counts as "abort" at vLLM, at the simulated engine not at all.
    ended = r'vllm:request_success_total\{[^}]*finished_reason="(?:stop|length)"[^}]*\}'
    return Work(running, total(ended))


@contextlib.contextmanager
def running(
    folder: Path,
    endpoints: dict[str, str],
    work: Callable[[], Work],
    replayed_work: Callable[[], Work],
    admin: int,
) -> Iterator[Site]:
    """Run a gateway in `folder`.

    endpoints: HOST:PORT of the engines `llm`, `replayed` and `dying`. admin: a free port for its metrics.
    """
    file, keys, log = folder / "fleets.json", folder / "keys.json", folder / "gateway.log"
    entries = {"every": KEY, "single": {"key": SINGLE_KEY, "concurrentRequests": 1}}
    keys.write_text(json.dumps({"keys": entries}))
    site = Site(0, admin, file, None, endpoints, work, replayed_work, log)  # type: ignore[arg-type]
    log.touch()
    site.write(tell=False)
    command = [sys.executable, "-m", "torpor_gateway", "--static", str(file), "--listen", "127.0.0.1:0"]
    command += ["--admin", f"127.0.0.1:{admin}", "--api-keys", str(keys), "--max-body-bytes", str(MAX_BODY)]
    command += ["--comment-seconds", "0.1"]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:

        def listening() -> re.Match[str] | None:
            told = log.read_text()
            assert process.poll() is None, told
            return re.search(r"listening on 127\.0\.0\.1:(\d+)", told)

        try:
            site.process = process
            site.port = int(until("the gateway listens", listening, seconds=SECONDS)[1])
            yield site
        finally:
            process.kill()
