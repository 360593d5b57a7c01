"""Shared libraries that exist, so that the dynamic linker is content, and do nothing.

The PyPI build of PyTorch is the CUDA build: it names cuBLAS, cuDNN, NCCL and friends as libraries it needs,
and the loader refuses to start without them, although a process on a machine without a GPU never calls one
function of theirs. They are nearly half of an installation, and would be copied four times on the way into a
container. So they are replaced: this module reads which functions the remaining libraries take from the
missing ones and writes small ELF files with the wanted names that define them.

It writes x86-64 shared objects only and understands of ELF what is needed for that (System V ABI, chapters 4
and 5). It refuses to pretend: a stubbed function is an illegal instruction, so that code which did call it
stops at once instead of computing something wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_PAGE = 4096
_TRAP = b"\x0f\x0b".ljust(16, b"\xcc")  # ud2
_SHT_DYNAMIC, _SHT_DYNSYM, _STB_WEAK, _DT_NEEDED = 6, 11, 2, 1


@dataclass(frozen=True)
class Linkage:
    """What one library says to the linker: names it defines, names it takes, libraries it needs."""

    defined: frozenset[str]
    missing: frozenset[str]  # weak ones excluded: they may stay missing
    needed: frozenset[str]


def read_linkage(library: Path) -> Linkage:
    """Read the dynamic tables of a 64-bit little-endian ELF file; ValueError for any other file."""
    data = library.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{library}: not a 64-bit little-endian ELF file")
    offset, entry_size, count = (
        *struct.unpack_from("<Q", data, 0x28),
        *struct.unpack_from("<HH", data, 0x3A),
    )
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * entry_size) for i in range(count)]

    def text(section: tuple[int, ...], place: int) -> str:
        start = sections[section[6]][4] + place
        return data[start : data.index(b"\0", start)].decode()

    defined: set[str] = set()
    missing: set[str] = set()
    needed: set[str] = set()
    for section in sections:
        first, end = section[4], section[4] + section[5]
        if section[1] == _SHT_DYNSYM:
            for at in range(first + 24, end, 24):
                name_at, info, _other, where = struct.unpack_from("<IBBH", data, at)
                if where:
                    defined.add(text(section, name_at))
                elif info >> 4 != _STB_WEAK:
                    missing.add(text(section, name_at))
        elif section[1] == _SHT_DYNAMIC:
            for at in range(first, end, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == _DT_NEEDED:
                    needed.add(text(section, value))
    return Linkage(frozenset(defined), frozenset(missing), frozenset(needed))


def _hash(name: bytes) -> int:
    """Return the symbol hash of the System V ABI, figure 5-13."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def write_stub(target: Path, functions: Collection[str] = (), needed: str | None = None) -> None:
    """Write a shared library called `target.name` whose `functions` stop the process when they are called.

    `needed` names another library to load with it. The file has no sections: one readable and executable
    segment with the tables and the code, and one writable segment with the dynamic table, into which the
    loader writes.
    """
    names = sorted(set(functions))
    strings = bytearray(b"\0")
    places = []
    for name in (*names, target.name, needed or ""):
        places.append(len(strings))
        strings += name.encode() + b"\0"
    needed_at, soname_at = places.pop(), places.pop()
    strings += b"\0" * (-len(strings) % 16)

    buckets = max(1, len(names))
    heads, chain = [0] * buckets, [0] * (len(names) + 1)
    for index, name in enumerate(names, start=1):
        bucket = _hash(name.encode()) % buckets
        chain[index], heads[bucket] = heads[bucket], index
    table = struct.pack(f"<II{buckets}I{len(chain)}I", buckets, len(chain), *heads, *chain)
    table += b"\0" * (-len(table) % 8)

    hash_at = 64 + 3 * 56
    symbols_at = hash_at + len(table)
    strings_at = symbols_at + 24 * (len(names) + 1)
    code_at = strings_at + len(strings)
    text_end = code_at + len(_TRAP) * len(names)
    dynamic_at = text_end + (-text_end % _PAGE)

    tags = [
        (14, soname_at),
        (4, hash_at),
        (5, strings_at),
        (6, symbols_at),
        (10, len(strings)),
        (11, 24),
        (0, 0),
    ]
    if needed:
        tags.insert(0, (_DT_NEEDED, needed_at))
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    entries = b"\0" * 24 + b"".join(
        struct.pack("<IBBHQQ", place, 0x12, 0, 1, code_at + len(_TRAP) * index, len(_TRAP))
        for index, place in enumerate(places)
    )
    size = len(dynamic)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0
    )
    segments = (
        struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, text_end, text_end, _PAGE)
        + struct.pack("<IIQQQQQQ", 1, 6, dynamic_at, dynamic_at, dynamic_at, size, size, _PAGE)
        + struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, size, size, 8)
    )
    text = header + segments + table + entries + bytes(strings) + _TRAP * len(names)
    target.write_bytes(text.ljust(dynamic_at, b"\0") + dynamic)
