"""The life of one request: arrive, perhaps wait, be sent to a pod, perhaps to another, be answered.

Callbacks, no task per request: the data path costs microseconds and a request that waits costs its own bytes.
The one rule behind all retries: a request may go to another pod as long as no data of an answer has reached
the client, at most once per incarnation of a pod, and never because time has passed. What the client has
received by then may be nothing, or a head and comments; in the second case a failure can only be an event. A
request under which several engines died is given up: it may be what kills them, and must not go round.

The client leaving ends everything at once, wherever the request is.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torpor.dispatch import ANONYMOUS

from torpor_gateway import accounts, answers
from torpor_gateway.answers import Refusal
from torpor_gateway.comments import Comments
from torpor_gateway.later import soon
from torpor_gateway.relay import Relay, StreamRelay, UnaryRelay, pass_whole
from torpor_gateway.request import RequestHead
from torpor_gateway.response import ResponseHead, ResponseReader
from torpor_gateway.surface import Operation
from torpor_gateway.tokens import usage, usage_at_end
from torpor_gateway.verdict import out_of_time

if TYPE_CHECKING:
    import asyncio

    from torpor_gateway.client import ClientConnection
    from torpor_gateway.endpoint import Endpoint
    from torpor_gateway.fleet import Fleet
    from torpor_gateway.gate import Lease
    from torpor_gateway.trail import Trail
    from torpor_gateway.upstream import UpstreamConnection

_GONE = "EngineGone"
_MAX_LOSSES = 3  # engines that may die under one request before it is thought to be the cause


class Exchange:
    """One request of one client. `over` once it has ended."""

    __slots__ = (
        "_comments",
        "_connecting",
        "_relay",
        "_time_up",
        "arrived",
        "body",
        "body_size",
        "client",
        "connection",
        "data_sent",
        "deadline",
        "endpoint",
        "events",
        "failure",
        "fleet",
        "head",
        "head_sent",
        "identity",
        "lane",
        "lease",
        "losses",
        "operation",
        "over",
        "slept",
        "stream",
        "ticket",
        "time_limit",
        "trail",
        "tried",
        "used",
        "waiting_since",
        "work_ahead",
        "work_size",
    )

    def __init__(
        self,
        client: "ClientConnection",
        fleet: "Fleet",
        operation: Operation,
        head: RequestHead,
        body: bytes,
        *,
        stream: bool,
    ) -> None:
        self.client, self.fleet, self.operation, self.head = client, fleet, operation, head
        self.body, self.body_size, self.stream = body, len(body), stream
        self.work_size = self.body_size if operation.works else 0  # bytes that stand for prompt tokens
        self.ticket = 0
        self.identity: tuple[int, ...] = ()  # of the prompt's beginning; empty: it has none
        self.work_ahead = 0  # tokens of ours that the pod has to compute before it answers
        self.tried: set[str] = set()
        self.arrived = self.waiting_since = fleet.loop.time()
        self.deadline = self.slept = 0.0
        self.trail: Trail | None = None  # where it is written down how this goes
        self.head_sent = self.data_sent = self.over = False
        self.events = self.losses = 0
        self.failure: str | None = None
        self.endpoint: Endpoint | None = None
        self.connection: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._relay: Relay | None = None
        self._comments: Comments | None = None
        self.lane = ANONYMOUS
        self.lease: Lease | None = None  # of its key's limits
        self.used: tuple[int, int] | None = None  # tokens of prompt and answer, once they are known
        self.time_limit: float | None = None  # seconds at engines
        self._time_up: asyncio.TimerHandle | None = None

    # --- waiting ---

    def wait(self, deadline: float, *, comments: bool, at_once: bool) -> None:
        """Stand in the fleet's line until `deadline` (the loop's clock); `comments` keep a stream alive."""
        self.deadline = deadline
        if comments or self.head_sent:
            if self._comments is None:
                self._comments = Comments(self)
            self._comments.begin(at_once=at_once)
        elif self._comments is not None:
            self._comments.end()

    def give_up(self, refusal: Refusal) -> None:
        """The limit passed."""
        if self.failure and refusal.code != self.failure:
            refusal = Refusal(
                503, _GONE, f"{refusal.message}; before that: {self.failure}", retry_after=refusal.retry_after
            )
        self.refuse(refusal)

    # --- to a pod ---

    def dispatch(self, endpoint: "Endpoint") -> None:
        """Send the request to a pod."""
        self.endpoint = endpoint
        endpoint.load_state.dispatched()
        self.work_ahead = self.fleet.learn(endpoint, self)
        self.fleet.in_flight += 1
        if self.trail is not None:
            self.trail.sent(self)
        if self.time_limit is not None and self._time_up is None:
            self._time_up = self.fleet.loop.call_later(self.time_limit, self._out_of_time)
        connection = endpoint.pool.take()
        if connection is not None:
            self._send(connection)
        else:
            self._connecting = endpoint.pool.connect(self)

    def connected(self, connection: "UpstreamConnection") -> None:
        """The pod is there."""
        self._connecting = None
        if self.over:
            connection.abort()
            return
        self._send(connection)

    def not_connected(self, error: str) -> None:
        """The pod is not there."""
        self._connecting = None
        self._pod_failed(f"{self._pod_name()}: {error}")

    def no_file(self) -> None:
        """This process has no file left for a connection."""
        self._connecting = None
        self.fleet.no_file(self)

    def _send(self, connection: "UpstreamConnection") -> None:
        assert self.endpoint is not None
        self.connection = connection
        self._relay = None
        head = self.head
        request = b"POST %b HTTP/1.1\r\nHost: %b\r\n%bx-request-id: %b\r\nContent-Length: %d\r\n\r\n" % (
            head.target,
            self.endpoint.name.encode(),
            head.forward,
            head.request_id,
            len(self.body),
        )
        connection.send(self, request, self.body)
        if self.client.stalled:
            connection.pause()

    def _pod_name(self) -> str:
        return self.endpoint.pod if self.endpoint else "the pod"

    # --- from a pod ---

    def upstream_data(self, connection: "UpstreamConnection", response: ResponseReader) -> None:
        """More of the answer is there."""
        if not response.headed:
            return
        relay = self._relay
        if relay is None:
            if response.streams:
                relay = StreamRelay(self, response)
            elif response.complete:
                pass_whole(self, response, b"".join(response.parts))
                return
            else:
                relay = UnaryRelay(self, response)
            self._relay = relay
        relay.feed()

    def upstream_whole(self, connection: "UpstreamConnection", head: ResponseHead, content: bytes) -> None:
        """The answer is there, in one piece, and is no stream."""
        pass_whole(self, head, content)

    def upstream_lost(self, connection: "UpstreamConnection", error: str) -> None:
        """The connection broke before the answer was complete."""
        self.connection = None
        endpoint = self.endpoint
        if connection.reused and connection.virgin and endpoint is not None and not endpoint.terminating:
            self.fleet.upstream_retries["reused_connection"] += 1
            self._connecting = endpoint.pool.connect(self)
            return
        self.losses += 1
        if self._relay is not None:
            self._relay.lost()
        self._pod_failed(f"{self._pod_name()}: {error}")

    def _pod_failed(self, error: str) -> None:
        """No answer from this pod: try another, or say so, depending on what the client has."""
        endpoint = self.endpoint
        if endpoint is not None:
            self.fleet.suspect(endpoint)
        if self.data_sent:
            self.break_off(error)
        else:
            self.retry("connection", error)

    def retry(self, kind: str, error: str) -> None:
        """Go back into the line, for another pod. Only before data has reached the client."""
        fleet = self.fleet
        fleet.upstream_retries[kind] += 1
        self.failure = error
        if self.trail is not None:
            self.trail.failed(self, kind)
        if self.endpoint is not None:
            self.tried.add(self.endpoint.identity)
        self.let_go()
        if self.over:
            return
        hopeless = not fleet.managed and not fleet.untried(self)
        if fleet.gone or hopeless or self.losses >= _MAX_LOSSES:
            self.refuse(
                Refusal(503, _GONE, f"no replica of {fleet.spec.key} answers: {error}", retry_after=soon(5))
            )
            return
        self.waiting_since = fleet.loop.time()
        fleet.submit(self)

    # --- to the client ---

    def begin(self, head: bytes, length: int | None = None) -> None:
        """Send a response's head, without its framing."""
        self.head_sent = True
        if self.lease is not None:
            head += self.lease.headers
        self.client.begin(head, length)

    def respond(self, head: bytes, content: bytes) -> None:
        """Send a whole response; `head` is without its framing."""
        self.head_sent = True
        if self.lease is not None:
            head += self.lease.headers
        self.client.respond(head, content)

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        self.client.write_body(data)

    def commit(self) -> None:
        """Data is about to reach the client: the request will not be sent again, and its body can go."""
        self.data_sent = True
        if self._comments is not None:
            self._comments.end()
        if self.trail is not None:
            self.trail.data(self)
        if self.endpoint is not None:
            self._prompt_through(self.endpoint)
        self.body = b""
        self.client.forget_body()

    def error_event(self, error: dict[str, Any], reason: str = "EngineError") -> None:
        """End a stream that has begun, in order, with an error event and no mark of success.

        `reason` goes into the metrics, where the engine's own words have no place.
        """
        self.write(answers.event(error, self.operation.shape))
        self._finish(200, reason, failed=True, keep=False)

    def break_off(self, error: str, cause: str | None = None) -> None:
        """End a stream whose engine is gone: an error event, and no proper end of the body.

        `cause` is for the metrics, where it is not the engine.
        """
        leaving = self.endpoint is not None and self.endpoint.leaving
        self.fleet.cuts[cause or ("drain" if leaving else "engine")] += 1
        if isinstance(self._relay, StreamRelay):
            message = f"the answer was cut short: {error}"
            self.write(answers.event(Refusal(502, _GONE, message).error, self.operation.shape))
        self._finish(200, _GONE, failed=True, keep=False, cut=True)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error of ours: a status where it can still be one, else an event."""
        if self.over:
            return
        if not (refusal.status == 404 and self.fleet.gone):
            self.fleet.refused += 1
        if self.head_sent:
            self.error_event(refusal.error, refusal.code)
            return
        if self.lease is not None:
            self.lease.state.refusals[refusal.code] += 1
            refusal = replace(refusal, headers=refusal.headers + self.lease.headers)
        self.client.refuse(refusal, self.operation.shape)
        self._finish(refusal.status, refusal.code, failed=False, keep=True, whole=True)

    def answered(
        self,
        status: int,
        content: bytes | None,
        prompt_output: tuple[int, int] | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """The engine's answer is complete and sent; `whole`: in one piece."""
        if status >= 400:
            self.used = (0, 0)
        elif content:
            self.used = accounts.count(self, usage_at_end(content) or usage(content))
        else:
            self.used = accounts.count(self, prompt_output)
        if self.endpoint is not None:
            self.endpoint.calibration.sent(self.work_size, self.events)
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.done()
        self._finish(status, "", failed=status >= 500, keep=True, whole=whole)

    def _out_of_time(self) -> None:
        """The engines took longer than the request may: say so, and stop them."""
        if self.over:
            return
        self.fleet.leave(self)
        refusal = out_of_time(self.fleet.spec, self.time_limit or 0.0)
        if self.data_sent and not isinstance(self._relay, StreamRelay):
            self._finish(200, refusal.code, failed=True, keep=False, cut=True)
        elif self.head_sent:
            self.error_event(refusal.error, refusal.code)
        else:
            self.refuse(refusal)

    def client_gone(self) -> None:
        """The client closed its connection: stop the engine, leave the line."""
        if self.over:
            return
        self.fleet.leave(self)
        self._finish(499, "ClientGone", failed=False, keep=False, whole=True)

    def _prompt_through(self, endpoint: "Endpoint") -> None:
        """The pod has computed the prompt, or will not."""
        endpoint.backlog.through(self.work_ahead)
        self.work_ahead = 0

    def let_go(self) -> None:
        """Give the pod back, closing the connection if the answer was not complete."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self.connection is not None:
            self.connection.abort()
            self.connection = None
        self._relay = None
        if self.endpoint is not None:
            if self.work_ahead:
                self._prompt_through(self.endpoint)
            self.endpoint.load_state.finished()
            self.endpoint = None
            self.fleet.released()

    def _finish(
        self, status: int, reason: str, *, failed: bool, keep: bool, cut: bool = False, whole: bool = False
    ) -> None:
        self.over = True
        if self.trail is not None:
            self.trail.ended(self, status, reason)
        self.failure = None
        if self._comments is not None:
            self._comments.end()
        if self._time_up is not None:
            self._time_up.cancel()
            self._time_up = None
        if self.lease is not None:
            reached = accounts.guess(self) if self.endpoint is not None else (0, 0)
            self.lease.end(*(reached if self.used is None else self.used))
        self.fleet.answers[status, reason] += 1
        if failed:
            self.fleet.failed += 1
        self.let_go()
        self.body = b""
        if cut:
            self.client.cut()
        elif not whole:
            self.client.end(keep=keep)
        else:
            self.client.over(keep=keep)
