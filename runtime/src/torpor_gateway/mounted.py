"""A mounted Secret, seen as one thing that has versions.

A kubelet replaces a Secret's files by swinging one symlink (`..data`), so all of them change at once and a
reader that goes through the symlink's target sees one version or the other, never half of each. The target's
name is the version. Elsewhere (a folder of one's own, one file) the version is what `stat` says of each file.
How long a kubelet takes before it swings the symlink is its own affair: its sync period, a minute by default,
and its cache.
"""

from pathlib import Path

LOOK_SECONDS = 2.0  # between two looks at whether there is another version
_LINK = "..data"


def version(path: Path) -> object:
    """Return what changes when the contents of a folder or a file do. Raises OSError."""
    if not path.is_dir():
        return _stat(path)
    link = path / _LINK
    if link.is_symlink():
        return link.readlink()
    return tuple((file.name, *_stat(file)) for file in files(path))


def current(folder: Path) -> Path:
    """Return the folder that holds the files of one version. Raises OSError."""
    link = folder / _LINK
    return link.resolve(strict=True) if link.is_symlink() else folder


def files(folder: Path) -> list[Path]:
    """Return the files of a folder that are somebody's, in order of their names. Raises OSError."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("..") and path.is_file())


def _stat(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size
