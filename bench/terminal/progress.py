"""What runs, members done, time left: a live line in a terminal, a line per finished cell elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class _TimeLeft(TextColumn):
    """Time left at the measured rate of work (not of members, which differ in cost)."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        return Text("" if left is None else f"ETA {int(left) // 60}:{int(left) % 60:02d}", style="cyan")


class Reporter:
    """Progress of a run of `members` members that together are `work` (any unit, proportional to time).

    `unit` is what the display calls the members.
    """

    def __init__(self, console: Console, members: int, work: float, unit: str = "members") -> None:
        self._console, self._work, self._done, self._started = console, work, 0.0, time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=console,
            disable=not (members and console.is_terminal),
        )
        self._task = self._progress.add_task("starting", total=members, left=None)

    def __enter__(self) -> Reporter:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def describe(self, text: str) -> None:
        """Say what runs now."""
        self._progress.update(self._task, description=text)

    def work(self, amount: float) -> None:
        """Count `amount` of work (negative to take some back)."""
        self._done += amount
        self._progress.update(self._task, left=self.seconds_left())

    def seconds_left(self) -> float | None:
        """Seconds left at the rate so far; None before there is one."""
        elapsed = time.monotonic() - self._started
        if self._done <= 0 or elapsed < 1:
            return None
        return max(0.0, self._work - self._done) * elapsed / self._done

    def members(self, count: int) -> None:
        """Count finished members."""
        self._progress.update(self._task, advance=count)

    def line(self, text: str) -> None:
        """Print a line above the live display."""
        self._console.print(text, markup=False, highlight=False)
