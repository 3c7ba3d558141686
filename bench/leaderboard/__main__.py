"""Prints the leaderboard of what is stored and writes it beside the store; computes nothing.

python -m bench.leaderboard suite=default results_dir=results/local
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.command import answer, make_console, plan_and_store, run_command
from bench.leaderboard.document import leaderboard, write_leaderboard
from bench.leaderboard.text import print_leaderboard


def main(arguments: Sequence[str]) -> int:
    """Rebuild the leaderboard from the store; computes nothing. Exit code 1 if it is incomplete or damaged."""
    console = make_console()
    plan, store = plan_and_store(arguments)
    board = leaderboard(plan, store)
    print_leaderboard(plan, board, console)
    for path in write_leaderboard(plan, board, store):
        console.print(f"wrote {path}", highlight=False)
    return answer(store, console, board["complete"])


if __name__ == "__main__":
    sys.exit(run_command(main))
