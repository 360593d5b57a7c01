"""Tokens that can be counted, and words to answer with.

A tokenizer without a vocabulary: text is cut into pieces of at most seven bytes, a short word with the space
before it being one piece, and the token id is those bytes behind a marker, as a number. So every text has one
cutting, every id its text, equal beginnings have equal tokens (the prefix cache depends on that), and no file
is needed. English comes out at 1.2 to 1.4 tokens a word, close to real tokenizers; the ids mean nothing to a
real model.

The answer is a walk through a ring of simple sentences. Where it starts depends on the seed and the prompt,
so the same request gets the same answer from every replica with the same seed. Each piece of the ring is one
token.
"""

from __future__ import annotations

import random
import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PIECES = re.compile(
    rb" ?[A-Za-z_]{1,6}| ?[0-9]{1,3}|[\xc0-\xf7][\x80-\xbf]{1,3}|[\x00-\xff]",
)
_MARKER = 1
MAX_TOKEN_ID = 1 << (8 * 7 + 1)

_ARTICLES = ("the", "a", "one", "this", "each", "that")
_ADJECTIVES = (
    "small",
    "quiet",
    "warm",
    "old",
    "clear",
    "slow",
    "green",
    "early",
    "late",
    "round",
    "soft",
    "plain",
)
_NOUNS = (
    "river",
    "house",
    "cat",
    "lamp",
    "road",
    "tree",
    "clock",
    "bird",
    "stone",
    "garden",
    "child",
    "train",
    "moon",
)
_VERBS = ("finds", "keeps", "sees", "opens", "moves", "holds", "hears", "draws", "leaves", "counts", "meets")
_LINKS = ("near", "under", "behind", "above", "with", "after", "before", "beside")


def tokenize(text: str) -> list[bytes]:
    """Cut text into pieces; joining them gives the text back (lone surrogates become question marks)."""
    return _PIECES.findall(text.encode("utf-8", "replace"))


def token_id(piece: bytes) -> int:
    """The id of a piece: below 2**57."""
    return int.from_bytes(bytes((_MARKER,)) + piece, "big")


def piece_of(token: int) -> bytes:
    """The piece of an id; empty for an id that this tokenizer never gives."""
    if not 0 <= token < MAX_TOKEN_ID:
        return b""
    data = token.to_bytes(8, "big").lstrip(b"\0")
    return data[1:] if data[:1] == b"\x01" else b""


def detokenize(tokens: Iterable[int]) -> str:
    """The text of ids; bytes that are not UTF-8 become replacement characters."""
    return b"".join(piece_of(token) for token in tokens).decode("utf-8", "replace")


def fingerprint(pieces: Sequence[bytes]) -> int:
    """32 bits of a prompt, the same in every process."""
    return zlib.crc32(b"".join(pieces))


class Prose:
    """A ring of sentences, each entry one token."""

    def __init__(self, seed: int, sentences: int = 400) -> None:
        rng = random.Random(seed)  # noqa: S311 - words, not secrets
        self.ring: list[str] = []
        self.starts: list[int] = []
        for _ in range(sentences):
            self.starts.append(len(self.ring))
            words = [
                *(rng.choice(_ARTICLES), rng.choice(_ADJECTIVES), rng.choice(_NOUNS), rng.choice(_VERBS)),
                *(rng.choice(_ARTICLES), rng.choice(_NOUNS), rng.choice(_LINKS)),
                *(rng.choice(_ARTICLES), rng.choice(_ADJECTIVES), rng.choice(_NOUNS)),
            ]
            self.ring += [f" {words[0].capitalize()}", *(f" {word}" for word in words[1:]), "."]

    def start(self, key: int) -> int:
        """Where the answer to a prompt of that fingerprint begins."""
        return self.starts[key % len(self.starts)]

    def piece(self, start: int, index: int) -> str:
        """Token number `index` of the answer; the first has no space before it."""
        text = self.ring[(start + index) % len(self.ring)]
        return text if index else text.lstrip()

    def natural_length(self, key: int, mean: int) -> int:
        """Tokens of the answer when nothing limits it: whole sentences, between a quarter and four times the
        mean.
        """
        spread: float = 2.0 ** (((key >> 8) % 4001) / 1000.0 - 2.0)
        sentence = 11
        return max(1, round(mean * spread / sentence)) * sentence
