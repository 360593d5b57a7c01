"""Imports survive containerd's garbage collector, with a `ctr` that fails as the real one did."""

from pathlib import Path

import pytest

from e2e.cluster import containerd
from e2e.cluster.oci import image, layer_of_file
from e2e.cluster.progress import StepFailedError

_COLLECTED = "ctr: failed to prepare extraction snapshot: parent snapshot sha256:9e does not exist: not found"


@pytest.fixture
def ctr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `ctr` that fails while `failures` has lines, one each, and notes what it was asked."""
    program = tmp_path / "ctr"
    program.write_text(
        f"""#!/bin/sh
cd {tmp_path}
shift 4
echo "$@" >> asked
[ "$2" = import ] || exit 0
[ "$3" != - ] || cat > /dev/null
[ -s failures ] || {{ echo imported; exit 0; }}
head -1 failures >&2
sed -i 1d failures
exit 1
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "archive.tar").write_bytes(b"")
    return tmp_path


def _asked(ctr: Path, verb: str) -> int:
    return sum(line.startswith(f"images {verb}") for line in (ctr / "asked").read_text().splitlines())


@pytest.mark.parametrize("collected", [0, 1, 3])
def test_an_archive_whose_layers_were_collected_is_imported_again(ctr: Path, collected: int) -> None:
    (ctr / "failures").write_text(f"{_COLLECTED}\n" * collected)
    assert containerd.load(ctr / "archive.tar") == ["imported"]
    assert _asked(ctr, "import") == collected + 1


def test_another_failure_is_told_at_once(ctr: Path) -> None:
    (ctr / "failures").write_text("ctr: no space left on device\n" * 2)
    with pytest.raises(StepFailedError, match="no space left"):
        containerd.load(ctr / "archive.tar")
    assert _asked(ctr, "import") == 1


def test_a_streamed_image_that_never_gets_its_layers_leaves_no_name(ctr: Path) -> None:
    (ctr / "failures").write_text(f"{_COLLECTED}\n" * 9)
    made = image("localhost/x:dev", [layer_of_file("/x", b"x", 0o755)], {})
    with pytest.raises(StepFailedError, match="localhost/x:dev"):
        containerd.load_image(made)
    assert (_asked(ctr, "import"), _asked(ctr, "remove localhost/x:dev")) == (4, 1)
