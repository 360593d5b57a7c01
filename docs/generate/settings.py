"""docs/reference/settings.md: every variable and option of the four programs, made by asking the programs.

Each program reads its settings in one place. The operator's and the launcher's readers are run over an empty
environment and write down what they are asked for, with the default and the bounds; the gateway's settings
are the fields of one class; the simulated engine's are the options of its parser. What a setting means is
said once, where it is declared. Which value of the chart sets it is read from the chart.
"""

import argparse
import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

from torpor import settings as operator
from torpor.decide.prices import Prices
from torpor_engine import settings as launcher
from torpor_gateway.__main__ import arguments
from torpor_gateway.settings import Settings as Gateway
from torpor_sim import settings as simulated

from docs.generate import chart
from docs.generate.words import NOTICE, code, table

Row = tuple[str, str, str, str]  # name, type, default, meaning

HEAD = """# Settings

{notice}

What the processes are told when they start, by environment variables and options. Fleets are not
configured here but by their [InferenceService](crd.md), and an installation by the [values of the
chart](chart-values.md), which set these. A value that cannot be used ends the start with a sentence that
names the setting, what it held and what it must be.

In the column *chart*: the values that set the variable; *by the chart* where it is the same in every release;
*extraEnv* where the chart leaves it alone and `operator.extraEnv` or `gateway.extraEnv` can set it.

"""
OPERATOR = """## Operator

`torpor-operator` takes no options. An empty variable counts as absent, but for `TORPOR_BARE_NAMES` and
`TORPOR_METRICS_NAMESPACES`, where empty means none. Lists are separated by commas.

"""
GATEWAY = """## Gateway

Each variable is an option of `torpor-gateway` too, which beats it: `TORPOR_MAX_CONNECTIONS` is
`--max-connections`. [gateway.md](gateway.md) says what is answered beyond a limit.

"""
OPTIONS = """Options without a variable:

"""
TRACING = """
Traces are set up by the standard variables, which [tracing.md](tracing.md#spans) explains; the chart sets
{names}.

"""
LAUNCHER = """## Launcher

`torpor-engine.pyz run -- ARGS...` runs in each engine pod; `ARGS` are the engine's own
(`spec.engine.args`). The operator sets the variables, and a fleet cannot: names that begin with
`TORPOR_` are refused in `spec.engine.env`.

"""
SIMULATED = """## Simulated engine

`torpor-sim MODEL` takes vLLM's options by vLLM's names, underscores as well as dashes, and has its own
for what is simulated. [simulated-engine.md](simulated-engine.md) says what they do, and has the table of
faults. Lengths may be written 8k (8000) or 8K (8192), durations 250ms, 5s or 2m.

"""
VARIABLES = (  # of the simulated engine, which are no options
    ("`TORPOR_SIM_FAULTS`", "list", "", "faults as in `--fault`, separated by semicolons"),
    (
        "`VLLM_HTTP_TIMEOUT_KEEP_ALIVE`",
        "integer, seconds",
        "`5`",
        "an idle connection is closed after so long",
    ),
)
_FIELD_OF = {"ADMIN_LISTEN": "admin_host"}
_LAUNCHERS = {"FLEET_NAMESPACE": "namespace", "FLEET_NAME": "name", "FLEET_UID": "uid", "POD_NAME": "pod"}
_READERS = {
    "int": "integer",
    "float": "number",
    "_positive": "integer, 1 or more",
    "length": "tokens",
    "_duration": "duration",
    "_step_cost": "four numbers",
}


def page() -> str:
    """Return the page."""
    of_operator, of_gateway = chart.setters("operator"), chart.setters("gateway")
    traced = [code(name) for name in of_gateway if name.startswith("OTEL_")]
    parts = [
        HEAD.format(notice=NOTICE.format(source="the programs' settings and the chart's templates")),
        OPERATOR,
        _with_chart(operator_rows(), of_operator),
        "\n" + GATEWAY,
        _with_chart(gateway_rows(), of_gateway),
        TRACING.format(names=" and ".join([", ".join(traced[:-1]), traced[-1]])),
        OPTIONS,
        _table("option", _options(arguments(), {item.name for item in fields(Gateway)})),
        "\n" + LAUNCHER,
        _table("variable", launcher_rows()),
        "\n" + SIMULATED,
        _table("option or variable", [*_options(simulated._parser(), set()), *VARIABLES]),
    ]
    return "".join(parts)


def _table(first: str, rows: Iterator[Row] | list[Row]) -> str:
    return table((first, "type", "default", "is"), rows)


def _with_chart(rows: Iterator[Row], setters: Mapping[str, list[str]]) -> str:
    def shown(variable: str) -> str:
        if variable not in setters:
            return "*extraEnv*"
        return ", ".join(map(code, setters[variable])) or "*by the chart*"

    return table(
        ("variable", "type", "default", "is", "chart"), ((*row, shown(row[0].strip("`"))) for row in rows)
    )


