"""Compute a random sample of stored members again, each alone, and compare.

make verify                          20 members of results/reference; N=50 SEED=1 for others
make verify ARCHIVE=file.zip         an archive of somebody else, checked before anything in it is used
python -m bench.verify results_dir=results/local n=20 seed=0

Which members: a permutation of the sorted ids, drawn from the seed; a larger n extends a smaller one. Exit codes: 0
if some member was checked, all that were are reproduced, none failed to run and the store is whole, 1 otherwise, 2 for
bad input (an archive that is refused is bad input).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from bench.cell.added import plugin_list
from bench.cell.plugins import load_plugins
from bench.command import answer, make_console, read_options, read_store, run_command
from bench.exchange.unpacking import unpack
from bench.reproduction.reproduction import LIMIT, PASSED, REFERENCE, Reproduction, print_reproductions, reproduce
from bench.store.store import Store
from shb.errors import ConfigurationError

USAGE = (
    "python -m bench.verify [results_dir=... | archive=file.zip] [n=20] [seed=0] [limit=seconds] [data_root=...] "
    "[plugins=file.py]"
)
DEFAULTS = {"results_dir": "", "archive": "", "n": 20, "seed": 0, "limit": LIMIT, "data_root": "", "plugins": ""}


def sample(ids: Sequence[str], n: int, seed: int) -> list[str]:
    """`n` of the `ids` (all, if there are fewer), the first of a permutation drawn from `seed`."""
    ordered = sorted(ids)
    order = np.random.default_rng(seed).permutation(len(ordered))
    return [ordered[i] for i in order[:n]]


def verify(
    store: Store, n: int, seed: int, console: Console, *, source: Path, limit: float, data_root: str | None
) -> int:
    """Check a sample of the computed members of `store`, which is from `source`; print the table; the exit code."""
    members = store.members().filter(pl.col("status") != "failed")
    if members.is_empty():
        raise ConfigurationError("results_dir", source, "a store with computed members")
    done: list[Reproduction] = []
    ids = sample(members["member_id"].to_list(), n, seed)
    interrupted = False
    try:
        with console.status("") as status:
            for member_id in ids:
                status.update(f"member {len(done) + 1} of {len(ids)}")
                row = members.row(by_predicate=pl.col("member_id") == member_id, named=True)
                done.append(reproduce(row, store.curves([member_id]), data_root=data_root, limit=limit))
    except KeyboardInterrupt:
        interrupted = True
    title = f"{len(ids)} of {len(members)} members in {source}, seed {seed}, each computed again alone"
    print_reproductions(title, done, console)
    checked = [one for one in done if one.agreement]
    wrong = sum(one.result not in PASSED for one in checked)
    broken = sum(one.broken for one in done)
    counts = {result: sum(one.result == result for one in checked) for result in (*PASSED, "different")}
    words = ("equal to the bit", "within rounding", "chaotic, within what small errors do", "DIFFERENT")
    found = ", ".join(f"{count} {word}" for count, word in zip(counts.values(), words) if count)
    found = (found or "none") + (f"; {broken} could not be run here (an error, see above)" if broken else "")
    seconds = sum(one.seconds for one in done)
    console.print(f"{len(checked)} of {len(done)} checked: {found}; {seconds:.0f} s", style="bold", highlight=False)
    if interrupted:
        console.print(f"interrupted after {len(done)} of {len(ids)}", highlight=False)
        return 130
    return 0 if checked and not wrong and not broken else 1


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    _, options = read_options(arguments, DEFAULTS, USAGE)
    load_plugins(plugin_list(options["plugins"]))
    console = make_console()
    settings = {"limit": options["limit"], "data_root": options["data_root"] or None}
    if not options["archive"]:
        store = read_store(options["results_dir"] or REFERENCE)
        code = answer(store, console)
        return max(code, verify(store, options["n"], options["seed"], console, source=store.folder, **settings))
    if options["results_dir"]:
        raise ConfigurationError("results_dir", options["results_dir"], "left out with archive=, which has its own")
    with tempfile.TemporaryDirectory() as folder:
        store, manifest = unpack(Path(options["archive"]), Path(folder))
        for line in manifest.lines():
            console.print(line, markup=False, highlight=False)
        return verify(store, options["n"], options["seed"], console, source=Path(options["archive"]), **settings)


if __name__ == "__main__":
    sys.exit(run_command(main))
