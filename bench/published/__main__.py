"""Published numbers beside measured ones. `python -m bench.published results_dir=results/published`

Prints, per publication that the suite reproduces (default: suite=published), both means with their spreads over seeds,
the difference with its 95 % interval and a verdict in words, and writes published_NAME.md and .json beside the store.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.cell.config import options
from bench.command import answer, make_console, run_command, suite_and_store
from bench.published.publication import load_publication, published_rows
from bench.published.table import is_complete, summary, table, write_published
from bench.terminal.tables import print_table
from shb.errors import ConfigurationError


def main(arguments: Sequence[str]) -> int:
    """Compare what is stored with every publication of the suite; computes nothing. A difference is no failure;
    exit code 1 if a planned seed is not stored, or the store is damaged.
    """
    console = make_console(width=160)
    if not any(argument.startswith("suite=") for argument in arguments):
        arguments = ["suite=published", *arguments]
    suite, store = suite_and_store(arguments)
    publications = [load_publication(name) for name in options("published")]
    own = [publication for publication in publications if publication.suite == suite.name]
    if not own:
        known = sorted({publication.suite for publication in publications})
        raise ConfigurationError("suite", suite.name, f"{', '.join(known)}: a suite that reproduces a publication")
    complete = True
    for publication in own:
        rows = published_rows(publication, suite, store)
        complete = complete and is_complete(rows)
        print_table(console, f"{publication.title} (suite {suite.title})", *table(rows), text=2)
        console.print(summary(rows), highlight=False)
        console.print(f"source: {publication.source['numbers']}", style="dim", highlight=False)
        for path in write_published(publication, rows, suite, store):
            console.print(f"wrote {path}", highlight=False)
    return answer(store, console, complete)


if __name__ == "__main__":
    sys.exit(run_command(main))