def meanings(cls: type) -> dict[str, str]:
    """Return the sentence below each field of a class, for those that have one."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef))
    found = {}
    for before, node in pairwise(body):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
        ):
            found[ast.unparse(before.target)] = " ".join(str(node.value.value).split())
    return found


class _Operator(operator.Environment):
    """Writes down what is asked for, and answers with the defaults."""

    def __init__(self) -> None:
        super().__init__({"TORPOR_LAUNCHER_IMAGE": "image"})
        self.asked: dict[str, tuple[str, str]] = {}  # name: type and default

    def text(self, name: str, default: str) -> str:
        told = "the host's name" if name == "POD_NAME" else code(default)
        self.asked.setdefault(name, ("string", told))
        return super().text(name, default)

    def given(self, name: str, default: str) -> str:
        self.asked[name] = ("list", code(default))
        return super().given(name, default)

    def words(self, name: str) -> tuple[str, ...]:
        self.asked[name] = ("list", "")
        return super().words(name)

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        self.asked[name] = (", ".join(map(code, allowed)), code(default))
        return super().choice(name, default, allowed)

    def whole(self, name: str, default: int, most: int) -> int:
        self.asked[name] = (f"integer, seconds, {-most} to {most}", code(default))
        return super().whole(name, default, most)

    def prices(self, name: str) -> Prices:
        self.asked[name] = ("JSON object", "")
        return super().prices(name)

    def address(self, name: str, default: str) -> tuple[str, int]:
        self.asked[name] = ("HOST:PORT", code(default))
        return super().address(name, default)


def operator_rows() -> Iterator[Row]:
    """Yield the operator's variables in the order in which they are read."""
    asking, said = _Operator(), meanings(operator.Settings)
    operator.read(asking)
    for name, (kind, default) in asking.asked.items():
        yield f"`TORPOR_{name}`", kind, default, said[_FIELD_OF.get(name, name.lower())]


def gateway_rows() -> Iterator[Row]:
    """Yield the gateway's settings by their variables."""
    for item in fields(Gateway):
        default, least = item.default, item.metadata["minimum"]
        kind = {int: "integer", float: "number", str: "string"}[type(default)]
        if kind != "string":
            unit = next((unit for unit in ("seconds", "bytes") if unit in item.name.split("_")), "")
            kind += f", {unit}" * bool(unit) + f", {least} or more"
        shown = f"{default:g}" if isinstance(default, float) else default
        yield f"`TORPOR_{item.name.upper()}`", kind, code(shown), str(item.metadata["help"])


class _Launcher(launcher.Reader):
    """Writes down what is asked for."""

    def __init__(self) -> None:
        super().__init__({})
        self.asked: dict[str, tuple[str, str]] = {}

    def text(self, key: str, default: str | None = None) -> str:
        kind = ", ".join(map(code, launcher.ENGINE_TYPES)) if key.endswith("_TYPE") else "string"
        self.asked.setdefault(key, (kind, "required" if default is None else code(default)))
        return super().text(key, default)

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        seconds = ", seconds" if key.endswith("_SECONDS") else ""
        self.asked[key] = (f"integer{seconds}, {low} to {high}", code(default))
        return super().whole(key, low, high, default)


def launcher_rows() -> Iterator[Row]:
    """Yield the launcher's variables."""
    asking, said = _Launcher(), meanings(launcher.Settings)
    launcher.gather(asking)
    for name, (kind, default) in asking.asked.items():
        short = name.removeprefix("TORPOR_")
        yield code(name), kind, default, said[_LAUNCHERS.get(short, short.lower())]


def _options(parser: argparse.ArgumentParser, known: set[str]) -> Iterator[Row]:
    """Yield a parser's options but those `known` otherwise and those that are hidden."""
    for action in parser._actions:
        if action.dest in known or action.help == argparse.SUPPRESS or action.dest == "help":
            continue
        if not action.help:
            raise ValueError(f"{parser.prog}: {action.dest} has no help; say what it is")
        default: Any = action.default
        shown = f"{default:g}" if isinstance(default, float) else default
        names = ", ".join(map(code, action.option_strings)) or code(action.metavar)
        yield (
            names,
            _kind(action),
            "" if default is None or default is False or default == [] else code(shown),
            _said(action),
        )


def _said(action: argparse.Action) -> str:
    """Return an option's help without the default that it repeats: the page has a column for that."""
    text = str(action.help).replace("%%", "%")
    return re.sub(r" \(default:? [\w.]+\)|^default [\w.]+; ", "", text)


def _kind(action: argparse.Action) -> str:
    if action.choices:
        return ", ".join(map(code, action.choices))
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return "switch"
    reader = getattr(action.type, "__name__", "")
    return _READERS[reader] if reader else "string"
