"""How numbers look in printed tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

_HEADERS = {"train_loss": "training objective", "steps_to_target": "steps to target"}


def header(metric: str) -> str:
    """Column header of a metric; accuracies are printed in percent."""
    return _HEADERS.get(metric, metric.replace("_", " ")) + (" %" if "accuracy" in metric else "")


def interval_text(metric: str, median: float, low: float, high: float) -> str:
    """Median with the ends of its interval, accuracies in percent, losses with three digits."""
    if "accuracy" in metric:
        return f"{100 * median:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{median:.3g} [{low:.3g}, {high:.3g}]"


def print_table(console: Console, title: str, names: list[str], lines: list[list[str]], *, text: int = 0) -> None:
    """Print a table; the first `text` columns are aligned left, the others right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, justify="left" if i < text else "right", no_wrap=console.width >= 112)
    for line in lines:
        table.add_row(*line)
    console.print(table)
