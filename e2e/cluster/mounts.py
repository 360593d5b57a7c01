"""Unmount what is left below a folder of ours: of pods that ended, of image builds that were killed."""

from pathlib import Path

from e2e.cluster.progress import output_of


def unmount_below(*folders: Path) -> None:
    """Unmount everything below the folders, the innermost first; what refuses is detached."""
    prefixes = tuple(f"{folder}/" for folder in folders)
    for _ in range(3):  # a point may be mounted over several times
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        ours = [point for point in points if point.startswith(prefixes)]
        if not ours:
            return
        for point in sorted(ours, key=len, reverse=True):
            output_of(["umount", "-l", point.encode().decode("unicode_escape")], check=False)
