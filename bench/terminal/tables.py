"""How numbers look in printed tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table


def print_table(console: Console, title: str, names: list[str], lines: list[list[str]], *, text: int = 0) -> None:
    """Print a table; the first `text` columns are aligned left, the others right.

    Where the console is too narrow, intervals go below their medians, then their ends below each other, and
    last words are folded: no column is ever cut off.
    """
    console.print(title, style="bold", highlight=False, markup=False)
    unlimited = console.options.update(max_width=10_000)
    table = _table(names, lines, text, whole=True)
    for old, new in ((" [", "\n["), (", ", ",\n")):
        if console.measure(table, options=unlimited).maximum > console.width:
            lines = [[cell.replace(old, new) for cell in line] for line in lines]
            table = _table(names, lines, text, whole=True)
    if console.measure(table, options=unlimited).minimum > console.width:
        table = _table(names, lines, text, whole=False)
    console.print(table)


def _table(names: list[str], lines: list[list[str]], text: int, *, whole: bool) -> Table:
    """`whole`: no word of a header and no row of a cell is broken."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        rows = [*name.split(), *(row for line in lines for row in line[i].split("\n"))]
        width = max(map(len, rows)) if whole else None
        table.add_column(name, justify="left" if i < text else "right", min_width=width, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table
