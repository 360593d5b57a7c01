"""Build the launcher's zipapp: `python3 -m torpor_engine.pack OUT.pyz`.

The archive is what an init container copies into every engine pod, so two builds of the same source must have
the same bytes: a digest that changes without a reason would roll fleets or at least frighten reviewers.
Therefore fixed timestamps and modes, sorted names, and no compression (zlib's output differs between
versions; the source is small, and an uncompressed module is read faster). Compiled files are left out: they
belong to one Python version and the image's is not known.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b"import sys\n\nfrom torpor_engine.__main__ import main\n\nsys.exit(main(sys.argv[1:]))\n"
PACKAGE = Path(__file__).resolve().parent
# The earliest time the format can hold. Any fixed value does.
EPOCH = (1980, 1, 1, 0, 0, 0)


def sources(package: Path) -> list[tuple[str, bytes]]:
    """Names and contents of what goes into the archive, sorted by name; this module itself stays out."""
    files = [("__main__.py", MAIN)]
    modules = sorted(path for path in package.glob("*.py") if path.name != "pack.py")
    return files + [(f"{package.name}/{path.name}", path.read_bytes()) for path in modules]


def pack(target: Path, package: Path = PACKAGE) -> str:
    """Write the executable zipapp to `target` and return the SHA-256 of its bytes in hex.

    Raises OSError when `target` cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        out.write(SHEBANG)
        with zipfile.ZipFile(out, "w", compression=zipfile.ZIP_STORED) as archive:
            for name, content in sources(package):
                entry = zipfile.ZipInfo(name, date_time=EPOCH)
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                archive.writestr(entry, content)
    target.chmod(0o755)
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 -m torpor_engine.pack OUT.pyz")
    sys.stdout.write(f"{pack(Path(sys.argv[1]))}  {sys.argv[1]}\n")
