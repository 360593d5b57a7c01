"""What a user may not set on the engine, because Torpor sets it, and why.

The launcher owns the engine's command line: where it listens, what it serves and how it ends are what
routing and draining stand on. A user's copy of such a flag would win or lose by its position, and either
way one of the two is surprised. So each is refused by name with a hint where the same wish belongs.
`--max-num-seqs` is the user's: the launcher reads it instead of setting it.

vLLM accepts `--max_model_len` for `--max-model-len`, and both `--flag value` and `--flag=value`; the rules
see them all. The list refuses nothing that merely is unwise.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from torpor.api.base import Rule

MAX_ARGS_CHARACTERS: Final = 32_768

# Flag to hint, without the leading dashes.
OUR_FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "host": "the launcher binds the engine's address",
        "port": "the engine's port is fixed",
        "uds": "the gateway speaks TCP to the engine",
        "listen": "the simulated engine's address is fixed",
        "model": "use spec.model.uri",
        "served-model-name": "use spec.model.name",
        "revision": "use spec.model.revision",
        "hf-token": "use spec.model.tokenSecretRef",
        "api-key": "the gateway is the only client; the NetworkPolicy keeps others out",
        "shutdown-timeout": "use spec.drainSeconds",
        "root-path": "the gateway uses the engine's paths as they are",
        "ssl-keyfile": "the gateway speaks plain HTTP to the engine",
        "ssl-certfile": "the gateway speaks plain HTTP to the engine",
        "ssl-ca-certs": "the gateway speaks plain HTTP to the engine",
        "headless": "an engine without an API server cannot serve",
        "grpc": "the gateway speaks HTTP to the engine",
        "disable-log-stats": "the signals are read from these statistics",
        "": "it would end the flags, the launcher's own too",
    }
)
# Environment names beside the prefix TORPOR_.
OUR_ENV: Final[Mapping[str, str]] = MappingProxyType(
    {
        "VLLM_PORT": "the engine's port is fixed",
        "VLLM_API_KEY": "the gateway is the only client; the NetworkPolicy keeps others out",
    }
)

_OUR_ENV: Final = re.compile(rf"TORPOR_.*|{'|'.join(OUR_ENV)}", re.DOTALL)
_LISTED: Final = ", ".join(f"'--{flag}'" for flag in OUR_FLAGS)


def hint_for_flag(arg: str) -> str | None:
    """Return why `arg` is refused, or None where it is the user's to set."""
    if not arg.startswith("--"):
        return None
    return OUR_FLAGS.get(arg.partition("=")[0].replace("_", "-").removeprefix("--"))


NOT_OUR_FLAG: Final = Rule(
    # One long regular expression would say the same and exceed the API server's cost limit.
    cel=f"!self.startsWith('--') || !(self.replace('_', '-').split('=')[0] in [{_LISTED}])",
    message=(
        "is set by Torpor and must not be given; remove it (model: spec.model.uri, "
        "served name: spec.model.name, revision: spec.model.revision, "
        "token: spec.model.tokenSecretRef, shutdown: spec.drainSeconds)"
    ),
    holds=lambda arg: hint_for_flag(arg) is None,
)
NOT_OUR_ENV: Final = Rule(
    cel=f"!self.matches('^(TORPOR_|({'|'.join(OUR_ENV)})$)')",
    message="is set by Torpor or would break routing (TORPOR_*, VLLM_PORT, VLLM_API_KEY); remove it",
    holds=lambda name: _OUR_ENV.fullmatch(name) is None,
)
