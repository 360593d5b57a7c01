"""What a fleet's ConfigMap holds, read with distrust and written seldom.

Three texts: the decisions' memory, what the engines last said, and what they are to be started with. A new
leader begins with them. Each carries the uid of its fleet: a namesake's, a copy out of a backup and a text
that somebody edited are worth nothing, and then the leader begins with the careful empty memory.

The two small texts change with an engine or an objective and are written at once. The memory changes with
every look, so it is written when it has changed in a way that matters (`differs`), at most every
`SAVE_SECONDS`, at another moment for each fleet, and when the leader ends in order. Losing a few minutes of
it is cheap: what is learned is learned again. A write that fails is tried again with growing pauses, and
nothing ever waits for it.
"""

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from torpor.api import constants
from torpor.api.conditions import timestamp
from torpor.cluster.resources import Object
from torpor.control import tuning as tunings
from torpor.control.hardware import Engines
from torpor.control.tuning import Tuning
from torpor.decide import Memory
from torpor.decide.values import Unknown, measured

VERSION = 1
SAVE_SECONDS = 300.0
MOST_BYTES = 128 << 10  # of the memory as text; etcd takes 1 MiB, a fleet's memory is a tenth of this
MATTERS = 0.05  # relative change of a number
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 900.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Keeping:
    """One fleet's ConfigMap as it should be. `memory_text`: as last written or found ("": none); `saved`: the
    memory in it. `look_at`: when the memory is compared next, monotonic seconds.
    """

    uid: str
    tuning: Tuning = field(default_factory=Tuning)
    engines: Engines = field(default_factory=Engines)
    memory_text: str = ""
    saved: object = None
    saved_time: str = ""
    look_at: float = 0.0
    failures: int = 0
    again_at: float = 0.0

    @classmethod
    def of(cls, uid: str, config: Object | None, clock: float) -> "Keeping":
        """Begin with a live ConfigMap (None: there is none)."""
        spread = zlib.crc32(uid.encode()) % 1000 / 1000  # a new leader does not save all fleets at once
        keeping = cls(uid, saved=Memory().dump(), look_at=clock + SAVE_SECONDS * (0.2 + 0.8 * spread))
        data = (config or {}).get("data")
        texts: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if document := _read(texts, constants.KEY_TUNING, uid):
            keeping.tuning = tunings.from_dict(document) or Tuning()
        if document := _read(texts, constants.KEY_ENGINES, uid):
            keeping.engines = _engines(document)
        if document := _read(texts, constants.KEY_MEMORY, uid):
            keeping.memory_text, keeping.saved = texts[constants.KEY_MEMORY], document.get("memory")
            keeping.saved_time = str(document.get("savedTime"))[:40]
        return keeping

    def memory(self) -> Memory:
        """Return the memory that was found; the empty one where there was none that can be read."""
        if not self.memory_text:
            return Memory()
        log.info("fleet %s: going on with what was learned until %s", self.uid, self.saved_time or "?")
        return Memory.load(self.saved)

    def data(self) -> dict[str, str]:
        """Return the texts of the ConfigMap by key; empty where there is nothing to keep."""
        texts = {}
        if self.tuning.max_num_batched_tokens:
            texts[constants.KEY_TUNING] = self._text(tunings.to_dict(self.tuning))
        if self.engines != Engines():
            texts[constants.KEY_ENGINES] = self._text(asdict(self.engines))
        if self.memory_text:
            texts[constants.KEY_MEMORY] = self.memory_text
        return texts

    def looked(self, memory: Memory, clock: float, now: datetime) -> None:
        """Take a look's memory over where that is due."""
        if clock >= self.look_at:
            self.save(memory, clock, now)

    def save(self, memory: Memory, clock: float, now: datetime) -> bool:
        """Take the memory over if it differs from what was saved in a way that matters; whether it did."""
        self.look_at = clock + SAVE_SECONDS
        document = memory.dump()
        if not differs(self.saved, document):
            return False
        try:
            text = self._text({"savedTime": timestamp(now), "memory": document})
        except ValueError as error:
            log.error("the memory of fleet %s is no JSON: %s", self.uid, error)
            return False
        if len(text) > MOST_BYTES:
            log.error("the memory of fleet %s has %d bytes, more than %d", self.uid, len(text), MOST_BYTES)
            return False
        self.memory_text, self.saved = text, json.loads(text)["memory"]
        return True

    def written(self, clock: float) -> None:
        """The look went well; where no pause was under way, the ConfigMap is as it should be."""
        if clock >= self.again_at:
            self.failures, self.again_at = 0, 0.0

    def failed(self, clock: float) -> float:
        """The write failed: no other before `again_at`. Returns the pause in seconds."""
        pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.failures)
        self.failures += 1
        self.again_at = clock + pause
        return pause

    def next(self, memory: Memory, *, asleep: bool) -> float | None:
        """When a look has something to do here (monotonic seconds), None: not before other news. A fleet that
        is awake is looked at all the time; `asleep`, it needs one more look where something is unsaved.
        """
        times = [self.again_at] if self.failures else []
        if asleep and differs(self.saved, memory.dump()):
            times.append(self.look_at)
        return min(times, default=None)

    def _text(self, document: Mapping[str, Any]) -> str:
        whole = {"v": VERSION, "fleetUid": self.uid, **document}
        return json.dumps(whole, separators=(",", ":"), sort_keys=True, allow_nan=False)


def differs(before: object, after: object) -> bool:
    """Whether two documents differ by more than numbers that moved a little."""
    if isinstance(before, bool) or isinstance(after, bool):
        return before is not after
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(after - before) > MATTERS * max(abs(before), abs(after))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() != after.keys() or any(differs(before[key], after[key]) for key in before)
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) != len(after) or any(map(differs, before, after))
    return before != after


def _read(texts: Mapping[str, Any], key: str, uid: str) -> Mapping[str, Any] | None:
    """The document under a key, if it is this fleet's and of this format."""
    text = texts.get(key)
    if text is None:
        return None
    try:
        if not isinstance(text, str) or len(text) > 4 * MOST_BYTES:
            raise ValueError("too long")
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("v") != VERSION:
            raise ValueError(f"not a document of format {VERSION}")
        if document.get("fleetUid") != uid:
            raise ValueError(f"of another fleet, {str(document.get('fleetUid'))[:64]!r}")
    except (ValueError, RecursionError) as error:
        log.warning("%s in the ConfigMap of fleet %s is ignored: %s", key, uid, error)
        return None
    return document


def _engines(document: Mapping[str, Any]) -> Engines:
    sizes = {
        name: measured(document.get(name), low=1.0, high=1e9)
        for name in ("gpu_count", "kv_tokens", "max_num_seqs", "max_num_batched_tokens")
    }
    gpu, revision = document.get("gpu"), document.get("revision")
    return Engines(
        revision[:63] if isinstance(revision, str) else "",
        gpu[:128] if isinstance(gpu, str) else None,
        **{name: None if isinstance(value, Unknown) else int(value) for name, value in sizes.items()},
        refused=document.get("refused") is True,
    )
