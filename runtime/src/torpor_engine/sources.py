"""Where the model's files come from.

`hf://org/repo` is loaded by the engine itself with a revision; `pvc://claim/path` and `image:///path` are
folders in the container. A folder is looked at before the engine starts, because "config.json is not there,
the folder has these entries" after 50 ms is worth more than a Python traceback after 40 s. The look is
shallow on purpose: whether the files are good is for the engine to say.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional
from urllib.parse import unquote

from torpor_engine.flags import flag_value
from torpor_engine.outcomes import LaunchError, Outcome, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELD = "spec.model.uri"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
CONFIGS = ("config.json", "params.json")  # Hugging Face's layout, Mistral's layout
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
# With these the weights are ordinary files in the folder; other loaders have layouts of their own.
PLAIN_LOAD_FORMATS = (None, "auto", "hf", "safetensors", "pt", "fastsafetensors", "instanttensor")


@dataclass(frozen=True)
class Source:
    """A model: `model` is what the engine is given; folders have no `revision` and no `hub`."""

    model: str
    revision: Optional[str]
    hub: Optional[str]


def read_source(uri: str, revision: str, models_dir: str) -> Source:
    """The source that `uri` names; claims are mounted at `models_dir`/CLAIM.

    Raises LaunchError(ConfigError) for anything the API would have refused.
    """
    scheme, separator, rest = uri.partition("://")
    path = posixpath.normpath("/" + unquote(rest).lstrip("/"))
    if not separator or scheme not in ("hf", "pvc", "image"):
        raise refuse(
            Outcome.ConfigError, FIELD, uri, "must begin with hf://, pvc:// or image://", "correct it"
        )
    if scheme == "hf":
        if not HUB_ID.fullmatch(rest):
            raise refuse(
                Outcome.ConfigError, FIELD, uri, "must be hf://ORGANISATION/REPOSITORY", "correct it"
            )
        return Source(rest, revision, rest)
    if ".." in rest.split("/") or path == "/" or (scheme == "image" and not rest.startswith("/")):
        raise refuse(
            Outcome.ConfigError,
            FIELD,
            uri,
            "must be pvc://CLAIM/PATH or image:///PATH without ..",
            "correct it",
        )
    return Source(path if scheme == "image" else models_dir + path, None, None)


def _nearest(path: Path) -> str:
    """The deepest existing parent of `path` and what it holds, for a message."""
    parent = next(folder for folder in path.parents if folder.is_dir())
    entries = sorted(entry.name for entry in parent.iterdir())
    shown = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
    return f"{parent} has {shown}" if entries else f"{parent} is empty"


def check_folder(uri: str, folder: str, args: Sequence[str]) -> None:
    """Look whether `folder` can hold the model of `uri`.

    Raises LaunchError(ModelNotFound or ModelAccessDenied).
    """
    path = Path(folder)
    try:
        if path.is_file() and path.suffix == ".gguf":
            return
        if not path.is_dir():
            raise refuse(
                Outcome.ModelNotFound,
                FIELD,
                uri,
                f"{folder} is not a folder",
                f"{_nearest(path)}; correct the path",
            )
        names = {entry.name for entry in path.iterdir()}
        config = next((name for name in CONFIGS if name in names), None)
        if config is None:
            raise refuse(
                Outcome.ModelNotFound,
                FIELD,
                uri,
                f"{folder} has no config.json",
                f"it has {', '.join(sorted(names)[:8]) or 'nothing'}; point to the checkpoint's own folder",
            )
        json.loads((path / config).read_bytes())
        if flag_value(args, "--load-format") in PLAIN_LOAD_FORMATS and not any(
            n.endswith(WEIGHTS) for n in names
        ):
            raise refuse(
                Outcome.ModelNotFound,
                FIELD,
                uri,
                f"{folder} has {config} and no weights ({', '.join(WEIGHTS)})",
                "finish the copy of the checkpoint, or name its layout with --load-format",
            )
    except PermissionError as error:
        raise refuse(
            Outcome.ModelAccessDenied,
            FIELD,
            uri,
            f"{error.filename} cannot be read by user {os.getuid()}",
            "make it readable for that user or its group (spec.engine.podTemplate, fsGroup)",
        ) from None
    except ValueError as error:
        raise refuse(
            Outcome.ModelNotFound,
            FIELD,
            uri,
            f"{folder}/{config} is not JSON ({error})",
            "copy the checkpoint again",
        ) from None
    except OSError as error:
        raise LaunchError(Outcome.ModelNotFound, f"{FIELD}={uri!r}: {error}; check the volume") from None
