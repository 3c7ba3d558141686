"""CL35: how often a ReLU is called at exactly 0.

float32: pre-activations cancel to the last bit, a few times in 10^9 calls; how often, is a property of the kernel, of
what it adds last (CL57). The published shares of initialisations with a zero imply 3.6e-9 (one layer) to 1.36e-8 (five)
per call; the 1.3e-9 to 3.5e-9 that the same authors count while they train are of other weights and no prediction for
initialisations. How a sum is ordered is varied in CL57.
float16: they underflow, with probability 2^-24 p(0), p(0) the density of the pre-activation at 0 (derived,
bench/claims/precision/bifurcation.py); deeper layers of torch's default initialisation have smaller outputs, hence a
larger p(0) and more zeros. How the bias is added matters more than the format: rounding before it is added leaves
zeros at the scale of eps.
Rates are Poisson intervals; the dispersion over initialisations (variance / mean) is in the notes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import bench.claims.precision.zero_counts  # noqa: F401  registers the observer
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.precision.bifurcation import DEPTHS, ensembles
from bench.claims.precision.literature import implied_rate
from bench.claims.prediction import inside
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Mean, PairedMean, Poisson
from bench.statistics.inference import Region

UNDERFLOW = 2.0**-24


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    used = ("float16", "float32", "float64", "lattice", "unfused")
    planned = {name: one for name, one in ensembles(protocol).items() if name in used}
    trained = trajectories(
        {"problem": "learning", "model": "mlp", "model.hidden": [256] * 3, "dataset": "mnist", "batch_size": 256},
        {"optimizer": "sgd", "optimizer.lr": 0.1, "steps": protocol["steps"], "dtype": "float32"},
        seeds=protocol["trained"],
        observe={"zero_counts": {"formats": ["float16", "float32"]}},
        device=protocol.device,
        chunk=2,
        seconds=4.0 * protocol["trained"],
    )
    return {**planned, "trained": trained}


def rate(columns: Columns) -> Poisson:
    """Exact zeros per ReLU call, all layers of all initialisations."""
    zeros = columns["zeros"]
    return Poisson(int(zeros.sum()), float(columns["calls"].sum() * zeros.shape[1]))


def dispersion(columns: Columns) -> float:
    """Variance / mean of the zeros over initialisations: 1 for independent zeros."""
    totals = columns["zeros"].sum(1)
    return float(totals.var(ddof=1) / max(totals.mean(), 1e-300))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    half, trained = results["float16"], results["trained"]

    def against_law(columns: Columns) -> Mean:
        """Zeros over those of the underflow law. They cluster in initialisations (deep layers are nearly constant over
        images), so seeds are the unit.
        """
        expected = (columns["density"] * columns["calls"][:, None]).sum(1) * UNDERFLOW
        return Mean(columns["zeros"].sum(1) / expected)

    def deeper(columns: Columns) -> PairedMean:
        return PairedMean(columns["zeros"][:, -1], columns["zeros"][:, 0])

    calls = float(trained["calls"].sum())
    after = {name: Poisson(int(trained[f"zeros_{name}"].sum()), calls) for name in ("float16", "float32")}
    single, lattice, unfused = (rate(results[name]) for name in ("float32", "lattice", "unfused"))
    integers = Control("integer weights and inputs, zero bias, float32", lattice)
    implied = [implied_rate("float32", depth) for depth in DEPTHS]
    published32, published16 = Region(min(implied), max(implied)), Region(5e-9, 1.2e-7)
    return [
        Part(
            "As added up on this machine, a float32 pre-activation is exactly 0 a few times in a billion ReLU calls.",
            "Bertoin et al. 2021",
            inside(
                f"rate per call in {published32}, as the published shares of random initialisations imply",
                published32,
                "per call",
            ),
            single,
            (integers,),
            note=f"variance / mean over initialisations {dispersion(results['float32']):.2g}; after training: "
            f"{after['float32'].count} zeros in {calls:.3g} calls",
            of=("float32",),
        ),
        Part(
            "In float16 exact zeros are underflows: their number is 2^-24 times the density of pre-activations at 0.",
            "underflow law (derived)",
            inside(
                "mean over initialisations of zeros counted / zeros predicted in [0.8, 1.25]",
                Region(0.8, 1.25),
                "ratio",
            ),
            against_law(half),
            (Control("float32, which does not underflow", against_law(results["float32"])),),
            note=f"{half['zeros'].sum():.0f} zeros; variance / mean over initialisations {dispersion(half):.2g}. In "
            f"bfloat16, rounded before the bias is added, per call {unfused.value:.2g} ({rate(half).value:.2g}).",
            of=("float16",),
        ),
        Part(
            "In float16 deeper layers meet more exact zeros at initialisation.",
            "Bertoin et al. 2021; underflow law (derived)",
            inside("zeros of layer 6 minus zeros of layer 1 > 0.1 per initialisation", Region(0.1, math.inf), "zeros"),
            deeper(half),
            (Control("float64, which does not underflow", deeper(results["float64"])),),
            note="zeros per layer and initialisation: "
            + "; ".join(
                f"{name} {', '.join(f'{z:.3g}' for z in results[name]['zeros'].mean(0))}"
                for name in ("float16", "float32")
            ),
            of=("float16",),
        ),
        Part(
            "Trained networks meet exact zeros in float16 at the published rate.",
            "Bertoin et al. 2021",
            inside("rate per call in [5e-9, 1.2e-7] after training", published16, "per call"),
            after["float16"],
            (integers,),
            note=f"before training the rate at depth 6 is {rate(half).value:.2g}",
            of=("trained",),
        ),
    ]


CLAIM = Claim(
    "CL35",
    "precision",
    "Exact zeros are rare: cancellation in float32, underflow in float16.",
    "Bertoin et al. 2021",
    experiments,
    parts,
    datasets=("mnist",),
)
