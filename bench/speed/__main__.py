"""`make speed`: run the pytest-benchmark cases, print the ratios, write results/local/speed.json."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from bench.command import make_console, read_options, run_command
from bench.speed.jax_work import INSTALLED, NOT_INSTALLED
from bench.speed.peak import E1_BYTES, member_step_flops
from bench.speed.work import WORKS, Work
from bench.store.environment import cpu_name
from shb.files import write_whole
from shb.training import ENGINES

SCHEMA_VERSION = 5
OUTPUT = Path("results/local/speed.json")
NOTE = (
    "member-steps/s: median round; ratio to the best loop of torch.optim, with that of the slower quartile of one side "
    "to the faster quartile of the other; share of peak: counted FLOPs of torch's product of large matrices (E1: least "
    "bytes, *, of a copy); needed memory: parameters, velocity, gradients, activations of a chunk"
)


def measure() -> list[dict[str, Any]]:
    """Run the cases in this process and return pytest-benchmark's records."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmark.json"
        cases = str(Path(__file__).parent / "test_speed.py")
        options = ["-q", "-p", "no:cacheprovider", "--benchmark-enable", "--benchmark-quiet", "-W", "ignore"]
        code = pytest.main([cases, *options, f"--benchmark-json={output}"])
        if code == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0:
            raise RuntimeError(f"the benchmark cases failed (pytest exit code {int(code)})")
        return json.loads(output.read_text())["benchmarks"]


def rates(record: Mapping[str, Any]) -> tuple[float, float, float]:
    """Quartiles of the rounds of a record, slow to fast, in member-steps (product: FLOP, copy: bytes) per second."""
    facts = record["extra_info"]
    rounds = facts["rates"] if "rates" in facts else [facts["member_steps"] / s for s in record["stats"]["data"]]
    slow, median, fast = np.quantile(rounds, [0.25, 0.5, 0.75]).tolist()
    return slow, median, fast


def make_rows(records: Sequence[Mapping[str, Any]], works: Sequence[Work] = WORKS) -> list[dict[str, Any]]:
    """One row per work and engine that was measured; the baseline of a work is its fastest loop."""
    flops, bandwidth = (_rate(records, role) for role in ("product", "copy"))
    rows = []
    for work in works:
        own = [record for record in records if record["extra_info"].get("work") == work.name]
        loop = max(_of(own, "loop"), key=lambda record: rates(record)[1])
        loop_slow, loop_rate, loop_fast = rates(loop)
        given = _rate(own, "jax")
        jax_rate = _rate(own, "jax, drawing") or given
        for stacked in (record for engine in ENGINES for record in _of(own, engine)):
            facts = stacked["extra_info"]
            slow, rate, fast = rates(stacked)
            closed_form = work.kind == "closed form"
            rows.append(
                {
                    "work": work.name,
                    "kind": work.kind,
                    "engine": facts["role"],
                    "members": work.members,
                    "width": facts["width"],
                    "cost": work.cost,
                    "rounds": stacked["stats"]["rounds"],
                    "member_steps_per_second": rate,
                    "compile_seconds": facts["compile_seconds"],
                    "peak_bytes": facts.get("peak"),
                    "ratio_to_needed_memory": facts["peak"] / facts["needed"] if "peak" in facts else None,
                    "loop": loop["extra_info"]["loop"],
                    "loop_steps_per_second": loop_rate,
                    "ratio_to_loop": rate / loop_rate,
                    "ratio_low": slow / loop_fast,
                    "ratio_high": fast / loop_slow,
                    "jax_member_steps_per_second": jax_rate,
                    "ratio_to_jax": None if jax_rate is None else rate / jax_rate,
                    "ratio_to_jax_given_samples": None if given is None else rate / given,
                    "share_of_peak": None if closed_form else rate * member_step_flops(work) / flops,
                    "share_of_bandwidth": rate * E1_BYTES / bandwidth if closed_form else None,
                }
            )
    return rows


