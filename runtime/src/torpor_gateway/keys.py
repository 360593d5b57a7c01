"""API keys as somebody writes them down: one entry per key, in a Secret or in a file.

A Secret has one entry per key, whose name is the key's name, so that adding a team is one `kubectl patch` and
tools that sync Secrets need no template. An entry is a small YAML or JSON object:

    sha256: 3f0a…                    # 64 hex digits of the key's SHA-256, or a list: old and new
    models: [llm, team-a/*]          # NAMESPACE/MODEL or bare names, * for any part; absent: every model
    concurrentRequests: 8            # absent: any number, as for the next two
    requestsPerMinute: 600
    tokensPerMinute: 200000          # prompts and answers
    priority: interactive            # or batch

or the short forms `sha256:HEX` and the key itself, both without limits; a plain key with limits stands under
`key`. Hashed entries are the recommended ones, because Secrets end up in backups, in etcd and in terminals.
Plain ones are taken as well, since a vault that syncs a key cannot hash it. A hash without salt is enough for
a key and not for a password: a key is random, and `torpor-gateway hash-key` refuses short ones.

A file for `--static` is the same under one roof: a mapping `keys:` from name to entry.

Messages name the entry, the field and the rule, and never a value of `key` or `sha256`, nor the line of a
text that cannot be read: it may be a key that somebody pasted into the wrong place.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

MAX_KEYS = 5000
SHORTEST_KEY, LONGEST_KEY = 16, 512
_NAME = re.compile(r"[A-Za-z0-9_][-._A-Za-z0-9]{0,62}")
_PLAIN = re.compile(f"[!-~]{{{SHORTEST_KEY},{LONGEST_KEY}}}")
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_PATTERN = re.compile(r"[^\s\x00-\x1f]{1,256}")
_ENDINGS = (".yaml", ".yml", ".json")
_LIMITS = ("concurrentRequests", "requestsPerMinute", "tokensPerMinute")
_FIELDS = frozenset({"sha256", "key", "models", "priority", *_LIMITS})
_MOST = 1_000_000_000
_PRIORITIES = ("interactive", "batch")


class KeysError(ValueError):
    """Keys that cannot be used. The message names entry, field and rule, and no secret."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. Limits are the installation's, None where there is none. `models` None: every model."""

    name: str
    digests: tuple[bytes, ...]
    models: re.Pattern[str] | None = None
    concurrent_requests: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    batch: bool = False

    def may_use(self, names: Iterable[str]) -> bool:
        """Say whether the key may use a fleet that answers to `names`."""
        return self.models is None or any(map(self.models.fullmatch, names))


def well_formed(key: str) -> bool:
    """Say whether a text may be a key: long enough that its hash tells nothing, and sendable in a header."""
    return _PLAIN.fullmatch(key) is not None


def digest(key: bytes) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key).digest()


def read_entries(texts: Mapping[str, str]) -> tuple[ApiKey, ...]:
    """Read the entries of a Secret, by their names. Raises KeysError."""
    found = {}
    for raw, text in sorted(texts.items()):
        name = next((raw.removesuffix(end) for end in _ENDINGS if raw.endswith(end)), raw)
        if name in found:
            raise KeysError(f"{raw}: {name} is there twice; remove one of the two")
        found[name] = _entry(name, _value(name, text))
    return _checked(found)


def read_document(text: str) -> tuple[ApiKey, ...]:
    """Read a file with all keys. Raises KeysError."""
    value = _yaml("the file", text)
    if not isinstance(value, dict) or set(value) != {"keys"} or not isinstance(value["keys"], dict):
        raise KeysError("the file must be a mapping with the one field `keys`, a mapping from name to entry")
    return _checked({name: _entry(name, item) for name, item in value["keys"].items()})


def _yaml(where: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise KeysError(f"{where}: is not YAML{line}; check it with a parser") from None


def _value(name: str, text: str) -> Any:
    text = text.strip()
    one_word = bool(text) and text[0] not in "{[\"'" and not re.search(r"\s", text)
    return text if one_word else _yaml(name, text)


def _checked(found: Mapping[str, ApiKey]) -> tuple[ApiKey, ...]:
    if len(found) > MAX_KEYS:
        raise KeysError(f"there are {len(found)} keys; at most {MAX_KEYS} are understood")
    owners: dict[bytes, str] = {}
    for key in found.values():
        for one in key.digests:
            if owners.setdefault(one, key.name) != key.name:
                raise KeysError(f"{key.name}: is the same key as {owners[one]}; give each name its own")
    return tuple(found.values())


def _entry(name: Any, value: Any) -> ApiKey:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise KeysError(
            f"{str(name)[:64]!r}: must be a name of at most 63 letters, digits, '-', '_' and '.', not "
            "beginning with '-' or '.'"
        )
    if isinstance(value, str):
        short = value.startswith("sha256:")
        value = {"sha256": value.removeprefix("sha256:")} if short else {"key": value}
    if not isinstance(value, dict):
        raise KeysError(f"{name}: must be an object with sha256 or key, `sha256:HEX`, or the key itself")
    unknown = [field for field in value if field not in _FIELDS]
    if unknown:  # the field's name is not shown: it may be a key
        raise KeysError(
            f"{name}: has {len(unknown)} fields that are none; there are {', '.join(sorted(_FIELDS))}"
        )
    concurrent, requests, tokens = (_limit(f"{name}.{field}", value.get(field)) for field in _LIMITS)
    priority = value.get("priority", _PRIORITIES[0])
    if priority not in _PRIORITIES:
        raise KeysError(f"{name}.priority: must be one of {', '.join(_PRIORITIES)}")
    models = _models(f"{name}.models", value.get("models"))
    return ApiKey(
        name, _digests(name, value), models, concurrent, requests, tokens, batch=priority == "batch"
    )


def _digests(name: str, value: Mapping[str, Any]) -> tuple[bytes, ...]:
    hashes, plain = value.get("sha256"), value.get("key")
    if (hashes is None) is (plain is None):
        raise KeysError(f"{name}: must have either sha256 or key; `torpor-gateway hash-key` prints an entry")
    if plain is not None:
        if not isinstance(plain, str) or not well_formed(plain):
            raise KeysError(
                f"{name}.key: must be a text of {SHORTEST_KEY} to {LONGEST_KEY} visible ASCII characters; "
                "quote it, and make one with `torpor-gateway hash-key --new`"
            )
        return (digest(plain.encode("ascii")),)
    several = hashes if isinstance(hashes, list) else [hashes]
    if not 1 <= len(several) <= 8 or not all(
        isinstance(one, str) and _HASH.fullmatch(one) for one in several
    ):
        raise KeysError(
            f"{name}.sha256: must be 64 hex digits in quotes, or a list of up to 8 such; "
            "`torpor-gateway hash-key` prints them"
        )
    return tuple(dict.fromkeys(map(bytes.fromhex, several)))


def _limit(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise KeysError(f"{where}: must be a whole number from 1 to {_MOST}; leave it out for no limit")
    return value


def _models(where: str, value: Any) -> re.Pattern[str] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= 1000
        or not all(isinstance(one, str) and _PATTERN.fullmatch(one) for one in value)
    ):
        raise KeysError(f"{where}: must be a list of 1 to 1000 model names; leave it out for every model")
    if "*" in value:
        return None
    parts = (re.sub(r"(\\\*)+", "[^/]*", re.escape(one)) for one in value)
    return re.compile("|".join(parts))
