"""How to cite results: BibTeX and text for exactly the members that a suite's leaderboard uses.

python -m bench.cite [results_dir] [suite=default]

Names the suite's version, the code, the environment and the content hash of the members (bench/store/content_hash.py).
A suite that is incomplete is not to be cited.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.command import answer, make_console, plan_and_store, run_command
from bench.exchange.citation import citation_of
from shb.errors import ConfigurationError


def main(arguments: Sequence[str]) -> int:
    """Print text and BibTeX; exit code 2 where the suite is incomplete, 1 where the store is damaged beside it."""
    folders = [a for a in arguments if not a.startswith("-") and ("=" not in a or Path(a).is_dir())]
    if len(folders) > 1:
        raise ConfigurationError("results_dir", " ".join(folders), "one folder")
    overrides = [f"results_dir={a}" if a in folders else a for a in arguments]
    plan, store = plan_and_store(overrides)
    citation = citation_of(plan, store)
    if not citation.complete:
        lacking = f"{citation.planned - len(citation.members)} of {citation.planned} members are missing"
        raise ConfigurationError(
            "results_dir",
            store.folder,
            f"a complete suite {plan.title}: {lacking}, an incomplete one is not to be cited",
        )
    code = answer(store, make_console())
    print(f"{citation.text()}\n\n{citation.bibtex()}")  # not wrapped: it is copied
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
