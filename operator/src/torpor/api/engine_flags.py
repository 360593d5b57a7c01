"""Numbers that a user's engine flags set, read as vLLM reads them."""

import re
from collections.abc import Sequence


def whole_number(args: Sequence[str], name: str) -> int | None:
    """The whole number that an engine flag sets, both spellings, the last one; None where there is none."""
    pattern = re.compile(f"--{name.replace('-', '[-_]')}(?:=(.*))?")
    found = None
    for place, arg in enumerate(args):
        if match := pattern.fullmatch(arg):
            text = match[1] if match[1] is not None else (args[place + 1] if place + 1 < len(args) else "")
            found = int(text) if text.isdecimal() and int(text) > 0 else found
    return found
