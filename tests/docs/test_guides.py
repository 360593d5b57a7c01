"""What the documents give an engine exists in it, and what they say of its options is so.

vLLM's options are those that `vllm_options` recorded, of the version that fleets get by default.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from torpor.api import constants, validation
from torpor.api.engine_rules import OUR_FLAGS, hint_for_flag
from torpor.control import hardware
from torpor_engine import adapters, flags, tuning
from torpor_engine.logs import LogReader
from torpor_engine.outcomes import Outcome

from tests.docs.blocks.objects import API
from tests.docs.blocks.reading import BLOCK, DOCS, HERE_DOCUMENT, ROOT, blocks
from tests.docs.vllm_options import RECORDED

RECORDING: dict[str, Any] = json.loads(RECORDED.read_text())
OPTIONS: dict[str, dict[str, Any]] = RECORDING["options"]
SPECULATIVE: dict[str, list[str]] = RECORDING["speculative"]
PAGES = [ROOT / "README.md", ROOT / "charts/torpor/README.md", *sorted(DOCS.rglob("*.md"))]
OLDER = {"speculative-model"}  # of versions before the recorded one, which are understood too


def spellings() -> dict[str, str]:
    """Every way to write an option, and the option that it is."""
    found = {}
    for name, option in OPTIONS.items():
        for spelling in (name, *option.get("also", ())):
            found[spelling] = name
        if option["takes"] == "switch":
            found[f"--no-{name.removeprefix('--')}"] = name
            for one, other in (("--enable-", "--disable-"), ("--disable-", "--enable-")):
                if name.startswith(one):
                    found[other + name.removeprefix(one)] = name
    return found


SPELLINGS = spellings()


def check_args(args: list[str]) -> None:
    """Check arguments as `vllm serve` of the recorded version would read them, and as Torpor's API does."""
    fleet = {"apiVersion": API, "kind": constants.KIND, "metadata": {"name": "a"}}
    spec = {"model": {"uri": "hf://a/b"}, "engine": {"args": args}}
    problems = validation.check({**fleet, "spec": spec}).problems
    assert not problems, problems[0]
    left = list(args)
    while left:
        key, equals, value = left.pop(0).partition("=")
        key, dot, part = key.partition(".")
        assert key.startswith("-"), f"{key} belongs to no option"
        name = SPELLINGS.get(key.replace("_", "-"))
        assert name, f"vLLM has no {key}"
        takes = OPTIONS[name]["takes"]
        if takes in ("nothing", "switch"):
            assert not equals, f"{name} takes no value"
            continue
        if not equals:
            assert left, f"{name} has no value"
            value = left.pop(0)
        choices = OPTIONS[name].get("choices")
        assert not choices or value in choices, f"{name} has no choice {value}: {', '.join(choices)}"
        if name == "--speculative-config":
            check_speculative({part: value} if dot else json.loads(value))


def check_speculative(config: dict[str, Any]) -> None:
    assert set(config) <= set(SPECULATIVE["fields"]), "no field of vLLM's speculative decoding"
    assert config.get("method", "ngram") in SPECULATIVE["methods"], "none of vLLM's methods"


def shown(page: Path) -> Iterator[list[str]]:
    """Yield the engine's arguments in every YAML and JSON block of a page, in here-documents too."""
    texts = [block.text for block in blocks(page) if block.language in ("yaml", "json")]
    texts += [body for _, body in HERE_DOCUMENT.findall(page.read_text())]
    for text in texts:
        for item in yaml.safe_load_all(text):
            spec = item.get("spec", item) if isinstance(item, dict) else {}
            engine = spec.get("engine") if isinstance(spec, dict) else None
            if isinstance(engine, dict) and "args" in engine and engine.get("type") != "Simulated":
                yield engine["args"]


def wrong() -> list[str]:
    """The arguments that quantized.md shows as refused."""
    block = next(block for block in blocks(DOCS / "guides/quantized.md") if block.title == "wrong.json")
    args: list[str] = json.loads(block.text)["spec"]["engine"]["args"]
    return args


