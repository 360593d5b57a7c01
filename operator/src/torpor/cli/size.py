"""`torpor size`: which accelerators, how many of them per replica, and how many replicas, with the formula.

No cluster, no network: a model's config.json or a few numbers in, a table out.
"""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.cli.history import UsageError
from torpor.cli.manners import TroubleError, check_format, emit

if TYPE_CHECKING:
    from torpor.sizing.fit import Load, Option
    from torpor.sizing.model import Model

SHOWN = 8  # options of a table


def size(
    *,
    config: Annotated[Path | None, typer.Option(help="The model's config.json, as on Hugging Face.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Its name, to find measured rows: Llama-3.1-70B, Qwen3-32B.")
    ] = None,
    parameters: Annotated[str | None, typer.Option(help="Instead of a config: like 8B or 70.6e9.")] = None,
    active_parameters: Annotated[str | None, typer.Option(help="Of a mixture: that one token meets.")] = None,
    layers: Annotated[int | None, typer.Option(help="With --parameters.")] = None,
    kv_heads: Annotated[int | None, typer.Option(help="Key-value heads, with --parameters.")] = None,
    head_dim: Annotated[int, typer.Option(help="Elements of a head, with --parameters.")] = 128,
    quantization: Annotated[
        str | None,
        typer.Option(help="bf16, fp8, int8, awq, gptq, int4, nvfp4, mxfp4; default: the config's."),
    ] = None,
    kv_cache: Annotated[str, typer.Option(help="Type of the cache: auto, bf16, fp8.")] = "auto",
    context: Annotated[int, typer.Option(help="The longest prompt and answer together, in tokens.")] = 8192,
    prompt: Annotated[float, typer.Option(help="Mean tokens of a prompt.")] = 1024,
    answer: Annotated[float, typer.Option(help="Mean tokens of an answer.")] = 256,
    users: Annotated[float, typer.Option(help="People who use it at once.")] = 100,
    think: Annotated[float, typer.Option(help="Seconds between an answer and the next question.")] = 30,
    ttft_ms: Annotated[float, typer.Option(help="Objective of the first token; 0: none.")] = 2000,
    itl_ms: Annotated[float, typer.Option(help="Objective between two tokens; 0: none.")] = 50,
    gpu: Annotated[list[str] | None, typer.Option(help="Only this accelerator; repeatable.")] = None,
    gpus: Annotated[list[int] | None, typer.Option(help="Only so many a replica; repeatable.")] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="GPU=NUMBER per hour; with one for each, the cheapest is first.")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="table, json or yaml.")] = "table",
) -> None:
    """Say which accelerators a model needs, how many, and why."""
    from torpor.decide.work import Objectives  # noqa: PLC0415 - `torpor --help` has no use for any of it
    from torpor.sizing import fit  # noqa: PLC0415
    from torpor.sizing.model import CACHE_BYTES, ModelError  # noqa: PLC0415

    try:
        check_format(output)
        if kv_cache not in CACHE_BYTES:
            raise UsageError(f"--kv-cache {kv_cache[:40]!r}: must be one of {', '.join(CACHE_BYTES)}")
        found = _model(
            config=config,
            parameters=parameters,
            active=active_parameters,
            layers=layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            quantization=quantization,
            name=model,
        )
        for name, value, least, most in (
            ("--context", context, 16, 10_000_000),
            ("--prompt", prompt, 1, 10_000_000),
            ("--answer", answer, 1, 10_000_000),
            ("--users", users, 0.001, 10_000_000),
            ("--think", think, 0, 1_000_000),
            ("--ttft-ms", ttft_ms, 0, 600_000),
            ("--itl-ms", itl_ms, 0, 60_000),
        ):
            if not least <= value <= most:
                raise UsageError(f"{name} {value:g}: must be from {least:g} to {most:g}")
        if prompt + answer > context:
            raise UsageError(
                f"--context {context}: is less than the mean prompt and answer, {prompt:g} + "
                f"{answer:g} tokens; "
                "raise it or lower them"
            )
        if found.context and context > found.context:
            raise UsageError(
                f"--context {context}: the model was made for {found.context} tokens "
                "(max_position_embeddings)"
            )
        load = fit.Load(
            users,
            think,
            prompt,
            answer,
            context,
            Objectives(ttft_ms or None, itl_ms or None),
            CACHE_BYTES[kv_cache],
        )
        accelerators = _accelerators(gpu)
        ranks = sorted(set(gpus or fit.RANKS))
        if any(not 1 <= count <= 64 for count in ranks):
            raise UsageError(f"--gpus {ranks[-1]}: must be from 1 to 64 accelerators of one replica")
        ways = fit.options(found, load, accelerators, ranks, _prices(price))
    except ModelError as error:
        raise UsageError(str(error)) from None
    best = ways[0]
    if best.why:
        raise TroubleError(
            f"no accelerator does: {best.gpu} x {best.ranks}: {best.why}; try --quantization fp8, a shorter "
            "--context, more --gpus, or other objectives"
        )
    formula = fit.formula(found, load, best)
    document = {
        "model": {
            "name": found.name,
            "parameters": found.parameters,
            "active_parameters": found.active,
            "quantization": found.quantization,
            "cache_bytes_per_token": found.cache_bytes(load.cache),
        },
        "best": best.document(),
        "formula": formula,
        "options": [one.document() for one in ways],
    }
    emit(document, output, lambda: _table(found, load, ways, formula))


