"""Compare two results folders, or one folder with itself under two code versions.

python -m bench.compare A B
python -m bench.compare A code_commit=X code_commit=Y      members of A computed with commit X, and with Y
python -m bench.compare A B problem=digits/mlp             only these

A column given once selects on both sides, given twice first on the left side, then on the right one (commits by their
first digits). Prints which members changed bits, which cells differ beyond their noise (bench/exchange/comparison.py),
and what one side lacks; common=true does not count the last as a difference. Exit codes: 0 equal, 1 different or
damaged, 2 bad input.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console

from bench.command import answer, make_console, read_options, read_store, run_command
from bench.exchange.comparison import Comparison, Pair, compare
from bench.statistics.inference import ALPHA
from bench.store.store import complete
from bench.terminal.tables import print_table
from shb.errors import ConfigurationError

USAGE = "python -m bench.compare A [B] [column=value ...] [common=true] [show=20]"
FILTERS = ("code_commit", "problem", "optimizer", "engine", "torch", "cpu", "device")
SHOWN = 20  # lines of each list; show= for more


def select(members: pl.DataFrame, filters: Mapping[str, str]) -> pl.DataFrame:
    """The rows whose columns have these values; commits are given by their first digits."""
    for name, value in filters.items():
        column = pl.col(name)
        members = members.filter(column.str.starts_with(value) if name == "code_commit" else column == value)
    return members


def print_comparison(labels: tuple[str, str], found: Comparison, console: Console, show: int = SHOWN) -> None:
    """What changed, what differs, what is missing; the sides are A and B."""
    for letter, label in zip("AB", labels):
        console.print(f"{letter}: {label}", highlight=False, markup=False)
    _print_bits(found, console, show)
    _print_cells(found, console, show)
    for letter, rows in (("A", found.only_a), ("B", found.only_b)):
        if rows:
            counts = Counter((row["problem"], row["optimizer"]) for row in rows)
            words = ", ".join(f"{count} of {' '.join(key)}" for key, count in counts.most_common(show))
            more = f", and {len(counts) - show} more pairs" if len(counts) > show else ""
            console.print(f"only in {letter}: {len(rows)} members: {words}{more}", highlight=False, markup=False)


def _print_bits(found: Comparison, console: Console, show: int) -> None:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in found.pairs:
        groups.setdefault((pair.a["problem"], pair.a["optimizer"]), []).append(pair)
    lines = []
    for key, pairs in groups.items():
        other = [pair for pair in pairs if pair.same_id and pair.changed]
        counts = (
            sum(pair.same_id and not pair.changed for pair in pairs),
            sum(not pair.same_machine for pair in other),
            sum(pair.same_machine for pair in other),
            sum(not pair.same_id for pair in pairs),
            sum(pair.a["status"] != pair.b["status"] for pair in pairs),
        )
        lines.append([*key, str(len(pairs)), *map(str, counts)])
    names = ["problem", "optimizer", "in both", "same bits", "other bits, other machine"]
    names += ["other bits, SAME machine", "other engine or numerics", "other status"]
    if lines:
        print_table(console, "Members with the same problem, settings and seed", names, lines, text=2)
    changed = [pair for pair in found.pairs if pair.same_id and pair.changed]
    changed.sort(key=lambda pair: not pair.same_machine)  # what must not be comes first
    for pair in changed[:show]:
        name = pair.changed
        machine = "SAME machine" if pair.same_machine else "other machine"
        what = f"{pair.a['problem']} {pair.a['optimizer']} seed {pair.a['seed']}"
        console.print(
            f"{pair.a['member_id']} {what}: {name} {pair.a[name]} and {pair.b[name]} ({machine})",
            highlight=False,
            markup=False,
        )
    _more(console, len(changed), show, "members with other bits")


def _print_cells(found: Comparison, console: Console, show: int) -> None:
    differing = found.differing
    names = ["problem", "optimizer", "settings", "what", "seeds", "A", "B - A", "p (Holm)"]
    lines = [
        [
            t.problem,
            t.optimizer,
            t.hyperparameters,
            t.what,
            str(t.seeds),
            f"{t.a:.4g}",
            f"{t.difference:+.3g}",
            f"{t.p_holm:.2g}",
        ]
        for t in differing[:show]
    ]
    if lines:
        print_table(console, f"Cells that differ beyond their noise (Holm, level {ALPHA:g})", names, lines, text=4)
    _more(console, len(differing), show, "tests")
    cells = len({(t.problem, t.optimizer, t.hyperparameters) for t in found.tests})
    console.print(
        f"{cells} cells in both, {len(found.tests)} tests, {len(differing)} beyond noise at {ALPHA:g} after Holm; "
        f"{found.untested} cells of one seed not tested",
        highlight=False,
    )


def _more(console: Console, count: int, show: int, what: str) -> None:
    if count > show:
        console.print(f"... and {count - show} more {what} (show={count} lists them)", highlight=False)


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    filters: tuple[dict[str, str], dict[str, str]] = ({}, {})
    rest = []
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator or name not in FILTERS:
            rest.append(argument)
        elif name not in filters[0]:
            filters[0][name] = filters[1][name] = value
        elif filters[0][name] == filters[1][name]:
            filters[1][name] = value
        else:
            raise ConfigurationError(name, value, "given once, or twice: for the left and for the right side")
    defaults: dict[str, Any] = {"common": "false", "show": SHOWN, **dict.fromkeys(FILTERS, "")}
    folders, options = read_options(rest, defaults, USAGE, (1, 2))
    if options["common"] not in ("true", "false"):
        raise ConfigurationError("common", options["common"], "true or false")
    if len(folders) == 1 and filters[0] == filters[1]:
        raise ConfigurationError("arguments", " ".join(arguments), "two folders, or a column given twice")
    console = make_console()
    sides, code = [], 0
    for folder, chosen in zip((folders * 2)[:2], filters):
        store = read_store(folder, "folder")
        code = max(code, answer(store, console))
        members = select(complete(store.read("members"), store.shards("curves").values())[0], chosen)
        label = " ".join([folder, *(f"{name}={value}" for name, value in chosen.items())])
        if members.is_empty():
            raise ConfigurationError("folder", label, "a selection with members")
        sides.append((f"{label} ({len(members):,} members)", members))
    found = compare(sides[0][1], sides[1][1])
    print_comparison((sides[0][0], sides[1][0]), found, console, options["show"])
    lacking = bool(found.only_a or found.only_b)
    different = bool(found.broken or found.differing or (lacking and options["common"] == "false"))
    console.print("different" if different else "equal, as far as they can be read" if code else "equal", style="bold")
    return 1 if different else code


if __name__ == "__main__":
    sys.exit(run_command(main))
