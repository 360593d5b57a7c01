"""Which beginnings of prompts one replica still knows: so many blocks, the least recently used goes first.

A recorded trace with hashes says which blocks a prompt consists of; equal numbers mean equal text up to that
block. A replica knows the blocks of the prompts it has computed, as many as its KV cache holds, and a prompt
whose first blocks are known computes only the rest. What vLLM does besides is left out: blocks that several
running requests share are counted for each, and generated tokens are not found again and push nobody out.

The state is a row of whole numbers behind the replica's other places, so that a fleet of replicas stays one
array: a count, the ends of the list from oldest to newest, a table of buckets, and per slot the block, the
next slot of its bucket, and its neighbours in the list. Slots are counted from 1, and 0 is nobody, so zeros
are an empty cache. Every operation costs O(1).
"""

# ruff: noqa: PLR0917 - a kernel has no other way to get at its state
from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.simulate.compiled import compiled

if TYPE_CHECKING:
    from torpor.simulate.replica_kernel import Ints

COUNT, OLDEST, NEWEST, TABLE = range(4)  # places in the row
PARTS = 4  # per slot: block, next in the bucket, older, newer


def width(slots: int) -> int:
    """Places that a cache of so many blocks takes: twice as many buckets as slots."""
    return TABLE + (2 + PARTS) * slots if slots else 0


@compiled
def find(w: Ints, at: int, slots: int, block: int) -> int:
    """The slot of a block; 0 where it is not known. `at`: where the row begins in `w`."""
    slot: int = w[at + TABLE + block % (2 * slots)]
    while slot > 0 and w[at + TABLE + 2 * slots + slot - 1] != block:
        slot = w[at + TABLE + 3 * slots + slot - 1]
    return slot


@compiled
def unlink(w: Ints, at: int, slots: int, slot: int) -> None:
    """Take a slot out of the list."""
    older = at + TABLE + 4 * slots - 1
    newer = at + TABLE + 5 * slots - 1
    before, after = w[older + slot], w[newer + slot]
    if before > 0:
        w[newer + before] = after
    else:
        w[at + OLDEST] = after
    if after > 0:
        w[older + after] = before
    else:
        w[at + NEWEST] = before


@compiled
def append(w: Ints, at: int, slots: int, slot: int) -> None:
    """Put a slot at the list's new end."""
    last = w[at + NEWEST]
    w[at + TABLE + 4 * slots - 1 + slot] = last
    w[at + TABLE + 5 * slots - 1 + slot] = 0
    if last > 0:
        w[at + TABLE + 5 * slots - 1 + last] = slot
    else:
        w[at + OLDEST] = slot
    w[at + NEWEST] = slot


@compiled
def forget(w: Ints, at: int, slots: int) -> int:
    """Drop the least recently used block; its slot."""
    slot: int = w[at + OLDEST]
    unlink(w, at, slots, slot)
    place = at + TABLE + w[at + TABLE + 2 * slots + slot - 1] % (2 * slots)
    while w[place] != slot:
        place = at + TABLE + 3 * slots + w[place] - 1
    w[place] = w[at + TABLE + 3 * slots + slot - 1]
    return slot


@compiled
def remember(w: Ints, at: int, slots: int, block: int) -> None:
    """A block was computed or used: it is now the most recent."""
    slot = find(w, at, slots, block)
    if slot > 0:
        unlink(w, at, slots, slot)
    else:
        if w[at + COUNT] < slots:
            w[at + COUNT] += 1
            slot = w[at + COUNT]
        else:
            slot = forget(w, at, slots)
        bucket = at + TABLE + block % (2 * slots)
        w[at + TABLE + 2 * slots + slot - 1] = block
        w[at + TABLE + 3 * slots + slot - 1] = w[bucket]
        w[bucket] = slot
    append(w, at, slots, slot)


@compiled
def known(w: Ints, at: int, slots: int, blocks: Ints, first: int, most: int) -> int:
    """How many of `blocks[first:first + most]` are known, from the first on without a gap."""
    found = 0
    while found < most and find(w, at, slots, blocks[first + found]) > 0:
        found += 1
    return found


@compiled
def keep(w: Ints, at: int, slots: int, blocks: Ints, first: int, count: int) -> None:
    """Remember a prompt's first blocks, the end before the beginning, so that the end is dropped first."""
    for place in range(first + count - 1, first - 1, -1):
        remember(w, at, slots, blocks[place])
