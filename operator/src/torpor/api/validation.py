"""Everything that can be wrong with an InferenceService, found without a cluster and said for people.

The API server refuses most of this before Torpor sees it. The reconciler checks all of it again, because an
object may be older than a rule, and reports `SpecValid=False` with the first problems; `torpor validate`
prints them all.

Three steps: parse (types and bounds), rules (each model's own, see `base.Rule`), and duplicates in keyed
lists. The second and third run only on what parsed. A `Problem` names field, value, rule and next step,
always: a message that lacks the value sends its reader hunting.

Unknown fields are a separate question, `unknown_fields`: the API server prunes them, so a stored object has
none, and one written by a newer version must not be refused; in a file they are typos.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from torpor.api.base import RULE_BROKEN, ApiModel, Extension, Rule
from torpor.api.engine_rules import NOT_OUR_FLAG, hint_for_flag
from torpor.api.types import InferenceService

_MAX_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what was found, what must hold, and what to do."""

    path: str
    value: str
    rule: str
    next_step: str

    def __str__(self) -> str:
        found = f" {self.value}" if self.value else ""
        return f"{self.path}:{found} {self.rule}; {self.next_step}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The parsed object (None where it does not parse) and what is wrong with it."""

    fleet: InferenceService | None
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        """Say whether nothing is wrong."""
        return self.fleet is not None and not self.problems

    def message(self, limit: int = 3) -> str:
        """Return the first `limit` problems as one text, for a condition."""
        shown = [str(problem) for problem in self.problems[:limit]]
        more = len(self.problems) - len(shown)
        return "\n".join([*shown, f"and {more} more"] if more else shown)


def check(raw: Mapping[str, Any]) -> Checked:
    """Parse and check an object as an API server or a file gives it. Never raises for bad input."""
    try:
        fleet = InferenceService.model_validate(raw)
    except ValidationError as error:
        return Checked(None, problems_of(error))
    return Checked(fleet, (*_broken_rules(fleet, ""), *_duplicates(fleet, "")))


def problems_of(error: ValidationError, *above: str) -> tuple[Problem, ...]:
    """Say what did not parse. `above`: the steps from the object to what was parsed, where it was a part."""
    found = [
        _from_pydantic(detail | {"loc": (*above, *detail["loc"])})
        for detail in error.errors(include_url=False)
    ]
    return tuple(dict.fromkeys(found))  # the branches of a union fail alike: once is enough


def shown(value: Any) -> str:
    """Write a value for a message: quoted, an object as its entries, no control characters, long ones cut."""
    if isinstance(value, list):
        return f"(a list of {len(value)})"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Mapping):
        some = islice(value.items(), _MAX_SHOWN)
        text = ", ".join(
            f"{shown(key)}: {'{…}' if isinstance(item, Mapping) else shown(item)}" for key, item in some
        )
        text = f"{{{text}}}" if text else "(an empty object)"
    else:
        text = f'"{ascii(value)[1:-1]}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"


# --- step one: what pydantic found ----------------------------------------------------------------

# Error type to (rule, next step), with pydantic's own context filled in.
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "missing": ("is required", "add it"),
    "int_type": ("must be an integer", "write a whole number without quotes or a point"),
    "bool_type": ("must be true or false", "write it without quotes"),
    "string_type": ("must be text", "put it in quotes"),
    "dict_type": ("must be an object", "write it as key: value"),
    "model_type": ("must be an object", "write it as key: value"),
    "list_type": ("must be a list", "write each entry after a dash"),
    "greater_than_equal": ("must be at least {ge}", "raise it"),
    "less_than_equal": ("must be at most {le}", "lower it"),
    "literal_error": ("must be {expected}", "choose one of them"),
    "string_too_short": ("must have at least {min_length} characters", "fill it in or remove the field"),
    "string_too_long": ("must have at most {max_length} characters", "shorten it"),
    "too_short": ("must have at least {min_length} entries", "add one or remove the field"),
    "too_long": ("must have at most {max_length} entries", "remove some"),
    "string_pattern_mismatch": ("must match {pattern}", "correct it"),
}

# The branches of int-or-string appear as steps of their own; they are no part of a path.
_UNION_BRANCHES: Final = ("int", "str", "constrained-int", "constrained-str")


def _from_pydantic(detail: ErrorDetails) -> Problem:
    value = shown(detail["input"]) if detail["type"] != "missing" else ""
    path = _join(detail["loc"])
    if detail["type"] == RULE_BROKEN:
        return _of_message(path, value, detail["msg"], detail["input"])
    if detail["loc"] and detail["loc"][-1] in _UNION_BRANCHES:
        return Problem(path, value, "must be a quantity such as 1, 500m or 16Gi, not negative", "correct it")
    rule, step = _WORDS.get(detail["type"], (detail["msg"], "correct it"))
    return Problem(path, value, rule.format_map(detail.get("ctx", {})), step)


