"""What a GPU hour costs: prices that the installation gives, by the name of the accelerator.

Who pays knows prices by card, so they are given once for the installation and not in every fleet. A name may
be the product as node labels and drivers write it (`NVIDIA-H100-80GB-HBM3`), the card's short name (`h100`,
`a100-40gb`), the resource that pods book (`amd.com/gpu`, `nvidia.com/mig-1g.10gb`), or `*` for all others;
the first of these that has a price gives it. Spelling does not count: capitals, spaces and hyphens are the
same to everybody who names a card.

There is no currency in here. A price is a number of whatever the installation counts in.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from torpor.decide.hardware import gpu_of

OTHERS = "*"
HIGHEST = Decimal(1_000_000)
SMALLEST = Decimal("0.000000001")
_TEXT = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per GPU hour as decimal texts, by plain name."""

    by_name: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Prices":
        """Read a JSON object of names and prices; "" is none. Raises ValueError with the rule and the next
        step for what is no such object.
        """
        if not text.strip():
            return cls()
        try:
            document = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=_unique)
        except json.JSONDecodeError:
            raise ValueError(
                'it must be a JSON object like {"h100": "2.50", "*": "1.20"}; correct it'
            ) from None
        if not isinstance(document, dict):
            raise ValueError('it must be a JSON object like {"h100": "2.50", "*": "1.20"}; correct it')
        found: dict[str, str] = {}
        for name, price in document.items():
            plain = _plain(name)
            if not plain or len(name) > 128:
                raise ValueError(
                    f'the name "{name[:40]}" must be that of an accelerator of at most 128 characters, or *; '
                    "correct it"
                )
            if plain in found:
                raise ValueError(f'"{name}" has two prices; remove one')
            found[plain] = _price(name, price)
        return cls(found)

    def of(self, product: str | None, resource: str) -> str | None:
        """Return the price of a GPU hour, or None. product: the card's name where it is known; resource: the
        name under which pods book it, "" where they book none.
        """
        if not resource:
            return None
        names = [product, gpu_of(product) if product else None, resource, OTHERS]
        return next(
            (self.by_name[plain] for name in names if name and (plain := _plain(name)) in self.by_name), None
        )


def _plain(name: str) -> str:
    """The name without what spelling changes."""
    return name if name == OTHERS else re.sub(r"[^a-z0-9./]", "", name.lower())


def _price(name: str, price: object) -> str:
    text = price if isinstance(price, str) else ""
    try:
        if text and not _TEXT.fullmatch(text):  # JSON may write 2.5 as 25e-1, and a sum with 17 digits
            text = f"{Decimal(text).quantize(SMALLEST).normalize():f}"
        if _TEXT.fullmatch(text) and Decimal(text) <= HIGHEST:
            return text
    except ArithmeticError:
        pass
    told = json.dumps(price)[:40]
    raise ValueError(f'the price of "{name}" is {told}: it must be a number from 0 to {HIGHEST}; correct it')


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name has two prices; remove one")
    return found
