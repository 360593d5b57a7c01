"""A user's engine flags, read as vLLM reads them.

Nothing here judges: a value that vLLM would refuse is no value, and the launcher says so when the engine
starts. `--flag value` and `--flag=value` are the same, underscores are dashes, the last one wins.
"""

import re
from collections.abc import Mapping, Sequence

MOST = 10**12
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(\d{1,12})(\.\d{1,6})?([kmgKMG]?)", re.ASCII)
_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def flag_value(args: Sequence[str], *names: str) -> str | None:
    """The text that the parser would take for the flag with any of these names, given without its dashes
    (`max-num-seqs`, `tp`); None where it is not given or has no value.
    """
    found = None
    for place, arg in enumerate(args):
        key, equals, value = arg.partition("=")
        if key.startswith("-") and _name(key) in names:
            following = args[place + 1] if place + 1 < len(args) else None
            found = value if equals else following
    return found


def has_flag(args: Sequence[str], *names: str) -> bool:
    """Whether the flag is given under any of these names, with a value or without."""
    return any(arg.startswith("-") and _name(arg.partition("=")[0]) in names for arg in args)


def whole_number(args: Sequence[str], name: str) -> int | None:
    """The whole number above 0 that an engine flag sets (`8192`, `8k`, `8K`); None where there is none."""
    match = _SIZE.fullmatch(flag_value(args, name) or "")
    if match is None:
        return None
    whole, fraction, unit = match.groups()
    if fraction is not None and unit not in ("k", "m", "g"):
        return None
    number = int(float(whole + (fraction or "")) * _UNITS[unit])
    return number if 0 < number <= MOST else None


def expanded(args: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Put variables in place of $(NAME), as the kubelet does: an unknown name stays as it is, $$ is a $."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else variables.get(match[1], match[0])

    return [_REFERENCE.sub(value, arg) for arg in args]


def _name(key: str) -> str:
    return key.lstrip("-").replace("_", "-")
