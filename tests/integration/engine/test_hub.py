"""The download phase with the Hub's real client, against a Hub on loopback."""

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torpor_engine import hub as program
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


@pytest.fixture
def ask(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., dict[str, Any]]]:
    """The download's program in this process (its client takes half a second to import): its answer."""
    import huggingface_hub
    from huggingface_hub import constants

    files = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)  # made of the former at import
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(program, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def load(repository: str, revision: str = "main", weights: str = "1") -> dict[str, Any]:
        program.main(repository, revision, str(tmp_path / "cache"), weights)
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    yield load
    huggingface_hub.close_session()


def point(pod: Pod, hub: Hub, repository: str = "tiny/llama") -> Pod:
    pod.environ.update(TORPOR_MODEL_URI=f"hf://{repository}", HF_ENDPOINT=hub.address, HF_HUB_DISABLE_XET="1")
    return pod


def test_files_are_loaded_before_the_engine_and_only_once(pod: Pod, hub: Hub) -> None:
    stats = point(pod, hub).start().wait_state("Ready")
    assert [phase["name"] for phase in stats["phases"]][:3] == ["preflight", "download", "engine_start"]
    assert sorted(hub.given) == ["config.json", "model.safetensors", "tokenizer.json"]
    argv = pod.engine_argv()
    assert argv[1] == "tiny/llama"
    assert argv[argv.index("--revision") + 1] == "main"
    pod.terminate()
    assert pod.end() == 0
    # The next start finds everything in the cache, also when the Hub must not be asked.
    pod.start(HF_HUB_OFFLINE="1").wait_state("Ready")
    assert len(hub.given) == 3


def test_a_refusal_of_the_hub_ends_the_launch(pod: Pod, hub: Hub) -> None:
    point(pod, hub, "tiny/gated").start(HF_TOKEN="hf_wrongwrongwrong")
    assert pod.end() == 67, pod.log.read_text()
    message = pod.message()
    assert message.startswith("ModelAccessDenied: spec.model.uri: hf://tiny/gated"), message
    assert "accept the model's terms" in message
    assert "tokenSecretRef" in message
    assert pod.entries() == []


def test_a_cache_does_for_a_hub_that_is_away(hub: Hub, ask: Callable[..., dict[str, Any]]) -> None:
    assert ask("tiny/llama")["bytes"] == sum(map(len, (FILES[name] for name in hub.given)))
    assert len(hub.given) == 3
    hub.broken = 503
    assert ask("tiny/llama") == {"bytes": None, "cached": True}
    assert len(hub.given) == 3


def test_dummy_weights_are_not_loaded(hub: Hub, ask: Callable[..., dict[str, Any]]) -> None:
    assert "outcome" not in ask("tiny/llama", weights="0")
    assert sorted(hub.given) == ["config.json", "tokenizer.json"]


@pytest.mark.parametrize(
    ("repository", "revision", "outcome", "words"),
    [
        ("tiny/lama", "main", "ModelNotFound", ("hf://tiny/lama", "correct it")),
        ("tiny/llama", "v9", "ModelNotFound", ("revision 'v9'",)),
        ("tiny/words", "main", "ModelNotFound", ("no config.json", "README.md")),
        ("tiny/private", "main", "ModelNotFound", ("tokenSecretRef",)),
        ("tiny/gated", "main", "ModelAccessDenied", ("accept the model's terms", "tokenSecretRef")),
    ],
)
def test_refusals_of_the_hub(
    ask: Callable[..., dict[str, Any]], repository: str, revision: str, outcome: str, words: tuple[str, ...]
) -> None:
    answer = ask(repository, revision)
    assert answer["outcome"] == outcome
    assert answer["message"].startswith("spec.model.")
    for word in words:
        assert word in answer["message"]


def test_a_token_opens_a_private_repository(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "open-sesame")
    assert ask("tiny/private")["bytes"] > 0


def test_offline_with_an_empty_cache(
    hub: Hub, ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    answer = ask("tiny/llama")
    assert answer["outcome"] == "ModelNotFound"
    assert "not in the cache" in answer["message"]
    assert hub.given == []


def test_a_broken_hub_is_asked_again(hub: Hub, ask: Callable[..., dict[str, Any]]) -> None:
    hub.broken = 500
    answer = ask("tiny/llama")
    assert answer["outcome"] == "ModelNotFound"
    assert "the Hub did not give hf://tiny/llama" in answer["message"]
    assert "try later" in answer["message"]


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.EROFS, "CacheNotWritable"),
        (errno.EACCES, "CacheNotWritable"),
        (errno.ENOSPC, "OutOfMemory"),
        (errno.EDQUOT, "OutOfMemory"),
    ],
)
def test_a_cache_that_does_not_take_the_files(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, number: int, outcome: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    answer = ask("tiny/llama")
    assert (answer["outcome"], answer["message"].split(": ")[0]) == (outcome, "spec.model.cache")


def test_a_cache_that_is_too_small(
    hub: Hub, ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    answer = ask("tiny/llama")
    assert answer["outcome"] == "OutOfMemory"
    assert "has 0 free" in answer["message"]
    assert hub.given == []


def test_sigterm_ends_a_download(pod: Pod) -> None:
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
