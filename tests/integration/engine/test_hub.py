"""The download phase with the Hub's real client, against a Hub on loopback."""

from collections.abc import Iterator

import pytest
from torpor_engine.hub import choose_files

from tests.integration.engine.harness import Pod
from tests.integration.engine.hub_server import Hub, Repository

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same weights again",
    "original/consolidated.pth": b"and again",
    "onnx/model.onnx": b"and again",
    "README.md": b"# words",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(
        {
            "tiny/llama": Repository(FILES),
            "tiny/gated": Repository(FILES, door="GatedRepo"),
            "tiny/private": Repository(FILES, door="RepoNotFound"),
            "tiny/words": Repository({"README.md": b"# words"}),
        },
        token="open-sesame",
    )
    hub.start()
    yield hub
    hub.stop()


def point(pod: Pod, hub: Hub, repository: str = "tiny/llama") -> Pod:
    pod.environ.update(TORPOR_MODEL_URI=f"hf://{repository}", HF_ENDPOINT=hub.address, HF_HUB_DISABLE_XET="1")
    return pod


def refused(pod: Pod, code: int, reason: str, *words: str) -> None:
    assert pod.end() == code, pod.log.read_text()
    message = pod.message()
    assert message.startswith(f"{reason}: spec.model."), message
    for word in words:
        assert word in message
    assert pod.entries() == []


def test_files_are_loaded_before_the_engine_and_only_once(pod: Pod, hub: Hub) -> None:
    stats = point(pod, hub).start().wait_state("Ready")
    assert [phase["name"] for phase in stats["phases"]][:3] == ["preflight", "download", "engine_start"]
    assert sorted(hub.given) == ["config.json", "model.safetensors", "tokenizer.json"]
    argv = pod.engine_argv()
    assert argv[1] == "tiny/llama"
    assert argv[argv.index("--revision") + 1] == "main"
    pod.terminate()
    assert pod.end() == 0
    # The next start finds everything in the cache, also when the Hub is away or must not be asked.
    pod.start(HF_HUB_OFFLINE="1").wait_state("Ready")
    pod.terminate()
    assert pod.end() == 0
    hub.broken = 503
    pod.start().wait_state("Ready")
    assert len(hub.given) == 3


def test_dummy_weights_are_not_loaded(pod: Pod, hub: Hub) -> None:
    point(pod, hub).start("--load-format", "dummy").wait_state("Ready")
    assert sorted(hub.given) == ["config.json", "tokenizer.json"]


def test_no_such_repository(pod: Pod, hub: Hub) -> None:
    refused(point(pod, hub, "tiny/lama").start(), 66, "ModelNotFound", "hf://tiny/lama", "correct it")


def test_no_such_revision(pod: Pod, hub: Hub) -> None:
    point(pod, hub).start(TORPOR_MODEL_REVISION="v9")
    refused(pod, 66, "ModelNotFound", "revision 'v9'")


def test_repository_without_a_model(pod: Pod, hub: Hub) -> None:
    refused(point(pod, hub, "tiny/words").start(), 66, "ModelNotFound", "no config.json", "README.md")


def test_private_repository_and_its_token(pod: Pod, hub: Hub) -> None:
    refused(point(pod, hub, "tiny/private").start(), 66, "ModelNotFound", "tokenSecretRef")
    pod.start(HF_TOKEN="open-sesame").wait_state("Ready")


def test_gated_repository(pod: Pod, hub: Hub) -> None:
    point(pod, hub, "tiny/gated").start(HF_TOKEN="hf_wrongwrongwrong")
    refused(pod, 67, "ModelAccessDenied", "accept the model's terms", "tokenSecretRef")


def test_offline_with_an_empty_cache(pod: Pod, hub: Hub) -> None:
    point(pod, hub).start(HF_HUB_OFFLINE="1")
    refused(pod, 66, "ModelNotFound", "not in the cache")
    assert hub.given == []


def test_hub_that_is_broken(pod: Pod, hub: Hub) -> None:
    hub.broken = 500
    refused(point(pod, hub).start(), 66, "ModelNotFound", "the Hub did not give hf://tiny/llama", "try later")


def test_cache_that_is_read_only_for_the_hub(pod: Pod, hub: Hub) -> None:
    point(pod, hub).start(HF_HUB_CACHE="/proc/hub")
    assert pod.end() in (66, 69)
    assert pod.entries() == []


def test_sigterm_ends_a_download(pod: Pod) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        pod.environ.update(TORPOR_MODEL_URI="hf://tiny/llama", HF_HUB_DISABLE_XET="1")
        pod.start(HF_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = silent.accept()
        with connection:
            assert pod.stats()["state"] == "Loading"
            pod.terminate()
            assert pod.end() == 0


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["config.json", "model.safetensors", "model.bin"], ["config.json", "model.safetensors"]),
        (["config.json", "pytorch_model.bin", "x.pt"], ["config.json", "pytorch_model.bin"]),
        (
            [
                "config.json",
                "consolidated.safetensors",
                "model-1.safetensors",
                "model.safetensors.index.json",
            ],
            ["config.json", "model.safetensors.index.json", "model-1.safetensors"],
        ),
        (["params.json", "consolidated.safetensors"], ["params.json", "consolidated.safetensors"]),
        (["1_Pooling/config.json", "modules.json", ".x.json"], ["1_Pooling/config.json", "modules.json"]),
    ],
)
def test_one_format_of_weights(names: list[str], chosen: list[str]) -> None:
    assert choose_files(names, weights=True) == chosen
