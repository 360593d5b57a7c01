"""The KV cache of one engine: blocks, who holds them, and which prefixes are still in them.

vLLM keeps the keys and values of every token in blocks of 16 tokens. A full block is known by the hash of its
tokens and of all tokens before it, so a later prompt with the same beginning finds it; a block that nobody
holds keeps its contents until it is needed (least recently used goes first) and counts as free. That is all a
scheduler can see, so that is what is kept here: a count of blocks without a hash, and for each hash its
holders. There are no block numbers and no memory. One difference to vLLM: two sequences that compute the same
block at the same time hold one copy here and two there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def hash_blocks(tokens: Sequence[bytes] | Sequence[int], block_size: int) -> list[int]:
    """Chain hashes of the full blocks of `tokens`: equal up to block i means equal text up to block i.

    Stable within a process only (Python salts the hashes of bytes).
    """
    hashes: list[int] = []
    previous = 0
    for start in range(0, len(tokens) - block_size + 1, block_size):
        previous = hash((previous, tuple(tokens[start : start + block_size])))
        hashes.append(previous)
    return hashes


class KVCache:
    """Counts blocks. Every method is O(blocks it is given), none looks at the clock."""

    def __init__(self, total_blocks: int, *, prefix_caching: bool = True) -> None:
        if total_blocks < 1:
            raise ValueError(f"KV cache of {total_blocks} blocks: must hold at least one")
        self.total_blocks = total_blocks
        self.prefix_caching = prefix_caching
        self._private = 0
        self._held: dict[int, int] = {}  # hash -> holders, at least 1
        self._idle: OrderedDict[int, None] = OrderedDict()  # hashes without a holder, oldest first

    @property
    def used_blocks(self) -> int:
        """Blocks that some sequence holds."""
        return self._private + len(self._held)

    @property
    def free_blocks(self) -> int:
        """Blocks that may be given out, cached ones included."""
        return self.total_blocks - self.used_blocks

    @property
    def utilization(self) -> float:
        """Held blocks over all blocks, 0 to 1: what vLLM reports as kv_cache_usage_perc."""
        return self.used_blocks / self.total_blocks

    def match(self, hashes: Sequence[int], limit: int) -> int:
        """How many leading blocks (at most `limit`) are in the cache."""
        if not self.prefix_caching:
            return 0
        found = 0
        for known in hashes[:limit]:
            if known not in self._held and known not in self._idle:
                break
            found += 1
        return found

    def claimable(self, hashes: Sequence[int]) -> int:
        """How many of these cached blocks are free now, so that claiming them lowers `free_blocks`."""
        return sum(1 for known in hashes if known in self._idle)

    def claim(self, hashes: Sequence[int]) -> None:
        """Hold cached blocks; each must be in the cache."""
        for known in hashes:
            if known in self._held:
                self._held[known] += 1
            else:
                del self._idle[known]
                self._held[known] = 1

    def take(self, count: int) -> bool:
        """Take `count` fresh blocks, evicting idle ones; False and no change when there are not that many."""
        if count > self.free_blocks:
            return False
        self._private += count
        excess = self.used_blocks + len(self._idle) - self.total_blocks
        for _ in range(excess):
            self._idle.popitem(last=False)
        return True

    def publish(self, known: int) -> bool:
        """Give a fresh block its hash, so that others find it; False when the hash is known: the block stays
        as it is.
        """
        if not self.prefix_caching or known in self._held or known in self._idle:
            return False
        self._private -= 1
        self._held[known] = 1
        return True

    def release(self, private: int, hashes: Sequence[int]) -> None:
        """Let go of blocks. Hashed ones stay findable until evicted, the end of a prefix before its
        beginning.
        """
        self._private -= private
        for known in reversed(hashes):
            holders = self._held[known] - 1
            if holders:
                self._held[known] = holders
            else:
                del self._held[known]
                self._idle[known] = None

    def forget(self) -> None:
        """Drop every cached block that nobody holds."""
        self._idle.clear()