def _join(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part in _UNION_BRANCHES:
            continue
        text += f"[{part}]" if isinstance(part, int) else _step(text, part)
    return text


def _step(path: str, name: object) -> str:
    """Return the step to a field; a key that is no plain word is somebody's text and shown as such."""
    text = str(name)
    plain = len(text) <= _MAX_SHOWN and text.isascii() and text.isprintable() and " " not in text
    if not plain:
        return f"[{shown(text)}]"
    return f".{text}" if path else text


def _of_message(path: str, value: str, message: str, found: Any = None) -> Problem:
    # A rule of the whole object has to say where: the server has no place for it.
    rule, _, step = message.removeprefix(f"{path} ").partition("; ")
    if message == NOT_OUR_FLAG.message and isinstance(found, str):
        step = f"remove it ({hint_for_flag(found)})"
    return Problem(path, value, rule, step)


# --- steps two and three: what the parsed object breaks -------------------------------------------


def _walk(model: ApiModel, path: str) -> Iterator[tuple[str, ApiModel]]:
    yield path, model
    for field, info in type(model).model_fields.items():
        value = getattr(model, field)
        below = _child(path, info)
        if isinstance(value, ApiModel):
            yield from _walk(value, below)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ApiModel):
                    yield from _walk(item, f"{below}[{index}]")


def _child(path: str, info: FieldInfo) -> str:
    name = info.alias or ""
    return f"{path}.{name}" if path else name


def _broken_rules(root: ApiModel, path: str) -> Iterator[Problem]:
    for where, model in _walk(root, path):
        for rule in type(model).rules:
            if not rule.holds(model):
                at = f"{where}.{rule.field}".strip(".") if rule.field else where or "metadata.name"
                yield _of_message(at, _value_at(model, rule), rule.message)


def _value_at(model: ApiModel, rule: Rule) -> str:
    if isinstance(model, InferenceService):
        return shown(model.metadata.name)
    return shown(model.to_wire().get(rule.field)) if rule.field else ""


def _duplicates(root: ApiModel, path: str) -> Iterator[Problem]:
    for where, model in _walk(root, path):
        for field, info in type(model).model_fields.items():
            keys = _list_keys(info)
            seen: set[tuple[Any, ...]] = set()
            for index, item in enumerate(getattr(model, field) or [] if keys else []):
                wire = item.to_wire()
                key = tuple(wire.get(name) for name in keys)
                if key in seen:
                    at = f"{_child(where, info)}[{index}].{keys[0]}"
                    yield Problem(at, shown(key[0]), "must be unique in the list", "remove one or rename it")
                seen.add(key)


def _list_keys(info: FieldInfo) -> tuple[str, ...]:
    """Return the keys of a keyed list, from the annotation that also writes them into the CRD."""
    metadata = [*info.metadata]
    if get_origin(info.annotation) in (Union, UnionType):
        for branch in get_args(info.annotation):
            if get_origin(branch) is Annotated:
                metadata += branch.__metadata__
    for item in metadata:
        if isinstance(item, Extension):
            return tuple(dict(item.keywords).get("x-kubernetes-list-map-keys", ()))
    return ()


# --- unknown fields -------------------------------------------------------------------------------


def unknown_fields(raw: Mapping[str, Any]) -> tuple[Problem, ...]:
    """
    Return the fields of `raw` outside metadata that no type knows, with the nearest known name where one
    is.
    """
    return tuple(_unknown(InferenceService, {k: v for k, v in raw.items() if k != "metadata"}, ""))


def _unknown(model: type[ApiModel], raw: Mapping[str, Any], path: str) -> Iterator[Problem]:
    known = {info.alias: info for info in model.model_fields.values() if info.alias}
    for name, value in raw.items():
        where = path + _step(path, name)
        if name not in known:
            yield Problem(where, "", "is no field of this version", _suggestion(str(name), list(known)))
            continue
        inner = _model_of(known[name].annotation)
        if inner is None:
            continue
        if isinstance(value, Mapping):
            yield from _unknown(inner, value, where)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from _unknown(inner, item, f"{where}[{index}]")


def _suggestion(name: str, known: list[str]) -> str:
    by_folded = {candidate.lower(): candidate for candidate in known}
    plain = name.replace("_", "").replace("-", "").lower()
    near = difflib.get_close_matches(plain, list(by_folded), n=1)
    return f"did you mean {by_folded[near[0]]}?" if near else f"use one of {', '.join(sorted(known))}"


def _model_of(annotation: Any) -> type[ApiModel] | None:
    """Return the model inside `X`, `X | None`, `list[X]` or `Annotated[list[X], …] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    found = (_model_of(argument) for argument in get_args(annotation))
    return next((model for model in found if model), None)
