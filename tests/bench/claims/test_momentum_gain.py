"""CL49: verdicts on made-up columns of known truth, a tiny run and its figure."""

import numpy as np
import pytest

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.figures import practice as figures
from bench.claims.practice import momentum_gain
from bench.statistics.estimates import PairedMean, PairedRatio
from shb.errors import ConfigurationError
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 60
SCAN = {"seeds": 3, "steps": {"sgd": [0.1, 0.5, 1.0], "shb": [0.1, 1.0]}}
ONE = {"seeds": N, "steps": [0.1]}
RUNS = {
    "2": {"scan": SCAN, "half": ONE, "best": ONE},
    "32": {"scan": SCAN, "equal": ONE, "smaller": {"seeds": N, "steps": [0.05]}},
    "full": {"scan": SCAN, "half": ONE, "best": {"seeds": N, "steps": {"sgd": [0.5], "shb": [1.0]}}},
}
BATCH = {"2": 2, "32": 32, "full": 64}


def sizes(seeds=N):
    """Sizes of the claim with `seeds` of each run."""
    arms = {
        batch: {
            "overrides": [f"batch_size={BATCH[batch]}"],
            "steps": 4,
            "seconds": 1e-4,
            "runs": {name: one | {"seeds": min(seeds, one["seeds"])} for name, one in runs.items()},
        }
        for batch, runs in RUNS.items()
    }
    return {
        "schedule": "cosine",
        "chunk": N,
        "raw_seeds": min(seeds, 20),
        "networks": {"net": ["model=mlp", "model.hidden=[4]", "dataset=digits"]},
        "parts": {"net": {"small": "2", "equal": ["32"], "large": "full"}},
        "batches": {"net": arms},
    }


def world(equal=1.005, smaller=1.0, raw=0.5, small_half=1.0, half=0.7, small_best=1.003, best=0.3, spread=0.01):
    """The columns of all experiments where the losses of SHB and SGD have these ratios."""
    rng = np.random.default_rng(7)

    def losses(factor):
        noise = np.exp(spread * rng.standard_normal(N))
        return {"objective": (factor * noise)[:, None], "reference": np.full(N, 2.3)}

    ratios = {"32 equal": equal, "32 smaller": smaller, "2 half": small_half, "full half": half}
    ratios |= {"2 best": small_best, "full best": best}
    columns = {f"net {name} shb": losses(factor) for name, factor in ratios.items()}
    columns |= {f"net {name} sgd": losses(1.0) for name in ratios}
    columns["net 32 raw shb"] = losses(raw)
    for batch in RUNS:
        for how in ("sgd", "shb"):
            scan = np.tile([0.1, 2.0, np.inf][: len(SCAN["steps"][how])], (3, 1))
            columns[f"net {batch} scan {how}"] = {"objective": scan, "reference": np.full(3, 2.3)}
    return columns


def verdicts(**changes):
    found = verdicts_of("CL49", sizes(), world(**changes))
    return {part.removeprefix("CL49"): verdict for part, (verdict, _) in found.items()}


def test_the_world_of_the_claim_is_supported():
    assert verdicts() == dict.fromkeys("abcd", "SUPPORTED")


@pytest.mark.parametrize(
    ("changes", "part", "wanted"),
    [
        ({"equal": 1.05}, "a", "REFUTED"),
        ({"smaller": 0.9}, "a", "REFUTED"),
        ({"equal": 1.02}, "a", "INCONCLUSIVE"),
        ({"raw": 1.0}, "a", "VOID"),
        ({"half": 1.0}, "b", "REFUTED"),
        ({"small_half": 0.7}, "b", "VOID"),
        ({"small_best": 0.9}, "c", "REFUTED"),
        ({"best": 1.0}, "c", "VOID"),
        ({"best": 0.95}, "d", "REFUTED"),
        ({"small_best": 0.7}, "d", "VOID"),
    ],
)
def test_another_world_has_another_verdict(changes, part, wanted):
    assert verdicts(**changes)[part] == wanted


def test_the_critical_step_of_a_scan():
    protocol, results = Protocol("quick", sizes()), world()
    assert momentum_gain.critical(protocol, results, "net", "2", "sgd") == 0.5
    results["net 2 scan sgd"]["objective"] = np.tile([3.0, 0.1, 0.1], (3, 1))
    assert momentum_gain.critical(protocol, results, "net", "2", "sgd") == 0
    results["net 2 scan sgd"]["objective"] = np.full((3, 3), 0.1)
    assert momentum_gain.critical(protocol, results, "net", "2", "sgd") == 1.0


def test_a_lost_run_counts_as_a_finite_loss():
    columns = {"objective": np.array([[0.1, np.inf, 1e9]]), "reference": np.array([2.0])}
    assert momentum_gain.losses(columns).tolist() == [[0.1, 200.0, 200.0]]


def test_without_its_data_the_claim_is_out_of_scope():
    (part,) = CLAIMS["CL49"].parts(Protocol("full", sizes()), {})
    assert part.id == "CL49" and part.out_of_scope == "data set absent, for net"


@pytest.mark.slow
def test_a_tiny_run_has_its_parts_and_its_figure():
    results, parts = run_tiny("CL49", sizes(seeds=2))
    assert [part.id for part in parts] == ["CL49a", "CL49b", "CL49c", "CL49d"]
    drawn = figures.figure({"CL49": Protocol("quick", sizes(seeds=2))}, {"CL49": results})
    assert [len(axis.lines) for axis in drawn.axes if axis.get_visible()] == [3, 3]


def test_the_ratio_of_paired_values():
    first, second = np.array([2.0, 8.0, 4.0]), np.array([1.0, 2.0, 2.0])
    ratio, logarithm = PairedRatio(first, second), PairedMean(np.log(first), np.log(second))
    assert ratio.value == pytest.approx(16 ** (1 / 3)) and ratio.n == 3
    assert ratio.interval() == pytest.approx(np.exp(logarithm.interval()))
    with pytest.raises(ConfigurationError, match="second"):
        PairedRatio(first, np.array([1.0, 0.0, 1.0]))
