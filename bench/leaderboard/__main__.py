"""Prints the leaderboard of what is stored and writes it beside the store; computes nothing.

python -m bench.leaderboard suite=default results_dir=results/local
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.command import answer, make_console, run_command, suite_and_store
from bench.leaderboard.document import leaderboard, write_leaderboard
from bench.leaderboard.text import print_leaderboard


def main(arguments: Sequence[str]) -> int:
    """Rebuild the leaderboard from the store; computes nothing. Exit code 1 if it is incomplete or damaged."""
    console = make_console()
    suite, store = suite_and_store(arguments)
    board = leaderboard(suite, store)
    print_leaderboard(suite, board, console)
    for path in write_leaderboard(suite, board, store):
        console.print(f"wrote {path}", highlight=False)
    return answer(store, console, board["complete"])


if __name__ == "__main__":
    sys.exit(run_command(main))
