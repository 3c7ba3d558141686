"""What the scripts of the page read: values of seeds, and what the charts draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.plotting.palette import looks
from bench.report.columns import rounded
from bench.report.curves import QUANTILES, Curves
from bench.report.data import Report


def seeds_payload(report: Report) -> list[dict[str, Any]]:
    """Values of all seeds behind each row of the leaderboard, in the order of `report.seeds`."""
    iqm = {(row["problem"], row["optimizer"], row["metric"]): row.get("iqm") for row in report.document["rows"]}
    return [
        {**vars(own), "values": rounded(own.values), "iqm": iqm.get((own.problem, own.optimizer, own.metric))}
        for own in report.seeds
    ]


def charts_payload(report: Report, curves: list[Curves]) -> dict[str, Any]:
    """What static/charts.js draws; infinity is the text "inf"."""
    named = looks(report.optimizers).items()
    known = set(report.optimizers)
    seeds = {(own.problem, own.optimizer): len(own.seeds) for own in report.seeds}
    return {
        "looks": [{"name": name, "label": look.label, "dash": look.dash} for name, look in named],
        "quantiles": QUANTILES,
        "curves": [
            {
                "problem": own.problem,
                "optimizer": own.optimizer,
                "metric": own.metric,
                "steps": own.steps.tolist(),
                "lines": [_values(line) for line in own.lines],
                "measured": own.measured.tolist(),
                "n": seeds[own.problem, own.optimizer],
                "seeds": [[seed, at.tolist(), _values(values)] for seed, (at, values) in own.seeds.items()],
            }
            for own in curves
        ],
        "profiles": [p for p in report.document.get("profiles") or () if p["optimizer"] in known],
        "sensitivity": [s for s in report.sensitivity if s["optimizer"] in known],
    }


def _values(values: np.ndarray) -> list[float | str | None]:
    finite = rounded([v if math.isfinite(v) else None for v in values.tolist()])
    return ["inf" if value == math.inf else number for value, number in zip(values.tolist(), finite)]
