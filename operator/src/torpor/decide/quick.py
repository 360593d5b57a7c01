"""Frozen values that are cheap to make.

Deciding makes some twenty values at a look, and a frozen dataclass sets each of its fields with a call of
`object.__setattr__`: a record of thirteen fields takes five times as long to make as the same record that may
be changed. At a thousand fleets that alone is a tenth of a core.

`quick` gives a frozen dataclass with slots another `__init__`: the new object is of a twin class with the
same slots, whose fields are assigned like any others, and becomes the frozen class when they are. Nobody sees
it before. Everything else is the dataclass's own: signature, equality, hash, repr, pickling, `replace`, and
the error on assignment.

Refused: named tuples, which are as cheap to make, but equal to other tuples, and dearer to read.
"""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Return the class, a frozen dataclass with slots and no base, with the quicker `__init__`."""
    # A class of the same slots and bases has the same layout, which is what allows the change of class.
    twin = type(cls.__name__, (), {"__slots__": cls.__slots__})  # type: ignore[attr-defined]
    names: dict[str, Any] = {"_become": object.__setattr__, "_twin": twin, "_frozen": cls, "_none": MISSING}
    arguments, lines = ["self"], [" _become(self, '__class__', _twin)"]
    for field in fields(cls):  # type: ignore[arg-type]
        name, value = field.name, field.name
        if not field.init:
            continue
        if field.default_factory is not MISSING:
            names[f"_make_{name}"] = field.default_factory
            arguments.append(f"{name}=_none")
            value = f"_make_{name}() if {name} is _none else {name}"
        elif field.default is not MISSING:
            names[f"_default_{name}"] = field.default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        lines.append(f" self.{name} = {value}")
    lines.append(" self.__class__ = _frozen")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    source = "\n".join([f"def __init__({', '.join(arguments)}):", *lines])
    exec(source, names)  # noqa: S102 - of the class's own field names, as the dataclass made its own
    made = names["__init__"]
    made.__annotations__ = cls.__init__.__annotations__
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = made  # type: ignore[method-assign]
    return cls


def but(value: T, **changes: Any) -> T:
    """Return a value of a `quick` class with some fields changed: `dataclasses.replace` at a fraction of its
    price, for classes whose fields are all arguments.
    """
    cls = type(value)
    for name in cls.__slots__:  # type: ignore[attr-defined]
        if name not in changes:
            changes[name] = getattr(value, name)
    return cls(**changes)
