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
    """The launcher's settings. Times are seconds."""

    namespace: str
    name: str
    uid: str
    revision: str
    pod: str
    engine_type: str
    model_uri: str
    model_revision: str
    model_names: tuple[str, ...]
    drain_seconds: int
    startup_seconds: int
    cache_dir: str
    engine_port: int
    launcher_port: int
    listen_host: str
    models_dir: str
    termination_log: str
    tuning_file: str


class _Reader:
    """Collects faults instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def text(self, key: str, default: str | None = None) -> str:
        value = self.environ.get(key, "").strip()
        if value:
            return value
        if default is None:
            self.faults.append(f"{key} is not set")
            return ""
        return default

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        value = self.text(key, str(default))
        if value.isascii() and value.isdigit() and low <= int(value) <= high:
            return int(value)
        self.faults.append(f"{key}={value!r} is not a whole number from {low} to {high}")
        return default


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from the TORPOR_* variables of `environ`.

    Raises LaunchError(ConfigError) that names every variable at fault.
    """
    read = _Reader(environ)
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
    if read.faults:
        raise LaunchError(
            Outcome.ConfigError,
            f"environment: {'; '.join(read.faults)}; the operator sets these variables, "
            "so compare the pod with its Deployment",
        )
    return settings
