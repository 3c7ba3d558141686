"""The table that one cell prints: its settings, with medians over seeds."""

from __future__ import annotations

import json

import polars as pl
from rich.console import Console

from bench.cell.cell import Cell
from bench.cell.groups import DECAY
from bench.statistics.bootstrap import median_interval
from bench.statistics.medians import seed_values
from bench.statistics.metric import Metric
from bench.store.schema import METRICS
from bench.store.store import Store, rows_of
from bench.terminal.tables import print_table

_LEFT_OUT = ("train_accuracy",)  # in the store, but too much for a line
_SHARES = ("touched", "trapped")  # of the seeds that did not diverge: a yes or no per seed has no median
_LEGEND = (
    "Distances of the last iterate to the Clarke critical points and to the artificial points. Seeds that touched the "
    "trapping set (some iterate exactly in it), and that are trapped in it (the last two iterates are)."
)


def print_summary(cell: Cell, store: Store, console: Console) -> None:
    """Print, per setting of the cell, the median [95 % bootstrap interval] over seeds of its main metrics.

    A diverged seed counts as the worst value.
    """
    members = rows_of(store.members(), cell.ids)
    metrics = [name for name in METRICS if name not in _LEFT_OUT and members[name].is_not_null().any()]
    if "val_accuracy" in metrics:
        metrics.remove("val_loss")
    settings = list(dict.fromkeys(json.dumps(cell.setting(i), sort_keys=True) for i in range(len(cell.ids))))
    off = {DECAY: 0.0} if DECAY in cell.optimizer.hyperparameters else {}
    parsed = [off | json.loads(setting) for setting in settings]
    varying = [name for name in parsed[0] if len({s[name] for s in parsed}) > 1]
    fixed = " ".join(f"{name}={value:g}" for name, value in parsed[0].items() if name not in varying)
    lines = []
    for setting, values in zip(settings, parsed):
        seeds = members.filter((pl.col("hyperparameters") == setting) & (pl.col("status") != "failed"))
        line = [f"{values[name]:g}" for name in varying] + [str(len(seeds)), str((seeds["status"] == "diverged").sum())]
        lines.append(line + [_text(seeds, metric) for metric in metrics])
    title = f"{cell.name} ({fixed}), {cell.plan.steps} steps: median over seeds [95 % interval]"
    print_table(console, title, [*varying, "seeds", "diverged", *(Metric(metric).header for metric in metrics)], lines)
    if not metrics and (steps := members["diverged_step"].drop_nulls().to_list()):
        console.print(
            f"No metrics: every seed diverged, the last one at step {max(steps)}. Try a smaller optimizer.lr."
        )
    if "clarke_distance" in metrics:
        console.print(_LEGEND, highlight=False)
    if members["unstable_momentum"].any():
        console.print("momentum outside (-1, 1): the theory does not hold for the members with it")


def _text(members: pl.DataFrame, metric: str) -> str:
    """A metric over the seeds of a setting, as a table shows it."""
    if metric in _SHARES:
        known = members[metric].drop_nulls()
        return f"{known.sum():g} of {len(known)}" if len(known) else "-"
    return Metric(metric).interval_text(*median_interval(seed_values(members, metric))) if len(members) else "-"
