"""The `openai` and `anthropic` libraries through a gateway process: every check of e2e/conformance.

The engine is the simulated one, and for what it lacks a tape of what vLLM said. `python -m e2e.conformance`
puts the same checks to a vLLM that runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e.conformance import anthropic_checks, anthropic_errors, openai_checks, openai_errors  # noqa: F401 - fill the list
from e2e.conformance.checks import CHECKS, Check
from e2e.conformance.site import SERVED, Site, Work, engine_work, running
from e2e.conformance.tape import RECORDING, Tape
from e2e.likeness.comparison import simulated
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT = 1 << 20  # tokens: an answer of that length takes the simulated engine an hour
ANSWERS = json.loads(RECORDING.read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tape = Tape(ANSWERS)
    kv = ("--kv-tokens", str(2 * CONTEXT))
    with simulated(SERVED, CONTEXT, *kv) as engine, tape.serving() as replayed:
        endpoints = {"llm": engine.removeprefix("http://"), "replayed": replayed, "dying": replayed}

        def replayed_work() -> Work:
            return Work(tape.running, tape.finished)

        folder = tmp_path_factory.mktemp("conformance")
        with running(folder, endpoints, lambda: engine_work(engine), replayed_work, free_port()) as site:
            site.long = CONTEXT - 1000
            yield site


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_client_finds_what_it_expects(site: Site, check: Check) -> None:
    check.run(site)


def test_every_recorded_check_is_on_the_tape() -> None:
    wanted = {check.name for check in CHECKS if check.recorded}
    assert wanted <= set(ANSWERS)
    assert all(answer["parts"] for answers in ANSWERS.values() for answer in answers)
