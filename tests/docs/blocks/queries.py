"""PromQL: each expression of a block parses and asks for series and labels that something exposes.

Lines that begin with `#` are for people and part expressions, as empty lines do. What stands between two of
them is one expression over several lines, or several, one below the other.
"""

import re
from collections.abc import Iterator

import promql_parser

from charts.monitoring import rules
from charts.monitoring.contract import check as held_against_what_is_exposed
from charts.monitoring.exposed import ENGINE, Series

_OF_VLLM = frozenset({"engine", "model_name"})
SPECULATING = (  # vLLM serves these only while it decodes speculatively, which nothing that was recorded did
    Series("vllm:spec_decode_num_drafts_total", "counter", _OF_VLLM, ENGINE),
    Series("vllm:spec_decode_num_draft_tokens_total", "counter", _OF_VLLM, ENGINE),
    Series("vllm:spec_decode_num_accepted_tokens_total", "counter", _OF_VLLM, ENGINE),
    Series("vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter", _OF_VLLM | {"position"}, ENGINE),
)


def expressions(text: str) -> Iterator[str]:
    """Yield each expression of a block; an AssertionError where one has no end."""
    for stretch in re.split(r"(?:^#.*\n|^\s*\n)+", text, flags=re.MULTILINE):
        if _whole(stretch):
            yield stretch
            continue
        begun = ""
        for line in stretch.splitlines(keepends=True):
            begun += line
            if _whole(begun):
                yield begun
                begun = ""
        assert not begun.strip(), f"no PromQL: {begun}"


def _whole(text: str) -> bool:
    try:
        promql_parser.parse(text)
    except ValueError:
        return False
    return True


def check(text: str) -> None:
    """Check a block. ContractError names the query and what is not there."""
    known = [*rules.recorded(), *SPECULATING]
    found = list(expressions(text))
    assert found, "no expression"
    for query in found:
        held_against_what_is_exposed(query, known)
