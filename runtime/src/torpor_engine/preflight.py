"""What is checked before an engine may cost anything.

Each check is a few milliseconds and turns an hour of crash loops into one sentence. They run in the order of
the list in `preflight`; the first that fails ends the launch with its own exit code. The GPU is only
reported: an engine built for something else (CPU, AMD, TPU) starts without one, and vLLM says better than a
guess whether it can.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torpor_engine.accelerators import Accelerators, accelerators
from torpor_engine.adapters import Engine, Gpu, engine_argv, find_engine, find_gpus
from torpor_engine.flags import check_args
from torpor_engine.outcomes import LaunchError, Outcome
from torpor_engine.sources import Source, check_folder, read_source
from torpor_engine.tuning import Tuning, advice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torpor_engine.children import Children
    from torpor_engine.settings import Settings

# Compile caches, logs and locks of an engine with its weights already there.
LEAST_FREE_BYTES = 64 << 20
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri", "/dev/accel", "/dev/vfio")


@dataclass(frozen=True)
class Plan:
    """What will be started: the engine, the model's source, the command line, its number of sequences, and
    on what, and what of the operator's advice is in it.
    """

    engine: Engine
    source: Source
    argv: list[str]
    max_num_seqs: int
    accelerators: Accelerators
    tuning: Tuning


def check_writable(folder: str, field: str) -> None:
    """Make sure that `folder` exists, takes a file and has room.

    Raises LaunchError(CacheNotWritable), or LaunchError(OutOfMemory) when less than 64 MiB are free.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"torpor")
        stat = os.statvfs(folder)
    except OSError as error:
        raise LaunchError(
            Outcome.CacheNotWritable,
            f"{field}: {folder} cannot be written by user {os.getuid()}, groups {os.getgroups()}: "
            f"{error.strerror}; mount a volume that this user or fsGroup may write",
        ) from None
    free = stat.f_bavail * stat.f_frsize
    if free < LEAST_FREE_BYTES:
        raise LaunchError(
            Outcome.OutOfMemory,
            f"{field}: {folder} has {free >> 20} MiB free, at least {LEAST_FREE_BYTES >> 20} are needed; "
            "make the volume larger",
        )


def describe_gpus(gpus: Sequence[Gpu]) -> str:
    """One line about the accelerators, for the log."""
    if gpus:
        return ", ".join(
            f"{gpu.name} ({gpu.memory_bytes / (1 << 30):.0f} GiB, driver {gpu.driver})" for gpu in gpus
        )
    present = [device for device in DEVICES if Path(device).exists()]
    if present:
        return f"no NVIDIA GPU; devices {', '.join(present)}"
    return "none seen; only an engine built for CPUs will start (a GPU comes with spec.engine.resources)"


def describe_tuning(tuning: Tuning) -> str:
    """One line about the budget of a step, for the log."""
    if tuning.max_num_batched_tokens is None:
        return f"none is set by the fleet: {tuning.told}"
    return f"--max-num-batched-tokens {tuning.max_num_batched_tokens}: {tuning.told}"


async def preflight(
    children: Children,
    settings: Settings,
    args: Sequence[str],
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> Plan:
    """Check everything that can be checked cheaply and plan the engine's start; `environ` is the engine's.

    Raises LaunchError with the exit code of the first check that fails.
    """
    check_args(args)
    source = read_source(settings.model_uri, settings.model_revision, settings.models_dir)
    check_writable(settings.cache_dir, "spec.model.cache")
    check_writable(environ["HOME"], "HOME")
    check_writable(environ["TMPDIR"], "TMPDIR")
    if source.hub is None:
        check_folder(settings.model_uri, source.model, args)
    engine, gpus = await asyncio.gather(
        find_engine(children, settings, environ), find_gpus(children, environ)
    )
    tuning = advice(settings.tuning_file, settings.uid, settings.revision, args, environ["TMPDIR"])
    argv, seqs = engine_argv(engine, settings, source, args, gpus, tuning=tuning)
    say(f"engine {engine.type} {engine.version or 'of unknown version'}: {engine.command[0]}")
    if engine.type == "vLLM":
        say(f"accelerators: {describe_gpus(gpus)}")
        if not engine.has_shutdown_timeout:
            say("this version cannot drain by itself: its requests are waited for before it gets SIGTERM")
    say(f"prefill budget: {describe_tuning(tuning)}")
    return Plan(engine, source, argv, seqs, accelerators(argv, gpus), tuning)
