"""The ground that every type of the API stands on: the base model, and rules that exist in two languages.

A cross-field rule is needed twice. The API server evaluates CEL and refuses the object at once; the
reconciler checks again, because objects may be older than a rule and admission is a courtesy. Two copies
drift, so a `Rule` holds the CEL text, the Python predicate and the sentence for people ("must …; next
step") in one place: field types carry rules as annotations, models list theirs in `rules`. A test evaluates
both against the same objects.

Parsing is strict about types ("3" is no integer, true is no integer) and tolerant of unknown fields: the
API server prunes them, and an object written by a newer version must still be served. Who wants typos found
(`torpor validate`) asks `validation.unknown_fields`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RULE_BROKEN: Final = "torpor_rule"


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement: `cel` for the API server, `holds` for Python, `message` for people.

    In the CEL text `self` is the value or, for a model's rule, the object; every optional field needs a
    `has()` guard, also those with defaults, because the API server evaluates rules on `default: {}` before
    it fills nested defaults in. `field` is the path below the object that the message is about. A rule that
    mentions `oldSelf` is about a change; nothing can be held against the object alone, so `holds` says
    True. An empty `cel`: Python alone.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""

    def as_cel(self) -> dict[str, str]:
        """Return the entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        return entry | ({"fieldPath": f".{self.field}"} if self.field else {})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any) -> Any:
            if not self.holds(value):
                raise PydanticCustomError(RULE_BROKEN, "{message}", {"message": self.message})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        result = handler(schema)
        if self.cel:
            handler.resolve_ref_schema(result).setdefault("x-kubernetes-validations", []).append(
                self.as_cel()
            )
        return result


@dataclass(frozen=True, slots=True)
class Extension:
    """
    Schema keywords that only Kubernetes knows (`x-kubernetes-list-type` and its like), for a field type.
    """

    keywords: tuple[tuple[str, Any], ...]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        result = handler(schema)
        handler.resolve_ref_schema(result).update(
            {key: list(value) if isinstance(value, tuple) else value for key, value in self.keywords}
        )
        return result


def list_map(*keys: str) -> Extension:
    """Mark a list as a map keyed by `keys`: duplicates are refused and appliers merge by key."""
    return Extension((("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", keys)))


LIST_SET: Final = Extension((("x-kubernetes-list-type", "set"),))
LIST_ATOMIC: Final = Extension((("x-kubernetes-list-type", "atomic"),))
MAP_ATOMIC: Final = Extension((("x-kubernetes-map-type", "atomic"),))


class ApiModel(BaseModel):
    """Base of every type: camelCase on the wire, immutable, strict types, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        strict=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        result = handler(schema)
        if cls.rules:
            resolved = handler.resolve_ref_schema(result)
            resolved["x-kubernetes-validations"] = [rule.as_cel() for rule in cls.rules if rule.cel]
        return result

    def to_wire(self) -> dict[str, Any]:
        """Return the object as JSON-like data, camelCase, without fields that are absent."""
        return self.model_dump(by_alias=True, exclude_none=True)


def matching(pattern: str, message: str) -> Rule:
    """
    Make the rule that a string matches all of `pattern` (RE2 syntax), with words instead of the pattern.
    """
    compiled = re.compile(pattern)
    text = pattern.replace("\\", r"\\").replace("'", r"\'")
    return Rule(
        cel=f"self.matches('^({text})$')", message=message, holds=lambda it: bool(compiled.fullmatch(it))
    )


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

ONE_LINE: Final = Rule(
    cel=r"!self.matches('[\\x00-\\x1f\\x7f]')",
    message="must not contain control characters (NUL, newline, tab …); remove them",
    holds=lambda text: not _CONTROL.search(text),
)
NO_NUL: Final = Rule(
    cel=r"!self.matches('\\x00')",
    message="must not contain the NUL character; remove it",
    holds=lambda text: "\0" not in text,
)

# Names of other Kubernetes objects, label keys and values: the rules are Kubernetes' own. What they let
# through and Kubernetes refuses is found only when the children are written, and the writer is gone by then.
_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=f"^{_SUBDOMAIN}$")]
LabelName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
# A key becomes a file's name, so "." and what begins with ".." are none.
DataKey = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$")
]
LABEL_KEY_PATTERN: Final = rf"^({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=LABEL_KEY_PATTERN)]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE_PATTERN)]

_LABEL_KEY: Final = re.compile(LABEL_KEY_PATTERN.strip("^$"))


def _is_label_key(key: str) -> bool:
    return len(key) <= 317 and len(key.rpartition("/")[0]) <= 253 and bool(_LABEL_KEY.fullmatch(key))


# Structural schemas say nothing about keys and CEL cannot bound their length: Python alone checks them.
KEYS: Final = Rule(
    cel="",
    message="has a key that is no label key; write [prefix/]name with letters, digits, '-', '_', '.'",
    holds=lambda mapping: all(_is_label_key(key) for key in mapping),
)
Line = Annotated[str, StringConstraints(min_length=1, max_length=1024), ONE_LINE]
# One spelling per directory, so that paths can be compared as texts.
PLAIN_PATH: Final = matching(
    r"(/[^/:]+)+", "must be an absolute path without ':', '//' and a final '/'; write it like /data/adapters"
)
NO_CLIMBING: Final = Rule(
    cel=r"!self.matches('(^|/)\\.\\.?(/|$)')",
    message="must not contain '.' or '..' as a step of its path; write the plain path",
    holds=lambda path: not any(step in (".", "..") for step in path.split("/")),
)
AbsolutePath = Annotated[
    str, StringConstraints(min_length=2, max_length=1024), ONE_LINE, PLAIN_PATH, NO_CLIMBING
]
RELATIVE: Final = Rule(
    cel="!self.startsWith('/')",
    message="must be relative to the volume's root; remove the leading '/'",
    holds=lambda path: not path.startswith("/"),
)
RelativePath = Annotated[Line, RELATIVE, NO_CLIMBING]

# Amounts as Kubernetes writes them, never negative.
QUANTITY_PATTERN: Final = (
    r"^((?:[0-9]+(?:\.[0-9]*)?)|(?:\.[0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$"
)
QuantityText = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=QUANTITY_PATTERN)]
Quantity = Annotated[int, Field(ge=0, le=2**53)] | QuantityText

Seconds = Annotated[int, Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
