"""Which value of the chart sets a variable: read from the chart's templates.

The templates of a part list its variables as `- name: X` with a value below; the values that this text
and the named templates that it includes mention, and those that an `if` or `with` around it asks for,
are the ones that set it. Conditions inside of a named template check a value and do not make one, so
they do not count.
"""

import re
from pathlib import Path

CHART = Path(__file__).resolve().parents[2] / "charts" / "torpor"
_TEMPLATES = CHART / "templates"
_VALUE = re.compile(r"\.Values\.([\w.]+)")
_INCLUDE = re.compile(r'include "([^"]+)"')
_DEFINE = re.compile(r'\{\{- define "([^"]+)" -\}\}(.*?)\n?\{\{- end -\}\}\n', re.DOTALL)
_NAME = re.compile(r"- name: (\w+)")
_SCOPE = re.compile(r"\{\{-? *(if|with|range|end)\b([^}]*)\}\}")
_OWN = re.compile(r"\{\{ *\.(\w+)")  # a field of what a `with` names


def setters(part: str) -> dict[str, list[str]]:
    """Return for each variable that the chart gives `part` (operator, gateway) the values that make it.

    None of them: the chart sets it by itself, as a path or the release's name. KeyError where the templates
    have no list of variables for the part.
    """
    defined = dict(
        pair for file in sorted(_TEMPLATES.rglob("*.*")) for pair in _DEFINE.findall(file.read_text() + "\n")
    )
    found: dict[str, list[str]] = {}
    around: list[tuple[str, list[str]]] = []
    name = ""
    for line in defined[f"torpor.{part}.env"].splitlines():
        if scope := _SCOPE.search(line):
            if scope[1] == "end":
                around.pop()
            else:
                around.append((scope[1], _VALUE.findall(scope[2])))
        elif begun := _NAME.search(line):
            name = begun[1]
            found[name] = [value for word, values in around if word == "if" for value in values]
        elif name:
            prefixes = [value for word, values in around if word == "with" for value in values]
            told = [
                *_values(line, defined),
                *(f"{one}.{field}" for one in prefixes for field in _OWN.findall(line)),
            ]
            found[name] += [value for value in told if value not in found[name]]
    return found


def _values(text: str, defined: dict[str, str]) -> list[str]:
    found: list[str] = _VALUE.findall(text)
    for name in _INCLUDE.findall(text):
        body = defined.get(name, "")
        making = [line for line in body.splitlines() if not re.search(r"\{\{-? *(if|else|fail)\b", line)]
        found += _values("\n".join(making), defined)
    return list(dict.fromkeys(found))
