"""What a request took, in tokens: as its answer says, else as its bytes and events let one guess.

Every request is counted once, when its answer is complete; what was cut short is only guessed, for the limits
of its key.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torpor_gateway.exchange import Exchange


def count(exchange: "Exchange", told: tuple[int, int] | None) -> tuple[int, int]:
    """Count an answer that is complete; return its tokens of prompt and answer. `told`: what it says of them,
    from which the fleet learns what bytes and events stand for.
    """
    fleet = exchange.fleet
    if not exchange.operation.works:
        used = 0, 0
    elif told:
        fleet.ratios.learn_prompt(told[0], exchange.body_size)
        fleet.ratios.learn_output(told[1], exchange.events)
        used = told
    else:
        used = guess(exchange)
    fleet.completed_with(*used)
    return used


def guess(exchange: "Exchange") -> tuple[int, int]:
    """Return the tokens of the prompt and of what came of the answer, by bytes and events."""
    ratios = exchange.fleet.ratios
    return ratios.prompt(exchange.work_size), ratios.output(exchange.events)
