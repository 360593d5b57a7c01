"""A whole launch on every older Python that this machine has: engine images bring their own."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.engine.harness import Pod


def pythons() -> list[str]:
    """Every older Python of this machine that starts; there may be none."""
    found = []
    for minor in (9, 10):
        for folder in [*os.environ["PATH"].split(":"), *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin")]:
            python = Path(folder) / f"python3.{minor}"
            if (
                python.exists()
                and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0
            ):
                found.append(str(python))
                break
    return found


@pytest.mark.parametrize("python", pythons() or [pytest.param("", marks=pytest.mark.skip("no older Python"))])
def test_whole_life_on_an_older_python(archive: Path, tmp_path: Path, python: str) -> None:
    pod = Pod(archive, tmp_path, python)
    pod.install_vllm()
    try:
        assert pod.start(SCRIPT_ORPHAN="1").wait_state("Ready")["maxNumSeqs"] == 256
        pod.terminate()
        assert pod.end() == 0
    finally:
        pod.stop()
