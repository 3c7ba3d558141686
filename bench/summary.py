"""The table that one cell prints: its settings, with medians over seeds."""

from __future__ import annotations

import json

import polars as pl
from rich.console import Console
from rich.table import Table

from bench.cell import Cell
from bench.statistics import median_interval
from bench.store import METRICS, Store


def print_summary(cell: Cell, store: Store, console: Console) -> None:
    """Print, per setting of the cell, the median [95 % bootstrap interval] over seeds of every metric it has."""
    members = store.members().filter(pl.col("member_id").is_in(list(cell.ids)))
    metrics = [name for name in METRICS if members[name].is_not_null().any()]
    table = Table(
        title=f"{cell.name}, {cell.plan.steps} steps: median over seeds [95 % interval]", title_justify="left"
    )
    for name in ("setting", "seeds", "diverged", "failed", *(m.replace("_", " ") for m in metrics)):
        table.add_column(name)
    settings = [json.dumps(dict(m.hyperparameters), sort_keys=True) for m in cell.members]
    for setting in dict.fromkeys(settings):
        own = members.filter(pl.col("hyperparameters") == setting)
        text = " ".join(f"{name}={value:g}" for name, value in json.loads(setting).items())
        counts = [(own["status"] == status).sum() for status in ("diverged", "failed")]
        marks = " (momentum outside (-1, 1))" if own["unstable_momentum"].any() else ""
        values = []
        for metric in metrics:
            finished = own[metric].drop_nulls().to_list()
            median, low, high = median_interval(finished)
            values.append(f"{median:.4g} [{low:.4g}, {high:.4g}]" if finished else "-")
        table.add_row(text + marks, str(len(own) - counts[1]), *map(str, counts), *values)
    console.print(table)
