"""Where keys come from: a mounted Secret (one file per key), or one file; read again when it changes.

All of a mounted Secret's files change at once, and a reader sees one version or the other (`mounted`). It is
looked at every other second.

Keys that cannot be read or understood change nothing: the last good ones go on, the log and the metrics say
so, and the reading is tried again. A gateway that has never had any does not start: it must be neither open
nor closed to everybody because of a typing error. An empty Secret is understood: nobody may ask.
"""

import asyncio
import logging
from pathlib import Path

from torpor_gateway import mounted
from torpor_gateway.gate import Gate
from torpor_gateway.keys import ApiKey, KeysError, read_document, read_entries

log = logging.getLogger(__name__)

_MAX_BYTES = 4 << 20  # four times what a Secret can have


class KeyStore:
    """Keeps a gate's keys as `path` says."""

    def __init__(self, path: Path, gate: Gate) -> None:
        self._path = path
        self._gate = gate
        self._version: object = None

    def load(self) -> int:
        """Read the keys now; return how many there are. Raises KeysError, nothing changed."""
        try:
            version = mounted.version(self._path)
            keys = self._read()
        except (OSError, UnicodeDecodeError) as error:  # neither shows what is in a file
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise KeysError(f"{self._path} cannot be read: {reason}") from None
        before = {state.key.name: state.key for state in self._gate.states.values()}
        self._gate.replace(keys)
        self._version = version
        self._gate.stale = False
        after = {key.name: key for key in keys}
        log.info("%d API keys%s", len(keys), _news(before, after))
        if not keys:
            log.warning("there is no API key in %s: every request is refused with 401", self._path)
        return len(keys)

    async def follow(self) -> None:
        """Read the keys again whenever they change, until cancelled."""
        while True:
            await asyncio.sleep(mounted.LOOK_SECONDS)
            self.check()

    def check(self) -> None:
        """Read the keys again if they have changed, or could not be read the last time."""
        try:
            if not self._gate.stale and mounted.version(self._path) == self._version:
                return
            self.load()
        except (OSError, KeysError) as error:
            self._gate.failures += 1
            if not self._gate.stale:
                log.error("the API keys were not taken, the last good ones stay: %s", error)
            self._gate.stale = True

    def _read(self) -> tuple[ApiKey, ...]:
        if not self._path.is_dir():
            return read_document(_text(self._path))
        return read_entries({path.name: _text(path) for path in mounted.files(mounted.current(self._path))})


def _text(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise KeysError(f"{path.name}: is larger than {_MAX_BYTES} bytes")
    return path.read_text(encoding="utf-8")


def _news(before: dict[str, ApiKey], after: dict[str, ApiKey]) -> str:
    """Say by name what is new; a first load says nothing."""
    if not before:
        return ""
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    parts = (
        ("added", sorted(after.keys() - before.keys())),
        ("removed", sorted(before.keys() - after.keys())),
        ("changed", changed),
    )
    return "".join(f"; {word}: {', '.join(names[:20])}" for word, names in parts if names)
