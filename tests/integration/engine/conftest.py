"""The packed launcher, and a pod around it."""

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


@pytest.fixture
def pod(archive: Path, tmp_path: Path) -> Iterator[Pod]:
    pod = Pod(archive, tmp_path)
    pod.install_vllm()
    yield pod
    pod.stop()


@pytest.fixture
def bare_pod(archive: Path, tmp_path: Path) -> Iterator[Pod]:
    """A pod whose image has no engine."""
    pod = Pod(archive, tmp_path)
    yield pod
    pod.stop()


@pytest.fixture
def pod_of(archive: Path, tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    """A pod with a given version of vLLM."""
    pods: list[Pod] = []

    def make(version: str) -> Pod:
        pod = Pod(archive, tmp_path)
        pod.install_vllm(version)
        pods.append(pod)
        return pod

    yield make
    for pod in pods:
        pod.stop()
