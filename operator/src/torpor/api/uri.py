"""Model URIs: three schemes, each with one reading.

`hf://ORG/NAME` is a repository of the Hugging Face Hub, `pvc://CLAIM/PATH` a directory of a claim in the
fleet's namespace, `image:///PATH` a directory in the engine's image. The scheme decides what the pod
mounts, so the operator parses it; the launcher parses it once more to find the directory.

Refused: other schemes (with the list of those that exist), `..`, empty names, and anything a shell or a
path could read in two ways.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import StringConstraints

from torpor.api.base import NO_CLIMBING, ONE_LINE, Rule
from torpor.api.constants import MODELS_DIR

SCHEMES: Final = ("hf", "pvc", "image")
_SEGMENT: Final = "[A-Za-z0-9_][-A-Za-z0-9._]*"
_HF: Final = f"hf://{_SEGMENT}(/{_SEGMENT})?"
_PVC: Final = "pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[-A-Za-z0-9._]+)*/?"
_IMAGE: Final = "image://(/[-A-Za-z0-9._]+)+/?"
_PATTERNS: Final = {"hf": re.compile(_HF), "pvc": re.compile(_PVC), "image": re.compile(_IMAGE)}


@dataclass(frozen=True, slots=True)
class ModelUri:
    """
    A model URI, read. `location` is the repository (hf), the claim (pvc) or empty (image); `path` is
    absolute.
    """

    scheme: Literal["hf", "pvc", "image"]
    location: str
    path: str

    @property
    def directory(self) -> str | None:
        """
        Return where the model's files are in the engine's container; None where they must be fetched first.
        """
        if self.scheme == "hf":
            return None
        return f"{self.mount}{self.path}" if self.scheme == "pvc" else self.path

    @property
    def mount(self) -> str:
        """Return where the claim of a pvc URI is mounted."""
        return f"{MODELS_DIR}/{self.location}"


def _well_formed(uri: str) -> bool:
    pattern = _PATTERNS.get(uri.partition("://")[0])
    return pattern is None or pattern.fullmatch(uri) is not None


def parse(uri: str) -> ModelUri:
    """Read `uri`. ValueError with the rule and the next step where it is not one of the three schemes."""
    scheme, _, rest = uri.partition("://")
    for rule in (SCHEME_KNOWN, SYNTAX, NO_CLIMBING):
        if not rule.holds(uri):
            raise ValueError(f'model URI "{uri}" {rule.message}')
    if scheme == "hf":
        return ModelUri("hf", rest, "")
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        return ModelUri("pvc", claim, f"/{path}".rstrip("/"))
    return ModelUri("image", "", rest.rstrip("/"))


SCHEME_KNOWN: Final = Rule(
    cel="self.startsWith('hf://') || self.startsWith('pvc://') || self.startsWith('image://')",
    message="has an unknown scheme; use hf://ORG/NAME, pvc://CLAIM/PATH or image:///PATH",
    holds=lambda uri: uri.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)),
)
SYNTAX: Final = Rule(
    cel=(
        f"(!self.startsWith('hf://') || self.matches('^{_HF}$'))"
        f" && (!self.startsWith('pvc://') || self.matches('^{_PVC}$'))"
        f" && (!self.startsWith('image://') || self.matches('^{_IMAGE}$'))"
    ),
    message=(
        "does not have the form of its scheme; write hf://ORG/NAME, pvc://CLAIM/PATH or image:///PATH "
        "with letters, digits, '-', '_' and '.'"
    ),
    holds=_well_formed,
)
UriText = Annotated[
    str, StringConstraints(min_length=1, max_length=512), ONE_LINE, SCHEME_KNOWN, SYNTAX, NO_CLIMBING
]
