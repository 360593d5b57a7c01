"""What a prompt begins with, as a few numbers: equal numbers, equal beginnings.

An engine that has computed a prompt keeps its blocks, and a later prompt with the same beginning computes
only the rest. Which pod that is can be remembered without a tokenizer: the text is cut at fixed distances
from its beginning, and each cut is known by a checksum of all that stands before it. Peers cut at equal
distances (64 characters and at most 256 cuts in the Gateway API's endpoint picker) or keep whole texts in a
tree (vllm-router); here each cut is about a fifth further from the beginning than the one before, so that 33
of them reach 64 KiB, and what is lost is resolution where a prompt is long and a few hundred bytes matter
least.

CRC-32 continues where it left off, runs in C and is the same in every process, which str.__hash__ is not. It
is no defence: two texts may be made to collide, and all that follows is a pod that has less cached than was
thought. Salt is whatever splits caches: the model's name, and with adapters the adapter's.
"""

from collections.abc import Sequence
from zlib import crc32

FIRST_CUT = 256  # bytes; shorter texts have no identity: there is next to nothing to save
LIMIT = 65_536  # bytes that are looked at
_PARTS = 4  # cuts per doubling


def _cuts() -> tuple[int, ...]:
    found, size = [], FIRST_CUT
    while size < LIMIT:
        found += [size * (_PARTS + part) // _PARTS for part in range(_PARTS)]
        size *= 2
    return (*found, LIMIT)


CUTS = _cuts()
_SPANS = tuple(zip((0, *CUTS), CUTS, range(len(CUTS)), strict=False))
SESSION = 1 << 40  # marks the identity of a session; no cut has it


def salt_of(*names: str) -> int:
    """Return the salt of a model, or of a model and an adapter."""
    return crc32("\0".join(names).encode())


def identity(text: bytes, salt: int = 0) -> tuple[int, ...]:
    """Return one number per cut that the text reaches, the shortest beginning first.

    Number i is equal for two texts where their first CUTS[i] bytes are. O(bytes), 64 KiB at most.
    """
    size = len(text)
    found, crc = [], salt
    for start, end, place in _SPANS:
        if end > size:
            break
        crc = crc32(text[start:end], crc)
        found.append(place << 32 | crc)
    return tuple(found)


def session_identity(session: bytes, salt: int = 0) -> tuple[int, ...]:
    """Return the identity that holds a session together, whatever its prompts say."""
    return (SESSION | crc32(session, salt),)


def covered(identity: Sequence[int], depth: int, size: int) -> int:
    """Return the bytes, of `size`, that the first `depth` numbers of an identity stand for."""
    if depth == 0:
        return 0
    return size if identity[depth - 1] & SESSION else CUTS[depth - 1]


def key_of(identity: Sequence[int], depth: int) -> int:
    """Return the number that places a prompt of which only the first `depth` numbers are common knowledge:
    the first one after them, which every later prompt of the same conversation has as well.
    """
    return identity[min(depth, len(identity) - 1)]
