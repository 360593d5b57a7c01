"""The table of dashboards and panels in the documentation, between two marks that stay in the file."""

from collections.abc import Sequence

from charts.monitoring.dashboards.parts import Board

BEGIN = "<!-- panels: made by `python -m charts.generate` from charts/monitoring/dashboards -->"
END = "<!-- panels end -->"


def insert(page: str, boards: Sequence[Board]) -> str:
    """Return `page` with the tables of `boards` between its marks. ValueError when a mark is missing."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"dashboards.md: the marks {BEGIN!r} and {END!r} are missing; put them back")
    return f"{head}{BEGIN}\n{''.join(map(_section, boards))}\n{END}{tail}"


def _section(board: Board) -> str:
    lines = ["", f"## {board.title.removeprefix('Torpor / ')}", "", f"`{board.uid}`. {board.description}", ""]
    lines += ["| question | panel | unit | what it shows |", "| --- | --- | --- | --- |"]
    for row in board.rows:
        for panel in row.panels:
            cells = (row.title, panel.title, f"`{panel.unit}`", panel.description)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
