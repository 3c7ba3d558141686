"""Published numbers beside measured ones. `python -m bench.published results_dir=results/published`

Prints, per publication that the suite reproduces (default: suite=published), both means with their spreads over seeds,
the difference with its 95 % interval and a verdict in words, and writes published_NAME.md and .json beside the store.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.command import answer, make_console, plan_and_store, run_command
from bench.published.publication import load_publication, publications, published_rows
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
    plan, store = plan_and_store(arguments)
    known = [load_publication(name) for name in publications()]
    of_suite = [publication for publication in known if publication.suite == plan.suite]
    if not of_suite:
        suites = sorted({publication.suite for publication in known})
        raise ConfigurationError("suite", plan.suite, f"{', '.join(suites)}: a suite that reproduces a publication")
    complete = True
    for publication in of_suite:
        rows = published_rows(publication, plan, store)
        complete = complete and is_complete(rows)
        print_table(console, f"{publication.title} (suite {plan.title})", *table(rows), text=2)
        console.print(summary(rows), highlight=False)
        console.print(f"source: {publication.source['numbers']}", style="dim", highlight=False)
        for path in write_published(publication, rows, plan, store):
            console.print(f"wrote {path}", highlight=False)
    return answer(store, console, complete)


if __name__ == "__main__":
    sys.exit(run_command(main))
