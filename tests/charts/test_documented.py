"""The options by which tests/docs/test_blocks.py reads commands are those of the real kubectl and helm."""

import re
import subprocess

import pytest

from tests.charts.rendering import helm
from tests.docs.test_blocks import GLOBAL, OPTIONS


def told(command: str) -> str:
    tool, *verb = command.split()
    binary = helm() if tool == "helm" else helm().replace("helm", "kubectl")
    asked = [[*verb, "--help"], *([["options"]] if tool == "kubectl" else [])]
    return "".join(
        subprocess.run([binary, *one], capture_output=True, text=True, timeout=150, check=True).stdout
        for one in asked
    )


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_each_documented_option_exists(command: str) -> None:
    known = set(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-z-]*)(?=[ =,:])", told(command)))
    wanted = OPTIONS[command] | (GLOBAL if command.startswith("kubectl") else {"-n", "--namespace"})
    apart = {"-it"}  # two short ones in one word
    assert wanted - apart <= known
