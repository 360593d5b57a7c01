"""The environment in which the engine runs.

Three things break engines in restricted pods and never on a laptop. Kubernetes' service links inject
variables such as VLLM_PORT=tcp://... which vLLM refuses to start with. A user id without a passwd entry makes
getpass and everything that asks for a home directory fail. And caches that default to a read-only root fail
late, after the weights are loaded. All three are settled here, before the engine starts. What the user sets
in `engine.env` is kept, with one exception: a HOME that cannot be written helps nobody.
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINK_SUFFIX = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)
CACHES = {
    "XDG_CACHE_HOME": "xdg",
    "XDG_CONFIG_HOME": "config",
    "HF_HOME": "huggingface",
    "VLLM_CACHE_ROOT": "vllm",
    "VLLM_CONFIG_ROOT": "config/vllm",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
}


def service_links(environ: Mapping[str, str]) -> set[str]:
    """Names of the variables that Kubernetes' service links put into `environ`.

    A service FOO always has FOO_SERVICE_HOST; only with it are FOO_PORT and its kin links. A VLLM_PORT with a
    URL is one in any case: vLLM's own is a number.
    """
    prefixes = {key[: -len("_SERVICE_HOST")] for key in environ if key.endswith("_SERVICE_HOST")} - {
        "KUBERNETES"
    }
    links = set()
    for key, value in environ.items():
        match = LINK_SUFFIX.search(key)
        if (match and key[: match.start()] in prefixes) or (key == "VLLM_PORT" and "://" in value):
            links.add(key)
    return links


def has_passwd_entry(uid: int) -> bool:
    """Whether the image knows a name for `uid`."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def writable(path: str) -> bool:
    """Whether `path` is a directory that this process may write to."""
    return path.startswith("/") and Path(path).is_dir() and os.access(path, os.W_OK)


def engine_environ(
    environ: Mapping[str, str],
    cache_dir: str,
    can_write: Callable[[str], bool] = writable,
    named_user: bool | None = None,
) -> dict[str, str]:
    """The engine's environment, made of the launcher's own; pure but for its two questions to the world.

    `can_write` says whether a directory can be written, `named_user` whether the process's user id has a
    name.
    """
    result = dict(environ)
    for key in service_links(environ):
        del result[key]
    if not can_write(result.get("HOME", "")):
        result["HOME"] = f"{cache_dir}/home"
    if not (has_passwd_entry(os.getuid()) if named_user is None else named_user):
        for key in ("USER", "LOGNAME"):
            result.setdefault(key, "torpor")
    for key, folder in CACHES.items():
        result.setdefault(key, f"{cache_dir}/{folder}")
    result.setdefault("TMPDIR", "/tmp")  # noqa: S108 - the pod's own volume
    result.setdefault("VLLM_NO_USAGE_STATS", "1")
    result.setdefault("DO_NOT_TRACK", "1")
    return result
