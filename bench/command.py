"""What every command shares: from arguments to a suite and a store, from errors to one line and an exit code.

Exit codes (docs/results.md): 0 done, and nothing lacks; 1 something failed, lacks, differs or is damaged (listed; what
can be made of the rest is made); 2 bad input (one line, nothing changed); 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

import bench
from bench.cell.bounds import BOUNDS
from bench.execution.processes import WorkerError
from bench.plan.choice import age_of, planned_for
from bench.plan.plan import NEUTRAL, SuitePlan
from bench.store.environment import CONF
from bench.store.schema import SCHEMAS
from bench.store.store import Store, StoreWriteError
from bench.terminal.os_errors import advice, said
from shb.errors import ConfigurationError, choose

PLAIN = {"markup": False, "emoji": False}  # options of every console


def make_console(width: int = 120) -> Console:
    """A console on stdout; `width` columns, wide enough for the tables, where the output is not a terminal.

    Text is printed as it stands: names and paths of users may have brackets or colons, which rich would read as markup.
    """
    console = Console(**PLAIN)
    return console if console.is_terminal else Console(width=width, soft_wrap=False, **PLAIN)


def run_command(main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Call `main` with the command line; turn errors into one line on stderr and an exit code."""
    error_console = Console(stderr=True, soft_wrap=True, **PLAIN)
    try:
        return _call(main, arguments, error_console)
    finally:
        if arguments is None:  # the command line's own: nothing is left to do but to end, which is no error
            signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))


def _call(main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None, error_console: Console) -> int:
    try:
        if getattr(signal.getsignal(signal.SIGINT), "__module__", None) == "bench":  # that of the imports
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return main(sys.argv[1:] if arguments is None else arguments)
    except ConfigurationError as error:
        error_console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 2
    except StoreWriteError as error:
        error_console.print(
            f"error: results could not be written ({error}). What was finished before is kept; "
            f"{advice(error.number)} to go on.",
            style="red",
            highlight=False,
            markup=False,
        )
        return 1
    except WorkerError as error:
        error_console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        bench.interrupted = True
        error_console.print(
            "interrupted: finished chunks are in the store; repeat the command to go on", highlight=False
        )
        return 130
    except BrokenPipeError:  # the reader of our output has gone (`... | head`)
        _close_output()
        return 0
    except OSError as error:
        error_console.print(f"error: {said(error)}; {advice(error.errno)}", style="red", highlight=False, markup=False)
        try:
            sys.stdout.flush()
        except OSError:  # it was the output itself, and would be tried again at the end of the process
            _close_output()
        return 1


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_faults(store: Store, console: Console) -> None:
    """What was left out of `store` when it was last read, and why."""
    for line in store.faults():
        console.print(line, markup=False, highlight=False)


def answer(store: Store, console: Console, whole: bool = True) -> int:
    """Say what was left out of a store that was read; the exit code, 0 if that is nothing and the answer is `whole`."""
    print_faults(store, console)
    return 0 if whole and not store.faults() else 1


def split_suite(arguments: Sequence[str], default: str = "none") -> tuple[str, list[str]]:
    """The value of `suite=` in the arguments, and the other arguments."""
    suites = [a.split("=", 1)[1] for a in arguments if a.startswith("suite=")]
    return (suites[-1] if suites else default), [a for a in arguments if not a.startswith("suite=")]


def read_options(
    arguments: Sequence[str], defaults: Mapping[str, Any], usage: str, positional: tuple[int, int] = (0, 0)
) -> tuple[list[str], dict[str, Any]]:
    """For commands that are not composed by Hydra: positional arguments, and name=value of the type of its default.

    A text is taken as it stands, but that `~` is expanded; what exists under a name with "=" is positional.

    Args:
        usage: the command in one line; -h prints it.
        positional: least and largest number of positional arguments.

    Raises:
        ConfigurationError: unknown name, a value of another type or out of its bounds, or another number of arguments.
    """
    given, options = [], dict(defaults)
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(f"usage: {usage}")
            raise SystemExit(0)
        if argument.startswith("-"):
            raise ConfigurationError("option", argument, usage)
        if not separator or (name not in defaults and (not name.isidentifier() or Path(argument).exists())):
            given.append(os.path.expanduser(argument))
            continue
        if not defaults:
            raise ConfigurationError("option", name, usage)
        kind = type(defaults[choose("option", name, defaults)])
        try:
            options[name] = os.path.expanduser(value) if kind is str else kind(value)
        except ValueError:
            raise ConfigurationError(name, value, BOUNDS[name].words) from None
        if kind is not str:
            BOUNDS[name].check(name, options[name])
    if not positional[0] <= len(given) <= positional[1]:
        raise ConfigurationError("arguments", " ".join(given) or "(none)", usage)
    return given, options


def read_store(folder: str, field: str = "results_dir") -> Store:
    """The store in an existing folder.

    Raises:
        ConfigurationError: nothing is stored there, or by newer code.
    """
    store = Store(folder)
    if not any((store.folder / kind).is_dir() for kind in SCHEMAS):
        raise ConfigurationError(field, folder, "a results folder (with members/*.parquet)")
    store.check_schema()
    return store


def plan_and_store(arguments: Sequence[str]) -> tuple[SuitePlan, Store]:
    """For commands that read a suite's results: `suite=` (default: default) and overrides such as results_dir.

    The plan is the stored one of the last run with these overrides. Where there is none (an older store, or nothing was
    run yet) it is made from the configuration, which needs the files of the data sets.

    Raises:
        ConfigurationError: wrong arguments, or a folder that cannot be used.
    """
    name, overrides = split_suite(arguments, "default")
    if name == "none":
        raise ConfigurationError("suite", name, "smoke, default or full for this command")
    store = Store(_folder(overrides))
    store.check_schema()
    plan = planned_for(store, name, overrides)
    if plan is None:
        from bench.suite.suite import load_suite  # slow to import: torch and Hydra

        plan = load_suite(name, overrides).plan(store.members())
    elif line := age_of(plan):
        Console(stderr=True, soft_wrap=True, **PLAIN).print(line, highlight=False)
    return plan, store


def _folder(overrides: Sequence[str]) -> str:
    """The results folder. Other fields that make no other suite are checked here, by composing them."""
    plain = [one.removeprefix("results_dir=") for one in overrides if one.startswith("results_dir=")]
    others = [one for one in overrides if one.lstrip("+~-").split("=")[0].split(".")[0] in NEUTRAL]
    if len(others) == len(plain) and all(plain) and not any(one[0] in "'\"-" for one in (*plain, *overrides)):
        return os.path.expanduser(plain[-1]) if plain else OmegaConf.load(CONF / "config.yaml").results_dir
    from bench.cell.config import compose_config  # slow to import: Hydra

    return compose_config(overrides).results_dir
