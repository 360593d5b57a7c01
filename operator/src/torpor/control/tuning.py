"""How many tokens one step of a fleet's engines may take, and when that number moves.

The number is `decide.budget`'s: the largest that keeps a step within the objective of latency between tokens,
on what the table or the fleet's own steps say that a step costs. Here is decided whether it is given at all,
and when another one is worth it.

Not given: without an objective; against a flag of the user's; where the hardware is only guessed, because a
guess errs to the slow side and a budget that is too small makes every prompt slower; and to an engine that
would not start with it. Then vLLM's own default holds.

It moves only by more than `MOVES`, so that the ConfigMap is quiet while what was learned settles; what the
user changes (the objective, a flag, the model) counts at once. No pod is ever restarted for it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torpor.api.conditions import shortened
from torpor.api.engine_flags import flag_value, has_flag, whole_number
from torpor.api.status import EngineStatus
from torpor.api.types import InferenceService
from torpor.control.hardware import Engines, fleet_hardware
from torpor.decide.budget import UNKNOWN_MIX, prefill_budget
from torpor.decide.hardware import Hardware
from torpor.decide.known import Known
from torpor.decide.values import Unknown, measured
from torpor.decide.work import Mix, Objectives

MOVES = 0.15  # share by which a budget must differ from the one that holds
MOST = 1 << 20
TUNE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What engines are started with; None: their own default. message: why, without a full stop. step_ms: the
    longest step that the budget allows on a busy replica. hardware: the name of what it was worked out for.
    asked: what of it is the user's (revision and objective), as one text.
    """

    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    message: str = ""
    step_ms: float | None = None
    hardware: str = ""
    asked: str = ""


def tune(
    held: Tuning,
    service: InferenceService,
    revision: str,
    *,
    engines: Engines,
    hardware: Hardware | None,
    objectives: Objectives,
    mix: Mix | None,
) -> Tuning:
    """Return what engines are to be started with from now on. `held`: what holds.

    hardware: with what the fleet has learned, its sizes as the flags have them; None: unknown. mix: the mean
    request, None where none was seen.
    """
    name = hardware.name if hardware else ""
    asked = asked_of(revision, objectives)
    if why := _refused(service, revision, engines, objectives):
        return Tuning(message=why, hardware=name, asked=asked)
    if hardware is None or hardware.guessed:
        if held.asked == asked and held.max_num_batched_tokens:
            return held  # it was known once: what is learned anew does not take it back
        told = (
            f"what a step costs on {name} is only guessed" if hardware else "no engine has told its GPU yet"
        )
        return Tuning(
            message=f"{told}; the engine's own default holds until then", hardware=name, asked=asked
        )
    own = whole_number(service.spec.engine.args, "max-num-seqs")
    budget = prefill_budget(hardware, objectives, mix, own_seqs=own)
    tokens = budget.max_num_batched_tokens
    fresh = Tuning(tokens, budget.max_num_seqs, budget.reason, budget.step_ms, name, asked)
    if tokens and held.max_num_batched_tokens and held.asked == asked:
        near = abs(tokens - held.max_num_batched_tokens) <= MOVES * held.max_num_batched_tokens
        return held if near else fresh
    return fresh


def _refused(service: InferenceService, revision: str, engines: Engines, objectives: Objectives) -> str:
    """Why the fleet gets no budget whatever its hardware; "" where it may get one."""
    args = service.spec.engine.args
    if objectives.itl_ms is None:
        return "no inter-token latency objective is given, so the engine's default holds"
    if has_flag(args, "max-num-batched-tokens"):
        value = flag_value(args, "max-num-batched-tokens")
        return f"engine.args sets --max-num-batched-tokens={shortened(value or '', 32)}"
    if has_flag(args, "config"):
        return "engine.args has --config, and that file may set --max-num-batched-tokens"
    denied = (flag_value(args, "enable-chunked-prefill") or "").lower() in ("false", "0", "no")
    if denied or has_flag(args, "no-enable-chunked-prefill", "disable-chunked-prefill"):
        return "engine.args turns chunked prefill off, so that a step must take whole prompts"
    if engines.refused and engines.revision == revision:
        return "an engine of this revision did not start with a prefill budget; its own default holds"
    return ""


