"""Seconds per member-step against the members of a stack and the width of a network, as a figure.

python -m bench.speed.scaling     writes results/local/speed_scaling.png and .svg
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bench.command import make_console, read_options, run_command
from bench.plotting.style import COLOURS, RC, make_figure
from bench.speed.loop import Loop, Workers
from bench.speed.work import Work, mlp_work, stacked_round
from shb.files import replacing
from shb.training import ENGINES, minimal_width, why_not

FOLDER = Path("results/local")
MEMBERS = tuple(2**i for i in range(11))
HIDDEN = (16, 64, 256)
ROUNDS, FEW_ROUNDS, MANY_MEMBERS = 5, 2, 256  # from so many members on, few rounds
LOOP = "loop"
STYLE = {
    "eager": ("stack, eager", COLOURS["sgd"], "o-"),
    "compiled": ("stack, compiled", COLOURS["shb"], "s-"),
    LOOP: ("torch.optim, best loop", COLOURS["theory"], "D--"),
}
Curve = tuple[Sequence[int], Sequence[float]]


def network(hidden: int, members: int) -> Work:
    """The small network with two layers of `hidden` units, batch 32."""
    return mlp_work(f"MLP 64-{hidden}-{hidden}-10", hidden, members=members)


def engines() -> Iterator[str]:
    """Those that run here."""
    yield from (engine for engine in ENGINES if engine == "eager" or why_not() is None)


def stack_seconds(work: Work, engine: str) -> float:
    """Seconds per member-step of all members in one stack; the copies that fill up a small one are not counted."""
    width = max(work.members, minimal_width())
    rounds = ROUNDS if work.members < MANY_MEMBERS else FEW_ROUNDS
    return _median(stacked_round(work, engine, width), rounds) / (work.members * work.steps)


def loop_seconds(work: Work, workers: Workers) -> float:
    """Seconds per step of the fastest loop."""
    threads = torch.get_num_threads()
    loop = Loop(work, range(work.looped), work.loop_steps)
    found = []
    for count in {threads, 1}:
        torch.set_num_threads(count)
        found.append(_median(loop.run) / loop.member_steps)
    torch.set_num_threads(threads)
    workers.load(work, work.looped, work.loop_steps)
    found.append(1 / statistics.median([workers.run() for _ in range(ROUNDS + 1)][1:]))
    return min(found)


def _median(run: Callable[[], None], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first one compiles


def draw(by_members: dict[str, Curve], by_hidden: dict[str, Curve]) -> Figure:
    """Two panels: name of an engine or LOOP -> (abscissae, seconds per member-step)."""
    figure, (left, right) = make_figure(2, title="Time of one step of one member (MLP, 8x8 digits, batch 32)")
    right.sharey(left)
    _curves(left, by_members, "members in one stack", "hidden layers of 64 units")
    _curves(right, by_hidden, "units in each of two hidden layers", "32 members in one stack")
    left.set_ylabel("time per member-step [µs]")
    left.legend()
    return figure


def _curves(axis: Axes, curves: dict[str, Curve], label: str, title: str) -> None:
    for name, (abscissae, seconds) in curves.items():
        text, colour, style = STYLE[name]
        axis.plot(abscissae, [1e6 * s for s in seconds], style, color=colour, label=text)
    ticks = next(iter(curves.values()))[0]
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    every = 1 if len(ticks) < 6 else 2
    axis.set_xticks(ticks, [str(tick) if i % every == 0 else "" for i, tick in enumerate(ticks)])
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    axis.set_xlabel(label)
    axis.set_title(title, fontsize="medium")


def measure() -> tuple[dict[str, Curve], dict[str, Curve]]:
    """The curves of both panels."""
    workers = Workers(torch.get_num_threads())
    by_members: dict[str, Curve] = {}
    for engine in engines():
        by_members[engine] = MEMBERS, [stack_seconds(network(64, members), engine) for members in MEMBERS]
    by_hidden = {e: (HIDDEN, [stack_seconds(network(h, 32), e) for h in HIDDEN]) for e in engines()}
    by_hidden[LOOP] = HIDDEN, [loop_seconds(network(h, 32), workers) for h in HIDDEN]
    constant = by_hidden[LOOP][1][HIDDEN.index(64)]  # a loop has no stack
    by_members[LOOP] = (MEMBERS[0], MEMBERS[-1]), (constant, constant)
    workers.close()
    return by_members, by_hidden


def main(arguments: Sequence[str]) -> int:
    """Measure, draw, write."""
    read_options(arguments, {}, "python -m bench.speed.scaling")
    console = make_console()
    by_members, by_hidden = measure()
    with matplotlib.rc_context({**RC, "svg.hashsalt": "speed"}):
        figure = draw(by_members, by_hidden)
        for suffix, options in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
            path = FOLDER / f"speed_scaling.{suffix}"
            with replacing(path) as temporary:
                figure.savefig(temporary, format=suffix, **options)
            console.print(f"wrote {path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
