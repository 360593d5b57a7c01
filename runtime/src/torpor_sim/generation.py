"""One generation request from admission to its last byte.

A request has one slot per prompt. Tokens arrive from the engine, a step at a time; a stream writes each as an
event, or several as one when its client reads slowly (as vLLM merges outputs for a consumer that lags), a
whole answer is written at the end. Admission is checked twice, as in vLLM: once before the status line, and
again a moment later when the request enters the engine, which is why a burst sees 200 and then an error
event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torpor.simulate.kv_cache import hash_blocks
from torpor.simulate.sequences import Sequence, State

from torpor_sim import bodies, wire
from torpor_sim.errors import ApiError
from torpor_sim.text import tokenize

if TYPE_CHECKING:
    import asyncio

    from torpor_sim.answers import Plan, Writer
    from torpor_sim.engine import Engine
    from torpor_sim.http import Exchange
    from torpor_sim.requests import Ask
    from torpor_sim.settings import Settings

# From the status line to the engine: tokenizing and the hop to vLLM's engine process.
HANDOVER_SECONDS = 0.002
MAX_HASHED_TOKENS = 65_536


class Host(Protocol):
    """What a generation needs of the application."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    settings: Settings
    writer: Writer

    def admit(self, count: int) -> None:
        """Raise ApiError when the queue limits refuse that many more requests."""

    def ended(self, generation: Generation) -> None:
        """The generation is over, whatever the reason."""


@dataclass(slots=True)
class RequestFaults:
    """The faults that strike one request. Counts in tokens, times in seconds; None: does not strike."""

    cut_after: int | None = None
    delay: float = 0.0


class Slot:
    """One prompt of a request; the listener of its sequence."""

    __slots__ = ("_owner", "index", "max_tokens", "plan", "sent", "sequence")

    def __init__(
        self, owner: Generation, index: int, plan: Plan, sequence: Sequence, max_tokens: int
    ) -> None:
        self._owner = owner
        self.index = index
        self.plan = plan
        self.sequence = sequence
        self.max_tokens = max_tokens
        self.sent = 0

    def on_token(self, sequence: Sequence) -> None:
        """The engine has a token for this slot."""
        self._owner.on_token(self, sequence)


