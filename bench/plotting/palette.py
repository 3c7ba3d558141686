"""Colours, dashes and markers of optimizers, the same on the page and in figures; safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.plotting.style import COLOURS, MARKERS, NAMES

_SPARE = ("#E69F00", "#56B4E9", "#7F7F7F", "#8C510A", "#6A3D9A")  # of optimizers that style.py does not name
_SPARE_MARKERS = ("v", "P", "X", "<", ">")
_DASHES = ((), (9, 4), (3, 3), (9, 3, 2, 3), (14, 4))


class Look(NamedTuple):
    """How one optimizer is drawn: colours on white and on a dark page, dash lengths in pixels, matplotlib's marker."""

    label: str
    colour: str
    dark: str
    dash: tuple[int, ...]
    marker: str


def looks(optimizers: Sequence[str]) -> dict[str, Look]:
    """The look of each optimizer; those that style.py knows keep its colour, others get the spare ones in turn."""
    others = [name for name in optimizers if name not in MARKERS]
    result = {}
    for i, name in enumerate(optimizers):
        if name in MARKERS:
            colour, marker = COLOURS[name], MARKERS[name]
        else:
            spare = others.index(name)
            colour, marker = _SPARE[spare % len(_SPARE)], _SPARE_MARKERS[spare % len(_SPARE)]
        label = NAMES.get(name, name)
        result[name] = Look(label, colour, _lighter(colour), _DASHES[i % len(_DASHES)], marker)
    return result


def _lighter(colour: str, share: float = 0.4) -> str:
    """`colour` (#rrggbb) mixed with `share` of white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)
