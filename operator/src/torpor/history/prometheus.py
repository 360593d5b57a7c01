"""The one module of `history` with a network: PromQL over HTTP, through prometheus-api-client.

The library waits without end unless told otherwise, repeats a failed request three times, and its timeout is
one between two bytes, so that a server which sends one every second is never late. So every question gets a
time after which nobody waits for its answer any more, whatever the server does meanwhile, and none is
repeated: whoever backtests stands before the terminal. What goes wrong becomes one sentence that names the
server, what it did and what to try. Warnings that come with an answer (Thanos and Cortex say so where a part
of the stores was silent) are kept in `notes`, because half a history looks like a quiet week.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from torpor.history.source import HistoryError, Series

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_SECONDS = 10.0
MOST_TOLD = 200  # characters of a server's own words
_WARNINGS = re.compile(rb'"(?:warnings|infos)"\s*:\s*(\[(?:[^\]\\]|\\.)*\])')
_TAIL = 4096  # bytes at an answer's end and beginning in which warnings stand


class Prometheus:
    """A server that speaks Prometheus' HTTP API. seconds: the longest wait for one answer. token: sent as
    bearer.
    """

    def __init__(self, url: str, *, seconds: float = 60.0, token: str | None = None) -> None:
        if not re.match(r"https?://[^/\s]+", url):
            raise HistoryError(
                f"--prometheus {url[:80]!r}: must be an address like http://prometheus.monitoring:9090"
            )
        self.url = url.rstrip("/")
        self.seconds = seconds
        self.notes: list[str] = []
        self._shown = re.sub(r"//[^/@]*@", "//", self.url)  # without a password
        session = requests.Session()
        session.hooks["response"].append(self._look_for_warnings)
        self._client = PrometheusConnect(
            self.url,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            retry=Retry(0, read=False),  # a silence is told as one, not as retries that are used up
            session=session,
            timeout=(min(CONNECT_SECONDS, seconds), seconds),
        )

    def instant(self, query: str, at: float) -> list[Series]:
        """See `Source`."""
        params = {"time": f"{at:.3f}", "timeout": f"{self.seconds:.0f}s"}
        return self._asked(lambda: self._client.custom_query(query, params=params), query)

    def steps(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """See `Source`."""
        # The library takes datetimes and rounds them to whole seconds; `params` come last there, and win.
        times = [datetime.fromtimestamp(at, UTC) for at in (start, end)]
        params = {"start": f"{start:.3f}", "end": f"{end:.3f}", "timeout": f"{self.seconds:.0f}s"}
        return self._asked(
            lambda: self._client.custom_query_range(query, *times, f"{step:g}", params=params), query
        )

    def _asked(self, question: Callable[[], Any], query: str) -> list[Series]:
        box: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A thread that waits for a socket cannot be stopped, only left: as a daemon it holds nobody up.
        threading.Thread(target=lambda: box.put(_outcome(question)), daemon=True).start()
        try:
            found = box.get(timeout=self.seconds)
        except queue.Empty:
            raise HistoryError(
                f"{self._shown} took the question and gave no whole answer within {self.seconds:g} s; "
                "ask for less with --since, or give it longer with --timeout"
            ) from None
        if isinstance(found, Exception):
            raise self._sentence(found, query) from None
        try:
            return [_series(one) for one in found]
        except (KeyError, TypeError, ValueError):
            raise HistoryError(
                f"{self._shown} answered {json.dumps(found)[:MOST_TOLD]!r}: that is no list of series; is "
                "this a Prometheus?"
            ) from None

    def _sentence(self, error: Exception, query: str) -> HistoryError:
        where = self._shown
        if isinstance(error, PrometheusApiClientException):
            status, told = _status(str(error))
            if status in ("401", "403"):
                return HistoryError(
                    f"{where} refuses ({status}); give a token with --token-file, or an address "
                    "that needs none"
                )
            if status == "404":
                return HistoryError(f"{where} has no /api/v1/query; is this the address of a Prometheus?")
            if "too many samples" in told or "timed out" in told:
                return HistoryError(f"{where} gives up ({told}); ask for less with --since")
            return HistoryError(f"{where} answered {status}: {told}; the question was {query[:MOST_TOLD]}")
        if isinstance(error, requests.Timeout):
            return HistoryError(
                f"{where} did not answer within {self.seconds:g} s; is it overloaded, or is it a "
                "Prometheus at "
                "all? --timeout waits longer"
            )
        if isinstance(error, requests.exceptions.JSONDecodeError | KeyError | TypeError | ValueError):
            return HistoryError(f"{where} answered something that is no Prometheus' JSON, or half of it")
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return HistoryError(f"{where} broke off in the middle of its answer; try again")
        if isinstance(error, requests.ConnectionError):
            return HistoryError(
                f"{where} cannot be reached; is it up, and is a port forwarded to it "
                "(kubectl port-forward -n monitoring service/prometheus 9090)?"
            )
        return HistoryError(f"{where}: {' '.join(str(error).split())[:MOST_TOLD]}")

    def _look_for_warnings(self, response: requests.Response, **_: Any) -> None:
        body = response.content
        for part in {body[:_TAIL], body[-_TAIL:]}:
            for found in _WARNINGS.findall(part):
                try:
                    told = json.loads(found)
                except ValueError:
                    continue
                self.notes += [str(one)[:MOST_TOLD] for one in told if str(one)[:MOST_TOLD] not in self.notes]


def _outcome(question: Callable[[], Any]) -> Any:
    """The answer, or what was raised: a thread has nobody to raise to."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001, RUF100 - told by `_sentence`, whatever it is
        return error


def _status(text: str) -> tuple[str, str]:
    """Status and the server's words out of the library's "HTTP Status Code 422 (b'...')"."""
    found = re.match(r"HTTP Status Code (\d+) \(b['\"](.*)['\"]\)\Z", text, re.DOTALL)
    if not found:
        return "an error", text[:MOST_TOLD]
    body = found[2].encode().decode("unicode_escape", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        body = str(json.loads(body)["error"])
    return found[1], " ".join(body.split())[:MOST_TOLD]


def _series(one: dict[str, Any]) -> Series:
    pairs = one["values"] if "values" in one else [one["value"]]
    times = np.array([pair[0] for pair in pairs], np.float64)
    values = np.array([pair[1] for pair in pairs]).astype(np.float64)
    return Series({str(key): str(value) for key, value in one["metric"].items()}, times, values)
