"""One figure per family of claims, drawn from the stored columns.

The module FAMILY.py has `figure(protocols, results) -> Figure | None`; both are by claim id, only for the claims of
this run; None if there is nothing to draw.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import matplotlib

from bench.claims.claim import FAMILIES, Protocol, Results
from bench.plotting.style import RC
from shb.files import replacing


def draw(protocols: Mapping[str, Protocol], results: Mapping[str, Results], folder: Path) -> list[Path]:
    """Write FAMILY.png and FAMILY.svg for every family that has something to show; their paths."""
    written = []
    for family in FAMILIES:
        name = f"bench.claims.figures.{family}"
        if importlib.util.find_spec(name) is None:
            continue
        with matplotlib.rc_context({**RC, "svg.hashsalt": family}):  # equal data, equal files
            figure = importlib.import_module(name).figure(protocols, results)
            if figure is None:
                continue
            for suffix, options in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
                path = folder / f"{family}.{suffix}"
                with replacing(path) as temporary:
                    figure.savefig(temporary, format=suffix, **options)
                written.append(path)
    return written