class Generation:
    """A chat or completion request under way."""

    def __init__(
        self, host: Host, exchange: Exchange, ask: Ask, origin: wire.Origin, faults: RequestFaults
    ) -> None:
        self.exchange = exchange
        self._host = host
        self._ask = ask
        self._origin = origin
        self._faults = faults
        self._shape = wire.StreamShape(origin, chat=ask.chat)
        self._timer: asyncio.TimerHandle | None = None
        self._comments: asyncio.TimerHandle | None = None
        self._over = False
        self.slots = [self._slot(index, prompt) for index, prompt in enumerate(ask.prompts)]

    def _slot(self, index: int, prompt: list[bytes]) -> Slot:
        plan = self._host.writer.plan(self._ask, prompt)
        model = self._host.engine.model
        hashes: list[int] = []
        if model.kv.prefix_caching:
            answer = tokenize(plan.span(0, min(plan.length, MAX_HASHED_TOKENS)))
            hashes = hash_blocks(prompt + answer, model.limits.block_size)
        limit = plan.length if self._ask.max_tokens is None else self._ask.max_tokens
        sequence = Sequence(len(prompt), plan.length, self._host.engine.now(), hashes, plan.reason)
        sequence.tag = slot = Slot(self, index, plan, sequence, limit)
        return slot

    @property
    def usage(self) -> wire.Usage:
        """Tokens so far."""
        return wire.Usage(
            sum(slot.sequence.prompt_tokens for slot in self.slots),
            sum(slot.sequence.generated for slot in self.slots),
        )

    def start(self) -> None:
        """Send the head of a stream and hand over to the engine. ApiError when the queue is full already."""
        self._host.admit(len(self.slots))
        self.exchange.on_gone = self.abandon
        self.exchange.on_writable = self._flush
        if self._ask.stream:
            self.exchange.start_stream()
            self._arm_comments()
        self._timer = self._host.loop.call_later(HANDOVER_SECONDS + self._faults.delay, self._enter)

    def on_token(self, slot: Slot, sequence: Sequence) -> None:
        """Deliver what there is of a slot, and end when all slots have."""
        if self._over:
            return
        if self._faults.cut_after is not None and sequence.generated >= self._faults.cut_after:
            self._deliver(slot, finished=False)
            self.exchange.cut()
            self.abandon()
            return
        finished = sequence.state is State.FINISHED
        if self._ask.stream and (finished or self.exchange.writable):
            self._deliver(slot, finished=finished)
        if finished and all(other.sequence.state is State.FINISHED for other in self.slots):
            self._complete()

    def abandon(self) -> None:
        """The client has gone: free the slots of the batch."""
        for slot in self.slots:
            if slot.sequence.state is not State.FINISHED and self._timer is None:
                self._host.engine.abort(slot.sequence)
        self._close()

    def interrupt(self) -> None:
        """The engine stops without draining: running streams end with "abort", queued ones without a word."""
        if self._over:
            return
        self.abandon()
        if not self._ask.stream:
            self._respond(
                [(slot.plan.span(0, slot.sequence.generated), "abort", None) for slot in self.slots]
            )
            return
        for slot in self.slots:
            if slot.sequence.generated:
                self.exchange.send(self._shape.last(slot.index, "", "abort", None, usage=b"", sign=True))
        self.exchange.send(wire.DONE)
        self.exchange.end_stream()

    def _enter(self) -> None:
        self._timer = None
        try:
            self._host.admit(len(self.slots))
        except ApiError as refusal:
            self._fail(refusal)
            return
        for slot in self.slots:
            slot.sequence.arrived = self._host.engine.now()
            self._host.engine.submit(slot.sequence)

    def _fail(self, error: ApiError) -> None:
        if self._ask.stream:
            self.exchange.send(error.event)
            self.exchange.send(wire.DONE)
            self.exchange.end_stream()
        else:
            self.exchange.respond(error.status, error.body)
        self._close()

    def _deliver(self, slot: Slot, *, finished: bool) -> None:
        if not self._ask.stream:
            return
        sequence, shape = slot.sequence, self._shape
        usage = b""
        if slot.sent == 0:
            if self._ask.continuous_usage:
                usage = shape.running_usage(wire.Usage(sequence.prompt_tokens, 0))
            if slot.index == 0:
                self.exchange.send(shape.role(usage))
        behind = sequence.generated - slot.sent
        text = slot.plan.text(slot.sent) if behind == 1 else slot.plan.span(slot.sent, sequence.generated)
        slot.sent = sequence.generated
        if self._ask.continuous_usage:
            usage = shape.running_usage(wire.Usage(sequence.prompt_tokens, sequence.generated))
        if finished:
            sign = not self._ask.include_usage
            plan = slot.plan
            self.exchange.send(shape.last(slot.index, text, plan.reason, plan.stop, usage=usage, sign=sign))
        else:
            self.exchange.send(shape.token(slot.index, text, usage))
        self._arm_comments()

    def _flush(self) -> None:
        for slot in self.slots:
            if slot.sent < slot.sequence.generated and slot.sequence.state is State.RUNNING:
                self._deliver(slot, finished=False)

    def _complete(self) -> None:
        if self._ask.stream:
            if self._ask.include_usage:
                self.exchange.send(self._shape.usage(self.usage))
            self.exchange.send(wire.DONE)
            self.exchange.end_stream()
        else:
            self._respond(
                [
                    (s.plan.span(0, s.sequence.generated), s.sequence.finish_reason, s.plan.stop)
                    for s in self.slots
                ]
            )
        self._close()

    def _respond(self, answers: list[tuple[str, str, str | None]]) -> None:
        if self._ask.chat:
            body = bodies.chat_answer(self._origin, *answers[0], self.usage)
        else:
            body = bodies.completion_answer(self._origin, answers, self.usage)
        self.exchange.respond(200, body)

    def _arm_comments(self) -> None:
        interval = self._host.settings.keep_alive_comments
        if interval > 0:
            self._cancel(self._comments)
            self._comments = self._host.loop.call_later(interval, self._comment)

    def _comment(self) -> None:
        self.exchange.send(wire.KEEP_ALIVE)
        self._arm_comments()

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._cancel(self._timer)
            self._cancel(self._comments)
            self._host.ended(self)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
