"""Compute one stored member again, alone, from nothing but its spec, and compare.

python -m bench.reproduce MEMBER_ID                              of results/reference
python -m bench.reproduce MEMBER_ID results_dir=results/local

Bit for bit where CPU type, thread count and torch version are those of the stored member; elsewhere within the
tolerance of bench/reproduction/tolerance.py. Exit codes: 0 reproduced, 1 not (or not checkable here), 2 bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import polars as pl

from bench.cell.added import plugin_list
from bench.cell.plugins import load_plugins
from bench.command import make_console, read_options, read_store, run_command
from bench.reproduction.reproduction import LIMIT, PASSED, REFERENCE, print_reproductions, reproduce
from bench.store.store import Store
from shb.errors import ConfigurationError, shown


def find(store: Store, member_id: str) -> dict[str, Any]:
    """The row of a member, by its id or the unique beginning of it."""
    members = store.members()
    found = members.filter(pl.col("member_id").str.starts_with(member_id.lower()))
    if len(found) != 1:
        what = "an id, or the beginning of one," if found.is_empty() else f"more digits: {len(found)} ids begin so,"
        raise ConfigurationError("member", shown(member_id), f"{what} of the {len(members)} members in {store.folder}")
    return found.row(0, named=True)


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    usage = "python -m bench.reproduce MEMBER_ID [results_dir=...] [data_root=...] [limit=seconds] [plugins=file.py]"
    defaults = {"results_dir": REFERENCE, "data_root": "", "limit": LIMIT, "plugins": ""}
    (member_id,), options = read_options(arguments, defaults, usage, (1, 1))
    load_plugins(plugin_list(options["plugins"]))
    store = read_store(options["results_dir"])
    row = find(store, member_id)
    console = make_console()
    curve = store.curves([row["member_id"]])
    done = reproduce(row, curve, data_root=options["data_root"] or None, limit=options["limit"])
    print_reproductions(f"{store.folder}, computed again here", [done], console)
    print(f"spec: {row['spec'] if len(str(row['spec'])) < 10_000 else shown(row['spec'])}")
    return 0 if done.result in PASSED else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
