"""What every command shares: from arguments to a suite and a store, from errors to one line and an exit code.

Exit codes: 0 done, 1 something failed (listed), 2 bad input (one line, nothing changed), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from bench.config import compose_config
from bench.runner import StoreWriteError
from bench.store import Store
from bench.suite import Suite, load_suite
from bench.workers import WorkerError
from shb.errors import ConfigurationError


def make_console(width: int = 120) -> Console:
    """A console on stdout; `width` columns, wide enough for the tables, where the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=width, soft_wrap=False)


def run_command(main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Call `main` with the command line; turn errors into one line on stderr and an exit code."""
    error_console = Console(stderr=True, soft_wrap=True)
    try:
        return main(sys.argv[1:] if arguments is None else arguments)
    except ConfigurationError as error:
        error_console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 2
    except StoreWriteError as error:
        error_console.print(
            f"error: results could not be written ({error}). What was finished before is kept; "
            "make room and repeat the command to go on.",
            style="red",
            highlight=False,
            markup=False,
        )
        return 1
    except WorkerError as error:
        error_console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        error_console.print(
            "interrupted: finished chunks are in the store; repeat the command to go on", highlight=False
        )
        return 130
    except BrokenPipeError:  # the reader of our output has gone (`... | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def split_suite(arguments: Sequence[str], default: str = "none") -> tuple[str, list[str]]:
    """The value of `suite=` in the arguments, and the other arguments."""
    suites = [a.split("=", 1)[1] for a in arguments if a.startswith("suite=")]
    return (suites[-1] if suites else default), [a for a in arguments if not a.startswith("suite=")]


def suite_and_store(arguments: Sequence[str]) -> tuple[Suite, Store]:
    """For commands that read a suite's results: `suite=` (default: default) and overrides such as results_dir."""
    name, overrides = split_suite(arguments, "default")
    if name == "none":
        raise ConfigurationError("suite", name, "smoke, default or full for this command")
    config = compose_config(overrides)
    suite = load_suite(name, overrides)
    store = Store(config.results_dir)
    store.check_schema()
    return suite, store
