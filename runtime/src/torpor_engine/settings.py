"""What the operator tells the launcher, read once and checked as a whole.

The pod template is written by the operator, so a missing variable is a bug or a hand-made pod; either way the
answer has to be a sentence and not a traceback. All faults are reported together. Nothing here looks at the
world: paths and ports are tried by the preflight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor_engine.outcomes import LaunchError, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINE_TYPES = ("vLLM", "Simulated")


@dataclass(frozen=True)
class Settings:
    """The launcher's settings. The sentence below a field is its row in the reference."""

    namespace: str
    """The fleet's namespace, for metrics and the stats stream."""
    name: str
    """The fleet's name."""
    uid: str
    """The fleet's identity; a successor of its name has another."""
    revision: str
    """The revision of the pod template that this pod is of."""
    pod: str
    """This pod's name."""
    engine_type: str
    """Which engine is started (`spec.engine.type`)."""
    model_uri: str
    """Where the model is (`spec.model.uri`)."""
    model_revision: str
    """Branch, tag or commit of a model of the Hub (`spec.model.revision`)."""
    model_names: tuple[str, ...]
    """The names under which the engine serves the model, separated by commas."""
    drain_seconds: int
    """How long requests may go on after SIGTERM (`spec.drainSeconds`)."""
    startup_seconds: int
    """How long the engine may take to its first token (`spec.engine.startupSeconds`)."""
    cache_dir: str
    """Where weights and compiled kernels are kept."""
    engine_port: int
    """The engine's port, for clients."""
    launcher_port: int
    """The launcher's port: probes, metrics and the stats stream."""
    listen_host: str
    """The address on which both listen."""
    models_dir: str
    """Below it a volume of `pvc://` is mounted, under its claim's name."""
    termination_log: str
    """File for the reason why the launcher ended, read by the kubelet."""
    tuning_file: str
    """File of the fleet's ConfigMap with what the engine is to be started with."""


class Reader:
    """Collects faults instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def text(self, key: str, default: str | None = None) -> str:
        """Return the variable's text; without a default it must be there."""
        value = self.environ.get(key, "").strip()
        if value:
            return value
        if default is None:
            self.faults.append(f"{key} is not set")
            return ""
        return default

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.text(key, str(default))
        if value.isascii() and value.isdigit() and low <= int(value) <= high:
            return int(value)
        self.faults.append(f"{key}={value!r} is not a whole number from {low} to {high}")
        return default


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from the TORPOR_* variables of `environ`.

    Raises LaunchError(ConfigError) that names every variable at fault.
    """
    read = Reader(environ)
    settings = gather(read)
    if read.faults:
        raise LaunchError(
            Outcome.ConfigError,
            f"environment: {'; '.join(read.faults)}; the operator sets these variables, "
            "so compare the pod with its Deployment",
        )
    return settings


def gather(read: Reader) -> Settings:
    """Ask `read` for every setting; it keeps the faults. The reference is made from what is asked for."""
    engine_type = read.text("TORPOR_ENGINE_TYPE", "vLLM")
    if engine_type not in ENGINE_TYPES:
        read.faults.append(f"TORPOR_ENGINE_TYPE={engine_type!r} is not one of {', '.join(ENGINE_TYPES)}")
    names = tuple(name.strip() for name in read.text("TORPOR_MODEL_NAMES").split(",") if name.strip())
    if not names and "TORPOR_MODEL_NAMES is not set" not in read.faults:
        read.faults.append("TORPOR_MODEL_NAMES has no name")
    settings = Settings(
        namespace=read.text("TORPOR_FLEET_NAMESPACE"),
        name=read.text("TORPOR_FLEET_NAME"),
        uid=read.text("TORPOR_FLEET_UID"),
        revision=read.text("TORPOR_REVISION"),
        pod=read.text("TORPOR_POD_NAME"),
        engine_type=engine_type,
        model_uri=read.text("TORPOR_MODEL_URI"),
        model_revision=read.text("TORPOR_MODEL_REVISION", "main"),
        model_names=names,
        drain_seconds=read.whole("TORPOR_DRAIN_SECONDS", 0, 86400, 600),
        startup_seconds=read.whole("TORPOR_STARTUP_SECONDS", 1, 86400, 1800),
        cache_dir=read.text("TORPOR_CACHE_DIR", "/cache"),
        engine_port=read.whole("TORPOR_ENGINE_PORT", 1, 65535, 8000),
        launcher_port=read.whole("TORPOR_LAUNCHER_PORT", 1, 65535, 8001),
        listen_host=read.text("TORPOR_LISTEN_HOST", "0.0.0.0"),
        models_dir=read.text("TORPOR_MODELS_DIR", "/models"),
        termination_log=read.text("TORPOR_TERMINATION_LOG", "/dev/termination-log"),
        tuning_file=read.text("TORPOR_TUNING_FILE", "/etc/torpor/tuning.json"),
    )
    if settings.engine_port == settings.launcher_port:
        read.faults.append(f"TORPOR_ENGINE_PORT and TORPOR_LAUNCHER_PORT are both {settings.engine_port}")
    return settings
