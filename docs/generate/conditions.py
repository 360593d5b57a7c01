"""The table of conditions and reasons in docs/reference/conditions.md, read from the code that says them.

Each condition is one function of `torpor.control.findings`, and each thing that it can say is a call of
`Finding` in its body: type, status, reason. The calls are read, not run, because no world has every fault at
once. A reason that is not a constant there is one of the few of `INDIRECT`; another kind of expression is an
error, so that nothing is left out in silence.
"""

import ast
import inspect
from collections.abc import Callable, Iterator

from torpor.api import constants
from torpor.api.conditions import Finding
from torpor.control import findings

from docs.generate.words import code, table

BEGIN = "<!-- conditions: made by `python -m docs.generate` from torpor.control.findings -->"
END = "<!-- conditions end -->"
STATUSES = ("True", "False", "Unknown")
INDIRECT = {  # what an expression can be where a mode or a failure gives the reason
    "facts.mode": (constants.RECOMMEND, constants.PAUSED),
    "refused.reason": (constants.PODS_REFUSED,),
}
Said = tuple[str, str, str]  # condition, status, reason
Find = Callable[[findings.Facts], Finding]


def said() -> Iterator[Said]:
    """Yield everything that is said of a fleet, condition by condition."""
    for find in findings.FINDINGS:
        yield from said_by(find)


def said_by(find: Find) -> Iterator[Said]:
    """Yield what one function says."""
    for node in ast.walk(ast.parse(inspect.getsource(find))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
            kind, status, reason = (ast.unparse(arg) for arg in node.args[:3])
            for one in INDIRECT.get(reason) or (_constant(reason),):
                yield _constant(kind), ast.literal_eval(status), one


def _constant(text: str) -> str:
    owner, _, name = text.partition(".")
    if owner != "c":
        raise ValueError(f"findings.py: the reason {text} is no constant; add it to INDIRECT")
    return str(getattr(constants, name))


def insert(page: str) -> str:
    """Return `page` with its table between the marks. ValueError when a mark is missing."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"conditions.md: the marks {BEGIN!r} and {END!r} are missing; put them back")
    rows = [_row(find) for find in findings.FINDINGS if find is not findings.ready]  # has its own section
    return f"{head}{BEGIN}\n\n{table(('condition', 'says', *STATUSES), rows)}\n{END}{tail}"


def _row(find: Find) -> tuple[str, ...]:
    everything = list(said_by(find))
    reasons = {
        status: dict.fromkeys(why for _, is_, why in everything if is_ == status) for status in STATUSES
    }
    return (
        code(everything[0][0]),
        str(find.__doc__),
        *(", ".join(map(code, reasons[status])) for status in STATUSES),
    )
