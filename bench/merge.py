"""Join the stores of several machines: every member, curve and ensemble once.

python -m bench.merge A B [more] -o C

C must not exist yet: the inputs are never changed, and C appears when it is complete. Shards that hold nothing double
are copied as they are; of a member that several sources have, the computed row that was created first stays, with its
curve (a failed one gives way to a computed one; one whose curve is lost counts as lacking). The same id with other
numbers is a conflict, and refused, where CPU type, thread count and torch version agree; from other machines, and on a
GPU, last bits may differ, and are counted.
Exit codes: 0 all is there, 1 something damaged was left out, 2 bad input or a conflict.
What is made from a store (leaderboard, report, claims) is made again from C; checkpoints stay where they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.command import make_console, read_options, read_store, run_command
from bench.exchange.merging import merge
from bench.terminal.os_errors import advice, said
from shb.errors import ConfigurationError

USAGE = "python -m bench.merge A B [more] -o C"


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    arguments = list(arguments)
    output = None
    if "-o" in arguments[:-1]:
        place = arguments.index("-o")
        output = arguments[place + 1]
        del arguments[place : place + 2]
    folders, _ = read_options(arguments, {}, USAGE, (1, 1000))
    if output is None or len(folders) < 2:
        raise ConfigurationError("arguments", " ".join(arguments), USAGE)
    console = make_console()
    try:
        merged = merge([read_store(folder, "source") for folder in folders], Path(output).expanduser())
    except KeyboardInterrupt:
        console.print("interrupted: nothing was written")
        return 130
    except OSError as error:
        text = f"error: nothing was written ({said(error)}); {advice(error.errno)}"
        console.print(text, style="red", markup=False, highlight=False)
        return 1
    for line in merged.faults:
        console.print(f"left out: {line}", markup=False, highlight=False)
    counts = ", ".join(
        f"{count:,} {'members with curves' if kind == 'curves' else kind}" for kind, count in merged.ids.items()
    )
    console.print(f"wrote {output}: {counts}", markup=False, highlight=False)
    console.print(
        f"{merged.double:,} members were there more than once, {merged.other_bits:,} of them with other last bits: "
        "the first computed one stays",
        highlight=False,
    )
    return 1 if merged.faults else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
