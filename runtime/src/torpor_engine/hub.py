"""Bring a model's files from the Hub into the cache, ahead of the engine. Runs in the engine's own Python.

The engine could load them itself, and does load whatever is left out here. Loading ahead makes the download a
phase of its own with a time, and turns its errors into reasons: from inside the engine a missing repository,
a gated one and a full disk all look like a traceback. The client of the Hub that the engine has does the
work, so its cache, mirror, proxy and offline settings hold.

Only files that the engine would open are taken: repositories often hold the same weights in several formats.
Runs as a program, prints one JSON object with `outcome` (null when all is well) and `message`; it knows
errors by the names of their classes, because the client moved them between modules more than once.
"""

from __future__ import annotations

import errno
import importlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTEMPTS = 3
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")  # the first that is there is what the engine takes
TEXT_SUFFIXES = (".json", ".txt", ".py", ".model", ".tiktoken", ".jinja", ".yaml", ".yml", ".spm")
NOT_FOUND = {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "HFValidationError"}
CONFIGS = {"config.json", "params.json"}
AWAY = {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}
DENIED = {"GatedRepoError", "DisabledRepoError"}
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
NOT_WRITABLE = {errno.EACCES, errno.EROFS, errno.EPERM}


def choose_files(names: Iterable[str], weights: bool) -> list[str]:
    """Of a repository's files those that an engine reads; with `weights`, weights in one format."""
    names = sorted(names)
    chosen = [
        name for name in names if name.endswith(TEXT_SUFFIXES) and not name.startswith((".", "original/"))
    ]
    for suffix in WEIGHT_SUFFIXES if weights else ():
        found = [name for name in names if name.endswith(suffix) and "/" not in name]
        if found:
            sharded = [name for name in found if not name.startswith("consolidated")]
            return chosen + (sharded or found)
    return chosen


def explain(error: BaseException, repo: str, revision: str) -> tuple[str, str, bool]:
    """For an error of the Hub's client: the launcher's outcome by name, a message, whether to try again."""
    classes = class_names(error)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    where = f"hf://{repo} at revision {revision!r}"
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL_DISK:
        return (
            "OutOfMemory",
            f"spec.model.cache: disk full while loading {where}; give the cache more room",
            False,
        )
    if number in NOT_WRITABLE:
        return "CacheNotWritable", f"spec.model.cache: {first}; let the pod's user write to the cache", False
    if classes & AWAY:
        rule = f"{where} is not in the cache and the Hub cannot be asked ({first})"
        step = "allow the way to the Hub, or fill the cache"
        return "ModelNotFound", f"spec.model.uri: {rule}; {step}", "OfflineModeIsEnabled" not in classes
    if classes & DENIED or (http_status(error) in (401, 403) and not classes & NOT_FOUND):
        step = "accept the model's terms and set spec.model.tokenSecretRef"
        return "ModelAccessDenied", f"spec.model.uri: {where} is not open to this token; {step}", False
    if classes & NOT_FOUND:
        step = "correct it, or set spec.model.tokenSecretRef"
        return "ModelNotFound", f"spec.model.uri: {where} does not exist or is private; {step}", False
    message = f"spec.model.uri: the Hub did not give {where}: {type(error).__name__}: {first}; try later"
    return "ModelNotFound", message, True


def class_names(error: BaseException) -> set[str]:
    """The names of the error's class and all its bases."""
    return {base.__name__ for base in type(error).__mro__}


def http_status(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there is one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def fetch(hub: Any, repo: str, revision: str, cache: str | None, weights: bool) -> dict[str, object]:
    """Load the files; the result says how many bytes they have. Raises whatever the Hub's client raises."""
    api = hub.HfApi()
    try:
        info = api.model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:
        if class_names(error) & (NOT_FOUND | DENIED) or http_status(error) in (401, 403):
            raise
        try:
            # Offline, or the Hub is away: what the cache has must do. Newer clients compare the cache with
            # the whole repository, so only the configuration is asked for; the engine knows the rest.
            hub.snapshot_download(
                repo, revision=revision, cache_dir=cache, allow_patterns=[*CONFIGS], local_files_only=True
            )
        except Exception as nothing:
            raise nothing if "OfflineModeIsEnabled" in class_names(error) else error from None
        return {"bytes": None, "cached": True}
    sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
    files = choose_files(sizes, weights)
    if not CONFIGS & set(files) and not any(name.endswith(".gguf") for name in sizes):
        shown = ", ".join(sorted(sizes)[:8]) or "nothing"
        message = f"spec.model.uri=hf://{repo}: no config.json, the repository has {shown}; name a model"
        return {"outcome": "ModelNotFound", "message": message}
    total = sum(sizes[name] for name in files)
    root = Path(cache or hub.constants.HF_HUB_CACHE)
    root.mkdir(parents=True, exist_ok=True)
    have = sum(p.stat().st_size for p in (root / f"models--{repo.replace('/', '--')}" / "blobs").glob("*"))
    free = shutil.disk_usage(root).free
    if total - have > free:
        need = f"hf://{repo} needs {(total - have) >> 20} MiB, {root} has {free >> 20} free"
        return {"outcome": "OutOfMemory", "message": f"spec.model.cache: {need}; give it more room"}
    sys.stderr.write(
        f"[torpor] loading {len(files)} files of {repo}, {total >> 20} MiB, {have >> 20} MiB of them cached\n"
    )
    hub.snapshot_download(repo, revision=info.sha or revision, cache_dir=cache, allow_patterns=files)
    # The engine asks for the revision by name; that has to find the files even if the Hub is away then.
    refs = root / f"models--{repo.replace('/', '--')}" / "refs" / revision
    if info.sha and revision != info.sha:
        refs.parent.mkdir(parents=True, exist_ok=True)
        refs.write_text(info.sha)
    return {"bytes": total}


def main(repo: str, revision: str, cache: str, weights: str) -> None:
    """Print the result of loading `repo`; network errors are tried a few times."""
    hub = importlib.import_module("huggingface_hub")
    result: dict[str, object] = {}
    for attempt in range(ATTEMPTS):
        try:
            result = fetch(hub, repo, revision, cache or None, weights == "1")
            break
        except Exception as error:
            outcome, message, again = explain(error, repo, revision)
            result = {"outcome": outcome, "message": message}
            if not again:
                break
            if attempt + 1 < ATTEMPTS:
                time.sleep(2**attempt)
    sys.stdout.write(json.dumps(result) + "\n")
