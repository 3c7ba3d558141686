"""A suite's results in one zip file, ready for a public archive: members, curves, tables, report, configuration.

python -m bench.archive suite=default results_dir=results/local [output=file.zip]

Nothing but this suite's members is packed, and the same results give the same bytes. Unpacked, it is a results folder.
`make verify ARCHIVE=file.zip` checks it. Layout and manifest: docs/results.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.command import answer, make_console, plan_and_store, run_command
from bench.exchange.packing import pack, write_archive


def main(arguments: Sequence[str]) -> int:
    """Pack, and say what was packed; of an incomplete suite with a warning (exit code 1), and its manifest says so."""
    outputs = [a.split("=", 1)[1] for a in arguments if a.startswith("output=")]
    plan, store = plan_and_store([a for a in arguments if not a.startswith("output=")])
    console = make_console()
    citation, files = pack(plan, store)
    name = f"shb-bench-{plan.suite}-v{plan.version}-{citation.content_hash[:12]}.zip"
    path = Path(outputs[-1]).expanduser() if outputs else store.folder / "archive" / name
    write_archive(path, files)
    if not citation.complete:
        lacking = citation.planned - len(citation.members)
        console.print(f"warning: INCOMPLETE, {lacking} of {citation.planned} members are missing", style="yellow")
    if not any(file.startswith("report/") for file in files):
        console.print("no report in it: there is none in the results folder", highlight=False)
    console.print(f"wrote {path}: {len(files)} files, {path.stat().st_size:,} bytes", highlight=False, markup=False)
    console.print(f"{len(citation.members):,} members, content SHA-256 {citation.content_hash}", highlight=False)
    return answer(store, console, citation.complete)


if __name__ == "__main__":
    sys.exit(run_command(main))
