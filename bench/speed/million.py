"""One million random initialisations of E1, 1,000 heavy-ball steps each, in one call: seconds, memory, traps.

python -m bench.speed.million     prints one line of JSON

0 hits in N say little for a small N; this N bounds the trapped share by 3e-6 (95 %, one-sided).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from bench.claims.experiment import MEASURES
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import upper_bound

MEMBERS, STEPS = 1_000_000, 1000


def measure(members: int = MEMBERS, steps: int = STEPS) -> dict[str, float]:
    """Run the members in chunks of the ensembles; time without the imports, peak memory of the process."""
    schedule = ("schedule=power", "schedule.q=0.7", "schedule.k0=10")
    numbers = ("optimizer=shb", "optimizer.lr=0.5", "optimizer.momentum=0.9")
    experiment = trajectories("problem=e1", *numbers, *schedule, f"steps={steps}", seeds=members)
    started = time.perf_counter()
    trapped = touched = 0
    for start, stop in experiment.blocks():
        columns = MEASURES[experiment.measure].function(experiment.settings, np.arange(start, stop))
        trapped, touched = trapped + int(columns["trapped"].sum()), touched + int(columns["touched"].sum())
    seconds = time.perf_counter() - started
    return {
        "members": members,
        "steps": steps,
        "seconds": seconds,
        "member_steps_per_second": members * steps / seconds,
        "peak_gib": peak_bytes() / 2**30,
        "trapped": trapped,
        "touched": touched,
        "upper_bound": upper_bound(members) if trapped == 0 else None,
    }


def peak_bytes() -> int:
    """Largest memory of this process; Linux counts in ru_maxrss also that of the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(json.dumps(measure()))
