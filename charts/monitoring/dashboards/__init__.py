"""The dashboards: four boards as data, and the files that the chart ships of them.

Each answers one question and links to the others: how is everything (fleets), how is this one (fleet), why
did it decide so (decisions), what happens at the door (gateway). Rows go from what is noticed to what causes
it. Metrics come from the operator, the gateways and, scraped at their launchers, the engines.
"""

from charts.monitoring.dashboards import decisions, fleet, fleets, gateway
from charts.monitoring.dashboards.parts import Board, text

BOARDS: tuple[Board, ...] = (fleets.BOARD, fleet.BOARD, decisions.BOARD, gateway.BOARD)


def files() -> dict[str, str]:
    """Return the JSON of every dashboard by the name of its file."""
    return {
        f"{board.uid}.json": text(board, [other for other in BOARDS if other is not board])
        for board in BOARDS
    }
