"""How figures look: colour-blind-safe colours (Okabe-Ito), sizes readable at 800 pixels."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {  # Okabe and Ito (2008)
    "sgd": "#0072B2",
    "shb": "#D55E00",
    "adam": "#009E73",
    "nesterov": "#CC79A7",
    "theory": "#000000",
    "clarke": "#56B4E9",
    "artificial": "#E69F00",
    "neutral": "#7F7F7F",
}
MARKERS = {"sgd": "o", "shb": "s", "adam": "^", "nesterov": "D"}
NAMES = {"sgd": "SGD", "shb": "SHB", "adam": "Adam", "nesterov": "Nesterov"}
RC = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def make_figure(columns: int, rows: int = 1, title: str = "") -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels, 4.6 x 3.6 inches each (at most two columns read well), and its axes."""
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows + 0.4), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    if title:
        figure.suptitle(title)
    return figure, axes