def _model(
    *,
    config: Path | None,
    parameters: str | None,
    active: str | None,
    layers: int | None,
    kv_heads: int | None,
    head_dim: int,
    quantization: str | None,
    name: str | None,
) -> Model:
    from dataclasses import replace  # noqa: PLC0415 - see above

    from torpor.sizing.model import from_config, from_numbers  # noqa: PLC0415

    if (config is None) == (parameters is None):
        raise UsageError("--config FILE or --parameters NUMBER is needed, and one of them only")
    if config is not None:
        try:
            document: Any = json.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--config {config}: cannot be read: {getattr(error, 'strerror', error)}"
            ) from None
        except ValueError as error:
            raise UsageError(f"--config {config}: is no JSON: {error}") from None
        found = from_config(document, str(config), quantization)
    else:
        assert parameters is not None
        if layers is None or kv_heads is None:
            raise UsageError(
                "--layers and --kv-heads are needed with --parameters; the model's config.json has them"
            )
        found = from_numbers(parameters, layers, kv_heads, head_dim, active=active, quantization=quantization)
    return found if name is None else replace(found, name=name)


def _accelerators(wanted: list[str] | None) -> list[str]:
    from torpor.decide.hardware import DATA_SHEETS, gpu_of  # noqa: PLC0415 - see above

    found = []
    for name in wanted or DATA_SHEETS:
        key = gpu_of(name)
        if key is None:
            raise UsageError(f"--gpu {name[:40]!r}: is not known; choose of {', '.join(DATA_SHEETS)}")
        found.append(key)
    return list(dict.fromkeys(found))


def _prices(given: list[str] | None) -> dict[str, float]:
    from torpor.decide.hardware import gpu_of  # noqa: PLC0415 - see above

    found = {}
    for text in given or []:
        name, _, number = text.partition("=")
        key = gpu_of(name)
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if key is None or not 0 < value <= 1e6:
            raise UsageError(f"--price {text[:40]!r}: must be GPU=NUMBER per hour, like h100=2.5")
        found[key] = value
    return found


def _table(model: Model, load: Load, ways: list[Option], formula: list[str]) -> str:
    goals = load.objectives
    wanted = [f"first token within {goals.ttft_ms:g} ms"] if goals.ttft_ms else []
    wanted += [f"then one every {goals.itl_ms:g} ms"] if goals.itl_ms else []
    head = (
        f"{model.name}: {model.parameters / 1e9:.1f} billion parameters in {model.quantization}, "
        f"{load.users:g} users "
        f"({load.prompt:g} + {load.output:g} tokens each {load.think:g} s); "
        f"{', '.join(wanted) or 'no objective'}"
    )
    rows = [
        (
            "accelerator",
            "per replica",
            "replicas",
            "in all",
            "price/h",
            "req/s each",
            "ITL ms",
            "limit",
            "source",
        )
    ]
    fits = [one for one in ways if not one.why]
    for one in fits[:SHOWN]:
        price = "-" if one.price is None else f"{one.price:.2f}"
        source = "guess" if one.hardware.guessed else one.hardware.source.split(":")[0].split(",")[0]
        numbers = (
            f"{one.ranks}",
            f"{one.replicas}",
            f"{one.gpus}",
            price,
            f"{one.capacity:.2f}",
            f"{one.step_ms:.1f}",
        )
        rows.append((one.gpu, *numbers, one.limit, source))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    more = [f"({len(fits) - SHOWN} more; -o json has all)"] if len(fits) > SHOWN else []
    best = fits[0]
    told = f"How {best.replicas} x {best.ranks} {best.gpu} came about:"
    return "\n".join([head, "", *lines, *more, "", told, *(f"  {line}" for line in formula)])
