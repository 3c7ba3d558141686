"""Loggers: what shows results elsewhere, beside the store. The store is the truth; a logger can only lose itself."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from bench.cell.cell import Cell
from bench.cell.groups import LoggerConfig
from bench.plan.plan import SuitePlan
from bench.terminal.os_errors import said
from shb.errors import ConfigurationError


class Logger(Protocol):
    """Gets the stored rows of a cell once it is computed, and the rows of the leaderboard at the end."""

    def cell(self, cell: Cell, members: pl.DataFrame, curves: pl.DataFrame, *, role: str) -> None:
        """Log the stored `members` (MEMBER_SCHEMA) and `curves` (CURVE_SCHEMA) of `cell`.

        Args:
            role: "cell" (of the command line), or "tuning" or "evaluation" (of a suite).
        """

    def leaderboard(self, plan: SuitePlan, rows: Sequence[dict]) -> None:
        """Log the rows of `bench.leaderboard.document.leaderboard_rows`."""

    def close(self) -> None:
        """Finish whatever is open."""


class NoLogger:
    """Logs nothing."""

    def cell(self, cell: Cell, members: pl.DataFrame, curves: pl.DataFrame, *, role: str) -> None:
        pass

    def leaderboard(self, plan: SuitePlan, rows: Sequence[dict]) -> None:
        pass

    def close(self) -> None:
        pass


class SafeLogger:
    """A logger that cannot stop a benchmark: its first exception becomes one warning, after which it does nothing.

    Args:
        make: makes the logger at its first use; gets the function to warn with, which passes on one line in all.
        warn: shows one line to the user.
    """

    def __init__(self, make: Callable[[Callable[[str], None]], Logger], warn: Callable[[str], None]) -> None:
        self._make, self._warn = make, warn
        self._logger: Logger | None = None
        self._warned = self._stopped = False

    def cell(self, cell: Cell, members: pl.DataFrame, curves: pl.DataFrame, *, role: str) -> None:
        self._guarded(lambda logger: logger.cell(cell, members, curves, role=role))

    def leaderboard(self, plan: SuitePlan, rows: Sequence[dict]) -> None:
        self._guarded(lambda logger: logger.leaderboard(plan, rows))

    def close(self) -> None:
        if self._logger is not None:
            self._guarded(lambda logger: logger.close())

    def _guarded(self, call: Callable[[Logger], None]) -> None:
        if self._stopped:
            return
        try:
            if self._logger is None:
                self._logger = self._make(self._warn_once)
            call(self._logger)
        except (Exception, SystemExit) as error:
            self._stopped = True
            if self._logger is not None:
                with contextlib.suppress(Exception, SystemExit):
                    self._logger.close()
            self._warn_once(f"logging stopped ({one_line(error)}); the results are in the store")

    def _warn_once(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(text)


def one_line(error: BaseException) -> str:
    """Type of an error and the first line of its message, at most 200 characters."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def make_logger(config: LoggerConfig, warn: Callable[[str], None]) -> Logger:
    """The logger that the group `logger` of the configuration describes; nothing is started before its first use.

    Its folder is made, and tried, so it stands after what else may be refused.

    Args:
        config: the chosen entry of conf/logger.
        warn: called with one line at most, if logging fails.

    Raises:
        ConfigurationError: its folder cannot be written.
    """
    if config.name == "none":
        return NoLogger()
    try:
        check_writable(Path(config.dir).absolute())
    except OSError as error:
        raise ConfigurationError("logger.dir", config.dir, f"a writable folder ({said(error)})") from None

    def make(warn: Callable[[str], None]) -> Logger:
        from bench.logger.wandb_logger import WandbLogger  # imports wandb, which other loggers do without

        options = {name: value for name, value in vars(config).items() if name != "name"}
        return WandbLogger(**options, warn=warn)

    return SafeLogger(make, warn)


def check_writable(folder: Path) -> None:
    """Make the folder of the run files, and a file in it and in its folder wandb/.

    Raises:
        OSError: that cannot be done.
    """
    for path in (folder, folder / "wandb"):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
