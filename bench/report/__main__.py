"""The report of a suite: report/index.html, one page that opens offline, and summary.md. Computes nothing.

python -m bench.report suite=default results_dir=results/local
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.command import answer, make_console, plan_and_store, run_command
from bench.leaderboard.document import leaderboard
from bench.report.data import gather
from bench.report.page import LIMIT, build_page
from bench.report.summary import build_summary
from shb.files import write_whole


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; exit code 1 if the suite is incomplete, or the page larger than LIMIT."""
    console = make_console()
    if {"-h", "--help"} & set(arguments):
        console.print(__doc__, markup=False, highlight=False)
        return 0
    plan, store = plan_and_store(arguments)
    report = gather(plan, store, leaderboard(plan, store))
    page = build_page(report).encode()
    for path, content in (
        (store.folder / "report" / "index.html", page),
        (store.folder / "summary.md", build_summary(report).encode()),
    ):
        write_whole(path, content)
        console.print(f"wrote {path} ({len(content) / 1e6:.2f} MB)", markup=False, highlight=False)
    if not report.document["complete"]:
        console.print("the suite is INCOMPLETE: the page says what is missing", highlight=False)
    if len(page) > LIMIT:
        console.print(f"the page is larger than {LIMIT / 1e6:.0f} MB", highlight=False)
    return answer(store, console, report.document["complete"] and len(page) <= LIMIT)


if __name__ == "__main__":
    sys.exit(run_command(main))
