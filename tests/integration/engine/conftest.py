"""The packed launcher, and a pod around it."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torpor_engine.pack import pack

from tests.integration.engine.harness import Pod


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("archive") / "torpor-engine.pyz"
    pack(target)
    return target


@pytest.fixture(scope="session")
def program(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipapp's files in a folder, which Python runs in the same way but compiles only once.

    From the zipapp itself every launch compiles its modules again, a third of what a test costs.
    """
    folder = tmp_path_factory.mktemp("program")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder


@pytest.fixture
def pod(program: Path, tmp_path: Path) -> Iterator[Pod]:
    pod = Pod(program, tmp_path)
    pod.install_vllm()
    yield pod
    pod.stop()


@pytest.fixture
def bare_pod(program: Path, tmp_path: Path) -> Iterator[Pod]:
    """A pod whose image has no engine."""
    pod = Pod(program, tmp_path)
    yield pod
    pod.stop()


@pytest.fixture
def pod_of(program: Path, tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    """A pod with a given version of vLLM."""
    pods: list[Pod] = []

    def make(version: str) -> Pod:
        pod = Pod(program, tmp_path)
        pod.install_vllm(version)
        pods.append(pod)
        return pod

    yield make
    for pod in pods:
        pod.stop()
