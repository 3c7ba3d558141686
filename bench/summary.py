"""The table that one cell prints: its settings, with medians over seeds."""

from __future__ import annotations

import json

import polars as pl
from rich.console import Console

from bench.cell import Cell
from bench.statistics import median_interval, seed_values
from bench.store import METRICS, Store
from bench.tables import header, interval_text, print_table

_LEFT_OUT = ("train_accuracy",)  # in the store, but too much for a line


def print_summary(cell: Cell, store: Store, console: Console) -> None:
    """Print, per setting of the cell, the median [95 % bootstrap interval] over seeds of its main metrics.

    A diverged seed counts as the worst value.
    """
    members = store.members().filter(pl.col("member_id").is_in(list(cell.ids)))
    metrics = [name for name in METRICS if name not in _LEFT_OUT and members[name].is_not_null().any()]
    if "val_accuracy" in metrics:
        metrics.remove("val_loss")
    settings = list(dict.fromkeys(json.dumps(dict(m.hyperparameters), sort_keys=True) for m in cell.members))
    parsed = [json.loads(setting) for setting in settings]
    varying = [name for name in parsed[0] if len({s[name] for s in parsed}) > 1]
    fixed = " ".join(f"{name}={value:g}" for name, value in parsed[0].items() if name not in varying)
    lines = []
    for setting, values in zip(settings, parsed):
        own = members.filter((pl.col("hyperparameters") == setting) & (pl.col("status") != "failed"))
        line = [f"{values[name]:g}" for name in varying] + [str(len(own)), str((own["status"] == "diverged").sum())]
        for metric in metrics:
            line.append(interval_text(metric, *median_interval(seed_values(own, metric))) if len(own) else "-")
        lines.append(line)
    title = f"{cell.name} ({fixed}), {cell.plan.steps} steps: median over seeds [95 % interval]"
    print_table(console, title, [*varying, "seeds", "diverged", *map(header, metrics)], lines)
    if members["unstable_momentum"].any():
        console.print("momentum outside (-1, 1): the theory does not hold for the members with it")
