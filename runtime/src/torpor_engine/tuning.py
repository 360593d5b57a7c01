"""What the operator wants the engine to start with, beside the user's own flags.

How many tokens one step may take decides whether a long prompt makes everybody else wait, and the right
number follows from the fleet's latency objective and from what its steps were measured to cost. It changes
while the fleet lives and must never restart a pod, so it is no part of the pod: the operator keeps it in a
ConfigMap, and the launcher reads that file once, when it starts an engine.

It is advice. The user's flags win; a file that is missing, damaged, another fleet's or another revision's
(nothing waits for the ConfigMap, and the write for a new revision may have failed) changes nothing; and an
engine that did not come up with it is started without it the next time, because vLLM knows reasons to refuse
a small budget (a model that cannot cut its prompts, a picture that is larger) which nobody else knows. What
was used, and why, stands in the log and on the stats stream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torpor_engine.flags import flag_value, key_of, whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT_VERSION = 1
MOST_BYTES = 64 << 10
MOST_TOKENS = 1 << 20
MARK = "torpor-engine-tuned"  # in the pod's temporary volume while an engine with the advice is coming up
# vLLM refuses a budget below the model's length where a prompt may not be cut.
WHOLE_PROMPTS = ("--no-enable-chunked-prefill", "--disable-chunked-prefill")  # the second since 0.33


@dataclass(frozen=True)
class Tuning:
    """The advice: tokens of one step and sequences at once, None for none. `told` is the operator's reason,
    or why there is no advice.
    """

    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    told: str = "the fleet's ConfigMap has none"
    refused: bool = False  # an engine in this pod did not come up with it

    @property
    def used(self) -> bool:
        """Whether the engine is started with it."""
        return self.max_num_batched_tokens is not None


def advice(path: str, uid: str, revision: str, args: Sequence[str], folder: str) -> Tuning:
    """What to start an engine of this `revision` of the fleet `uid` with: the file at `path` as far as the
    user's flags `args` leave it room, unless a start with it failed before in this pod, which `folder`
    remembers.

    Raises LaunchError(InvalidEngineArgs) where --max-num-seqs is no number.
    """
    tuning = usable(read_tuning(path, uid, revision), args)
    return fitted(not_twice(tuning, folder), whole_number(args, "--max-num-seqs"))


def read_tuning(path: str, uid: str, revision: str) -> Tuning:
    """The advice in the file for this `revision` of the fleet `uid`; one without numbers where there is none,
    and why. A file that names no revision is of an operator that did not write it yet, and is believed.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return Tuning()
    except OSError as error:
        return Tuning(told=f"{path} cannot be read: {error.strerror or error}")
    if len(text) > MOST_BYTES:
        return Tuning(told=f"{path} has more than {MOST_BYTES} bytes")
    try:
        document = json.loads(text)
        found, told = document["fleetUid"], str(document.get("message", ""))[:500]
        tokens, seqs = (_number(document.get(key), key) for key in ("maxNumBatchedTokens", "maxNumSeqs"))
        version, written_for = document["v"], document.get("revision", revision)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Tuning(told=f"{path} is damaged: {type(error).__name__}: {error}"[:200])
    if version != FORMAT_VERSION:
        return Tuning(told=f"{path} has format {version!r:.20}, this launcher reads {FORMAT_VERSION}")
    if found != uid:
        return Tuning(told=f"{path} is of another fleet of this name")
    if written_for != revision:
        return Tuning(told=f"{path} is of revision {written_for!r:.40}, and this is {revision}")
    return Tuning(tokens, seqs, told)


def _number(value: object, key: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_TOKENS:
        raise ValueError(f"{key}={value!r} is not a whole number from 1 to {MOST_TOKENS}")
    return value


def usable(tuning: Tuning, args: Sequence[str]) -> Tuning:
    """The advice as far as the user's flags leave it room; without tokens there is none."""
    if tuning.max_num_batched_tokens is None:
        return tuning
    why = None
    keys = [key_of(arg) for arg in args if arg.startswith("--")]
    # The parser takes unambiguous beginnings of a flag, and no other flag begins like this one.
    if any(key.startswith("--max-num-b") for key in keys):
        why = "engine.args sets --max-num-batched-tokens"
    elif "--config" in keys:
        why = "engine.args has --config, and that file may set --max-num-batched-tokens"
    elif any(key in WHOLE_PROMPTS for key in keys) or _denied(flag_value(args, "--enable-chunked-prefill")):
        why = "engine.args turns chunked prefill off"
    return tuning if why is None else Tuning(told=why)


def _denied(value: str | None) -> bool:
    return value is not None and value.lower() in ("false", "0", "no")


def not_twice(tuning: Tuning, folder: str) -> Tuning:
    """The advice, or none where an engine started with it before in this pod and never became ready.

    Leaves a mark in `folder`, which `came_up` takes away.
    """
    if tuning.max_num_batched_tokens is None:
        return tuning
    mark = Path(folder) / MARK
    try:
        if mark.exists():
            return Tuning(
                told=f"the engine did not come up with --max-num-batched-tokens="
                f"{tuning.max_num_batched_tokens}, so it is started without",
                refused=True,
            )
        mark.touch()
    except OSError:
        return tuning
    return tuning


def came_up(folder: str) -> None:
    """The engine is ready with the advice: take the mark away. (Ready without it, the mark says why.)"""
    try:
        (Path(folder) / MARK).unlink()
    except OSError:
        return


def fitted(tuning: Tuning, asked_seqs: int | None) -> Tuning:
    """The advice with a budget of at least the sequences that the user asks for: vLLM refuses less."""
    tokens = tuning.max_num_batched_tokens
    if tokens is None or asked_seqs is None or asked_seqs <= tokens:
        return tuning
    return replace(
        tuning,
        max_num_batched_tokens=asked_seqs,
        told=f"raised from {tokens} to engine.args' --max-num-seqs, below which vLLM refuses it",
    )
