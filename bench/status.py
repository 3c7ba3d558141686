"""What a suite has, lacks, diverged and failed. `python -m bench.status suite=default`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table

from bench.command import answer, make_console, plan_and_store, run_command
from bench.plan.coverage import coverage


def main(arguments: Sequence[str]) -> int:
    """Print the table, the errors of failed members and what is damaged; exit code 1 if there is any, or one lacks."""
    console = make_console()
    plan, store = plan_and_store(arguments)
    rows = coverage(plan, store)
    table = Table(title=f"suite {plan.title} in {store.folder}", title_justify="left")
    names = ("problem", "optimizer", "phase", "planned", "done", "diverged", "failed", "missing")
    for name in names:
        table.add_column(name, justify="left" if name in names[:3] else "right")
    for row in rows:
        table.add_row(*(str(getattr(row, name)) for name in names))
    console.print(table)
    total = {name: sum(getattr(row, name) for row in rows) for name in names[3:]}
    console.print(", ".join(f"{name} {value}" for name, value in total.items()), highlight=False)
    for row in rows:
        for error in row.errors:
            console.print(f"failed: {row.problem} {row.optimizer} {row.phase}: {error}", markup=False)
    return answer(store, console, not total["failed"] and not total["missing"])


if __name__ == "__main__":
    sys.exit(run_command(main))
