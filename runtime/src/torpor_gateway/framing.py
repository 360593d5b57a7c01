"""Where a head says how long its body is, found without parsing, for those who remember heads.

Only the two spellings in use are looked for, and only the first occurrence: who learns a head makes sure that
what was found is the line that a parser found, and who recalls it has the same bytes before it.
"""

_SPELLINGS = (b"ontent-Length: ", b"ontent-length: ")
_SKIP = len(_SPELLINGS[0])


def digits(data: bytes, end: int) -> tuple[int, int]:
    """Return where the digits of Content-Length begin and end in a head of `end` bytes; (0, 0): nowhere."""
    at = data.find(_SPELLINGS[0], 0, end)
    if at < 0:
        at = data.find(_SPELLINGS[1], 0, end)
        if at < 0:
            return 0, 0
    at += _SKIP
    return at, data.find(b"\r\n", at, end)


def is_length(raw: bytes, begin: int, stop: int, length: int) -> bool:
    """Say whether the digits found are a whole line `Content-Length: LENGTH`, written as everybody does."""
    line = begin - _SKIP - 3
    return line > 0 and raw[line : line + 3] in (b"\r\nC", b"\r\nc") and raw[begin:stop] == b"%d" % length