def asked_of(revision: str, objectives: Objectives) -> str:
    """Name what of a tuning is the user's."""
    return f"{revision} {objectives.itl_ms or 0:g} ms"


def to_dict(tuning: Tuning) -> dict[str, Any]:
    """Plain values for JSON; the launcher reads the first four. What was worked out for another revision says
    nothing about its engine.
    """
    return {
        "revision": tuning.asked.partition(" ")[0],
        "maxNumBatchedTokens": tuning.max_num_batched_tokens,
        "maxNumSeqs": tuning.max_num_seqs,
        "message": shortened(tuning.message, 400),
        "stepMilliseconds": None if tuning.step_ms is None else round(tuning.step_ms, 2),
        "hardware": shortened(tuning.hardware, 128),
        "asked": shortened(tuning.asked, 64),
    }


def from_dict(document: Mapping[str, Any]) -> Tuning | None:
    """Read what `to_dict` wrote; None for anything else."""
    tokens, seqs, step = (
        measured(document.get(key), low=1.0, high=MOST)
        for key in ("maxNumBatchedTokens", "maxNumSeqs", "stepMilliseconds")
    )
    texts = [document.get(key) for key in ("message", "hardware", "asked")]
    told = [text for text in texts if isinstance(text, str) and len(text) <= 512]
    if isinstance(tokens, Unknown) or len(told) != 3:
        return None
    return Tuning(
        int(tokens),
        None if isinstance(seqs, Unknown) else int(seqs),
        told[0],
        None if isinstance(step, Unknown) else step,
        *told[1:],
    )


@dataclass(slots=True)
class Tuner:
    """One fleet's hardware and tuning, worked out again when what they are made of changes, and the tuning
    once a minute besides, because what is learned moves slowly.
    """

    _made_for: tuple[InferenceService, Engines] | None = None
    _base: Hardware | None = None
    _at: float = -math.inf
    _learned: bool = False

    def hardware(self, service: InferenceService, engines: Engines) -> Hardware | None:
        """Return `hardware.fleet_hardware`."""
        made_for = self._made_for
        if made_for is None or made_for[0] is not service or made_for[1] != engines:
            self._made_for, self._base = (service, engines), fleet_hardware(service, engines)
            self._at = -math.inf
        return self._base

    def tune(
        self,
        held: Tuning,
        service: InferenceService,
        revision: str,
        engines: Engines,
        *,
        known: Known,
        objectives: Objectives,
        clock: float,
    ) -> Tuning:
        """Return `tune` with what the fleet has learned. `clock`: monotonic seconds."""
        base = self.hardware(service, engines)
        asked = asked_of(revision, objectives)
        if held.asked == asked and clock - self._at < TUNE_SECONDS:
            return held
        self._at = clock
        hardware, mix = base, None
        if base is not None:
            hardware = replace(base, kv_tokens=engines.kv_tokens or base.kv_tokens)
            learned = known.learned if known.learned and known.learned.revision == revision else None
            hardware = learned.hardware(hardware) if learned else hardware
            self._learned = learned is not None and learned.proven
            mix = known.traffic.mix(hardware, UNKNOWN_MIX.output)
        return tune(
            held, service, revision, engines=engines, hardware=hardware, objectives=objectives, mix=mix
        )

    def status(self, tuning: Tuning, ready: Iterable[Mapping[str, Any]]) -> EngineStatus:
        """Say what holds. `ready`: the stats lines of the ready replicas."""
        base, tokens = self._base, tuning.max_num_batched_tokens
        running = sum(
            isinstance(line.get("tuning"), Mapping)
            and line["tuning"].get("used") is True
            and line.get("maxNumBatchedTokens") == tokens
            for line in ready
        )
        return EngineStatus(
            hardware=shortened(base.name, 128) if base else None,
            hardware_source=_source(base, self._learned),
            max_num_batched_tokens=tokens,
            max_num_seqs=tuning.max_num_seqs,
            step_milliseconds=None if tuning.step_ms is None else f"{tuning.step_ms:.2f}",
            message=shortened(tuning.message, 400),
            tuned_replicas=running if tokens else None,
        )


def _source(base: Hardware | None, learned: bool) -> str:
    if base is None:
        return ""
    told = f"{base.source} (a guess)" if base.guessed else base.source
    return f"{told}; by now learned from its own steps" if learned else told