def test_each_option_that_the_documents_give_an_engine_exists() -> None:
    found = [args for page in PAGES for args in shown(page)]
    assert len(found) > 8
    refused = wrong()
    for args in found:
        if args != refused:
            check_args(args)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--quantisation=awq"], "vLLM has no --quantisation"),
        (["--quantization=bitsandbytes"], "no choice bitsandbytes"),
        (["--kv-cache-dtype", "fp4"], "no choice fp4"),
        (["--enforce-eager=true"], "takes no value"),
        (["--max-model-len"], "has no value"),
        (["8192"], "belongs to no option"),
        (['--speculative-config={"num_tokens": 3}'], "no field"),
        (["--speculative-config.method=medusa"], "methods"),
        (["--port=9000"], "is set by Torpor"),
    ],
)
def test_an_option_that_does_not_exist_is_noticed(args: list[str], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_args(args)


def test_the_recording_is_of_the_version_that_fleets_get() -> None:
    version = constants.DEFAULT_VLLM_IMAGE.rpartition(":v")[2]
    assert RECORDING["wheel"].startswith(f"vllm-{version}-")
    assert RECORDED.parent.name == f"vllm-{version.rpartition('.')[0]}"


def test_each_option_that_torpor_reads_sets_or_refuses_exists() -> None:
    of_the_simulated = {"listen"}
    known = {*OUR_FLAGS} - of_the_simulated - {""}
    known |= {name.removeprefix("--") for name in (*flags.OWNED, *tuning.WHOLE_PROMPTS)} - of_the_simulated
    known |= {*hardware.SLOWER, *hardware.SPECULATIVE} - OLDER
    known |= {"max-num-seqs", "max-num-batched-tokens", "disable-access-log-for-endpoints"}
    known |= {"tensor-parallel-size", "tp", "pipeline-parallel-size", "pp", "quantization", "q", "dtype"}
    known |= {"load-format", "download-dir", "config", "enable-chunked-prefill", "performance-mode"}
    written = {spelling.lstrip("-") for spelling in SPELLINGS}
    assert known - written == set()


def test_the_launcher_looks_for_options_where_vllm_defines_them() -> None:
    assert set(RECORDING["sources"]) <= set(adapters.FLAG_SOURCES)


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    text = (DOCS / page).read_text().partition(f"\n{heading}\n")[2]
    assert text, f"{page} has no heading {heading}"
    lines = text.partition("\n|")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_refused_options_are_listed_with_their_reasons() -> None:
    listed = {
        flag: why
        for cell, why in rows("guides/quantized.md", "## What goes through `engine.args`")
        for flag in re.findall(r"`(--[a-z-]*)`", cell)
    }
    assert listed == {f"--{flag}": why for flag, why in OUR_FLAGS.items()}
    assert [hint_for_flag(flag) for flag in listed] == list(listed.values())


@pytest.mark.parametrize("page", ["gpu", "quantized", "air-gapped"])
def test_each_option_in_the_text_of_a_guide_exists(page: str) -> None:
    text = BLOCK.sub("", (DOCS / f"guides/{page}.md").read_text())
    found = [code.split() for code in re.findall(r"`(--[^`\n]+)`", text)]
    for args in found:
        if hint_for_flag(args[0]) is None:
            # Named without its value, an option only has to exist.
            whole = len(args) > 1 or "=" in args[0]
            if whole:
                check_args(args)
            assert args[0].partition("=")[0].partition(".")[0] in SPELLINGS, f"vLLM has no {args[0]}"


def test_each_choice_of_quantization_in_the_table_exists() -> None:
    choices = OPTIONS["--quantization"]["choices"]
    for _, cell, _ in rows("guides/quantized.md", "## Weights"):
        for word in re.findall(r"`([a-z]\w*)`", cell):
            assert word in choices, word
    assert not {"bitsandbytes", "gguf"} & set(choices)


def test_an_unknown_quantization_is_told_as_the_guide_says() -> None:
    log = LogReader()
    log.feed(
        b"pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        b"  Value error, Unknown quantization method: bitsandbytes. Must be one of ['awq', 'fp8'].\n"
    )
    assert log.diagnose(1)[0] is Outcome.InvalidEngineArgs


def test_each_method_and_counter_of_drafts_exists() -> None:
    page = (DOCS / "guides/quantized.md").read_text()
    methods = {
        name for cell, *_ in rows("guides/quantized.md", "## Speculative decoding") for name in words(cell)
    }
    assert methods == {"ngram", "suffix", "eagle3", "eagle", "mtp", "draft_model"}
    assert methods <= set(SPECULATIVE["methods"])
    assert set(re.findall(r"vllm:spec_\w+", page)) == set(SPECULATIVE["counters"])
    fields = set(re.findall(r"`(num_\w+)`", page))
    assert fields
    assert fields <= set(SPECULATIVE["fields"])


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)
