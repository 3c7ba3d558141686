"""Check an optimizer, a model, a data set or a problem of your own before you trust its numbers.

python -m bench.check model=NAME
python -m bench.check optimizer=NAME problem=e1
python -m bench.check dataset=NAME model=cnn engine=eager
python -m bench.check plugins=[mine.py] optimizer=NAME

Fields are those of conf/config.yaml; steps and batch_size are small where they are not given. Nothing is stored.

    data               a data set is what DATASETS says, and the same whenever it is loaded
    leaves             dtype and shape of parameters, loss, metrics, and of every leaf of init and update
    seeds              what a seed draws: again, alone, among others, in pieces
    number of members  copies of a member move as far in any stack: a number of members is never used as a number
    bits               a member's bits alone, in a stack of 7, of 33, and after a resume; in both engines
    plain loop         float64 agrees to rounding with one member at a time, torch.autograd; in both engines
    fields             every field of the entries in conf/ changes something

Exit codes: 0 all pass, 1 one fails, 2 bad input (one line, nothing done).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console

from bench.cell.plugins import use_plugins
from bench.check import bits, data, fields, leaves, loop, seeds, width
from bench.check.fault import Fault
from bench.check.subject import Subject
from bench.command import make_console, run_command
from shb.errors import ConfigurationError
from shb.training import why_not


@dataclass(frozen=True)
class Check:
    """`run` returns what was seen, or raises; it says nothing where one of `after` has failed."""

    name: str
    run: Callable[[Subject], str]
    after: Sequence[str] = ()


def checks_of(subject: Subject) -> list[Check]:
    """In the order in which they run."""
    checks = [] if subject.closed else [Check("data", data.check)]
    checks += [
        Check("leaves", leaves.check),
        Check("seeds", seeds.check, ["leaves"]),
        Check("number of members", width.check, ["leaves", "seeds"]),
    ]
    sound = ["leaves", "seeds", "number of members"]
    for engine in subject.engines:
        checks.append(Check(f"bits, {engine}", lambda one, engine=engine: bits.check(one, engine), sound))
    for engine in subject.engines:
        checks.append(Check(f"plain loop, {engine}", lambda one, engine=engine: loop.check(one, engine), sound))
    return [*checks, Check("fields", fields.check, ["leaves", "seeds"])]


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    use_plugins(arguments)
    subject = Subject(arguments)
    if subject.config.threads is not None:
        torch.set_num_threads(subject.config.threads)
    console = make_console()
    console.print(f"{subject}; nothing is stored", style="bold", markup=False, highlight=False)
    return run_checks(subject, checks_of(subject), console)


def run_checks(subject: Subject, checks: Sequence[Check], console: Console) -> int:
    """Run checks and print a line of each when it is done; the exit code."""
    started, broken = time.monotonic(), []
    room = max(len(check.name) for check in checks)
    for number, check in enumerate(checks):
        with console.status(f"{check.name} ({number + 1} of {len(checks)})"):
            result, text = _result(subject, check, broken)
        if result == "FAILED":
            broken.append(check.name)
        style = {"FAILED": "red", "ok": "green"}.get(result)
        console.print(
            f"{result:11} {check.name:{room}}  {text}", style=style, markup=False, highlight=False, soft_wrap=True
        )
    seconds = time.monotonic() - started
    text = f"{len(broken)} of {len(checks)} checks FAILED" if broken else f"all {len(checks)} checks passed"
    console.print(f"{text}; {seconds:.0f} s", style="bold", highlight=False)
    return 1 if broken else 0


def _result(subject: Subject, check: Check, broken: Sequence[str]) -> tuple[str, str]:
    first = [name for name in check.after if name in broken]
    if first:
        return "not checked", f"first cure {first[0]}, of which this may be a consequence"
    if check.name.endswith("compiled") and (reason := why_not()) is not None:
        return "not checked", f"nothing can be compiled here: {' '.join(reason.split())}"
    try:
        return "ok", check.run(subject)
    except Fault as fault:
        return "FAILED", str(fault)
    except ConfigurationError as error:
        return "FAILED", str(error)
    except (MemoryError, torch.OutOfMemoryError, OSError):
        raise
    except Exception as error:  # of the contributor's code
        return "FAILED", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


if __name__ == "__main__":
    sys.exit(run_command(main))
