"""Which series are a fleet's, as PromQL matchers.

Client libraries put label values between quotes as they are, so that a value with a quote in it ends the
value and begins a query. Here nothing reaches a query that was not taken apart and written anew: names of
fleets are quoted by `matcher`, and what a user gives as `--selector` is parsed and rendered again; what is no
list of matchers is refused with the place where it ceases to be one.
"""

from __future__ import annotations

import re

_ONE = re.compile(
    r"\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<op>=~|!~|!=|=)\s*"
    r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)\s*(?P<end>,|$)"
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
OURS = ("__name__", "le")  # labels that the questions themselves set


def matcher(name: str, op: str, value: str) -> str:
    """One matcher, its value escaped."""
    told = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}{op}"{told}"'


def fleet(text: str) -> tuple[str, str]:
    """Namespace and name out of `NS/NAME`. Raises ValueError with a sentence."""
    namespace, slash, name = text.partition("/")
    if not slash or not all(_NAME.fullmatch(part) and len(part) <= 253 for part in (namespace, name)):
        raise ValueError(
            f"--fleet {text[:80]!r}: must be NAMESPACE/NAME in lower-case letters, digits and -; "
            "kubectl get isvc -A shows both"
        )
    return namespace, name


def of_fleet(namespace: str, name: str) -> tuple[str, ...]:
    """Matchers of a fleet's engines, the likeliest first: as the chart's PodMonitor labels them, and by the
    names of a Deployment's pods, as any scrape of pods does.
    """
    space = matcher("namespace", "=", namespace)
    pods = re.escape(name).replace(r"\-", "-") + "-[a-z0-9]+-[a-z0-9]+"
    return f"{space},{matcher('name', '=', name)}", f"{space},{matcher('pod', '=~', pods)}"


def parse(text: str) -> str:
    """A user's matchers, `{job="vllm",pod=~"chat-.*"}` with or without the braces, written anew.

    Raises ValueError with a sentence that says from where on it cannot be read.
    """
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    found = []
    place = 0
    inner = inner.strip().removesuffix(",")
    while place < len(inner):
        one = _ONE.match(inner, place)
        if one is None or (one["end"] == "," and one.end() >= len(inner)):
            raise ValueError(
                f"--selector: {inner[place : place + 40]!r} cannot be read: must be matchers like "
                '\'job="vllm",pod=~"chat-.*"\', values in quotes, commas between'
            )
        if one["name"] in OURS:
            raise ValueError(f"--selector: {one['name']}: is set by torpor itself; leave it out")
        found.append(matcher(one["name"], one["op"], _text(one["value"])))
        place = one.end()
    if not found:
        raise ValueError("--selector: is empty: name at least one label, as in 'job=\"vllm\"'")
    return ",".join(found)


def _text(quoted: str) -> str:
    """What a quoted value says."""
    inner = quoted[1:-1]
    if quoted[0] == "`":
        return inner
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), inner)


def select(names: tuple[str, ...], selector: str, suffix: str = "") -> str:
    """The series of any of these metrics. Names may hold colons, so they go into a matcher."""
    pattern = "|".join(name + suffix for name in names)
    return (
        f"{{{matcher('__name__', '=~', pattern)},{selector}}}"
        if selector
        else f"{{{matcher('__name__', '=~', pattern)}}}"
    )
