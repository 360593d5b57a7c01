"""PromQL: each expression of a block parses and asks for series and labels that something exposes.

Expressions stand one below the other; one goes on over the next line while it is not whole. Lines that begin
with `#` are for people.
"""

from collections.abc import Iterator

import promql_parser

from charts.monitoring import rules
from charts.monitoring.contract import check as held_against_what_is_exposed


def expressions(text: str) -> Iterator[str]:
    """Yield each expression of a block. ValueError where the last one has no end."""
    begun = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            assert not begun, f"an expression without an end: {begun}"
            continue
        begun += line + "\n"
        try:
            promql_parser.parse(begun)
        except ValueError:
            continue
        yield begun
        begun = ""
    assert not begun, f"no PromQL: {begun}"


def check(text: str) -> None:
    """Check a block. ContractError names the query and what is not there."""
    known = rules.recorded()
    for query in expressions(text):
        held_against_what_is_exposed(query, known)