def make_document(records: Sequence[Mapping[str, Any]], works: Sequence[Work] = WORKS) -> dict[str, Any]:
    """What is written: rates per second, times in seconds, memory in GiB."""
    (million,) = _of(records, "million")
    native = _rate(records, "native_product")
    kept = ("work", "members", "member_steps_per_second", "seconds", "peak_gib", "trapped", "upper_bound")
    return {
        "schema_version": SCHEMA_VERSION,
        "machine": machine(),
        "peak_gflops": _rate(records, "product") / 1e9,
        "native_gflops": None if native is None else native / 1e9,
        "copy_gigabytes_per_second": _rate(records, "copy") / 1e9,
        "rows": make_rows(records, works),
        "million": {name: million["extra_info"][name] for name in kept},
    }


def _of(records: Sequence[Mapping[str, Any]], role: str) -> list[Mapping[str, Any]]:
    return [record for record in records if record["extra_info"]["role"] == role]


def _rate(records: Sequence[Mapping[str, Any]], role: str) -> float | None:
    """Median of the only record of that role, or None."""
    found = _of(records, role)
    return rates(found[0])[1] if found else None


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "jax": importlib.metadata.version("jax") if INSTALLED else None,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


TABLE_COLUMNS = (
    "work",
    "members",
    "engine",
    "member-\nsteps/s",
    "times the\nbest loop",
    "times\nJAX",
    "of\npeak",
    "times\nneeded\nmemory",
    "build\n[s]",
)


def print_document(document: Mapping[str, Any], console: Console) -> None:
    """The table of `make speed`."""
    table = Table(
        title="stacked training", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name in TABLE_COLUMNS:
        table.add_column(name, justify="left" if name in ("work", "engine") else "right", no_wrap=True)
    for row in document["rows"]:
        bandwidth = row["share_of_bandwidth"]
        table.add_row(
            row["work"],
            f"{row['members']:,}",
            row["engine"],
            f"{row['member_steps_per_second']:,.0f}",
            f"{_ratio(row['ratio_to_loop'])} [{_ratio(row['ratio_low'])}, {_ratio(row['ratio_high'])}]",
            "-" if row["ratio_to_jax"] is None else _ratio(row["ratio_to_jax"]),
            f"{row['share_of_peak']:.0%}" if bandwidth is None else f"{bandwidth:.0%}*",
            "-" if row["ratio_to_needed_memory"] is None else _ratio(row["ratio_to_needed_memory"]),
            "-" if row["compile_seconds"] is None else f"{row['compile_seconds']:.1f}",
        )
    console.print(table)
    facts, million = document["machine"], document["million"]
    loops = {row["work"]: f"{row['loop']}, {row['loop_steps_per_second']:,.0f}" for row in document["rows"]}
    lines = [
        *(f"best loop of {work}: {loop} steps/s" for work, loop in loops.items()),
        f"JAX: {facts['jax'] or NOT_INSTALLED}",
        *(
            f"{row['work']}, {row['engine']}: in the table JAX draws its samples; "
            f"{_ratio(row['ratio_to_jax_given_samples'])} times JAX that is given them"
            for row in document["rows"]
            if row["ratio_to_jax_given_samples"] != row["ratio_to_jax"]
        ),
        f"{million['work']}, a claim's run: {million['seconds']:.1f} s, peak {million['peak_gib']:.2f} GiB, "
        f"{million['member_steps_per_second']:,.0f} member-steps/s, {million['trapped']} trapped",
        f"peak: product of torch {document['peak_gflops']:.0f} GFLOP/s, native product {_gflops(document)}, "
        f"copy {document['copy_gigabytes_per_second']:.0f} GB/s",
        f"{facts['gpu'] or facts['cpu']}, {facts['threads']} threads, torch {facts['torch']}, python {facts['python']}",
        NOTE,
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _gflops(document: Mapping[str, Any]) -> str:
    native = document["native_gflops"]
    return "not measured" if native is None else f"{native:.0f} GFLOP/s"


def _ratio(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    read_options(arguments, {}, "python -m bench.speed")
    console = make_console()
    document = make_document(measure())
    print_document(document, console)
    write_whole(OUTPUT, json.dumps(document, indent=1))
    console.print(f"wrote {OUTPUT}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
