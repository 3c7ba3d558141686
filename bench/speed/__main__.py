"""`make speed`: run the pytest-benchmark cases, print the ratios, write results/local/speed.json."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from bench.command import make_console, run_command
from bench.environment import cpu_name

SCHEMA_VERSION = 1
OUTPUT = Path("results/local/speed.json")


def measure() -> list[dict[str, Any]]:
    """Run the cases in this process and return pytest-benchmark's records."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmark.json"
        cases = str(Path(__file__).parent / "test_speed.py")
        options = ["-q", "-p", "no:cacheprovider", "--benchmark-enable", "--benchmark-quiet"]
        code = pytest.main([cases, *options, f"--benchmark-json={output}"])
        if code != 0:
            raise RuntimeError(f"the benchmark cases failed (pytest exit code {int(code)})")
        return json.loads(output.read_text())["benchmarks"]


def ratio_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per work from pytest-benchmark records: rates at the median round, ratio to the best loop.

    `ratio_low` and `ratio_high` pair the slower quartile of one side with the faster quartile of the other.
    """
    rows = []
    compared = [r for r in records if r["extra_info"]["kind"] != "alone"]
    for work in dict.fromkeys(r["extra_info"]["work"] for r in compared):
        own = [r for r in compared if r["extra_info"]["work"] == work]
        (stacked,) = (r for r in own if r["extra_info"]["kind"] == "stacked")
        loop = max((r for r in own if r["extra_info"]["kind"] == "loop"), key=lambda r: _rate(r, "median"))
        rows.append(
            {
                "work": work,
                "engine": "eager",
                "members": stacked["extra_info"]["members"],
                "rounds": stacked["stats"]["rounds"],
                "member_steps_per_second": _rate(stacked, "median"),
                "loop_steps_per_second": _rate(loop, "median"),
                "loop_threads": loop["extra_info"]["threads"],
                "ratio_to_loop": _rate(stacked, "median") / _rate(loop, "median"),
                "ratio_low": _rate(stacked, "q3") / _rate(loop, "q1"),
                "ratio_high": _rate(stacked, "q1") / _rate(loop, "q3"),
            }
        )
    return rows


def alone_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per work that is compared with nothing: its rate, seconds and peak memory."""
    alone = [record["extra_info"] for record in records if record["extra_info"]["kind"] == "alone"]
    kept = ("work", "members", "member_steps_per_second", "seconds", "peak_gib", "trapped", "upper_bound")
    return [{"engine": "eager", "ratio_to_loop": None, **{name: one[name] for name in kept}} for one in alone]


def _rate(record: Mapping[str, Any], statistic: str) -> float:
    return record["extra_info"]["member_steps"] / record["stats"][statistic]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def print_rows(rows: Sequence[Mapping[str, Any]], alone: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The table of `make speed`."""
    table = Table(title="stacked against one-at-a-time torch.optim", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("work", "members", "stacked, member-steps/s", "best loop, steps/s", "ratio [quartiles]"):
        table.add_column(name, justify="left" if name == "work" else "right")
    for row in rows:
        table.add_row(
            row["work"],
            str(row["members"]),
            f"{row['member_steps_per_second']:,.0f}",
            f"{row['loop_steps_per_second']:,.0f} ({row['loop_threads']} threads)",
            f"{row['ratio_to_loop']:.1f}x [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]",
        )
    console.print(table)
    for row in alone:
        console.print(
            f"{row['work']}: {row['seconds']:.1f} s, peak {row['peak_gib']:.2f} GiB, "
            f"{row['member_steps_per_second']:,.0f} member-steps/s, {row['trapped']} trapped",
            highlight=False,
        )
    facts = machine()
    console.print(
        f"{facts['cpu']}, {facts['threads']} threads, torch {facts['torch']}; median of rounds", highlight=False
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    console = make_console()
    records = measure()
    rows, alone = ratio_rows(records), alone_rows(records)
    print_rows(rows, alone, console)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema_version": SCHEMA_VERSION, "machine": machine(), "rows": rows + alone}
    OUTPUT.write_text(json.dumps(document, indent=1))
    console.print(f"wrote {OUTPUT}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
