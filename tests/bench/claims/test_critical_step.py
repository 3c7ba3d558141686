"""CL48: the law behind it, the bisection, verdicts on made-up columns of known truth, tiny runs and the figure."""

import numpy as np
import pytest

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.figures import practice as figures
from bench.claims.practice import critical_step, effective_step
from bench.claims.practice.effective_step import Trainer, entropy
from bench.claims.trajectories import overrides_of, run
from shb.datasets import load_dataset
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 40
NETWORK = ["model=mlp", "model.hidden=[4]", "dataset=digits"]
RULES = {"2": ("sgd", "shb", "slight"), "32": ("sgd", "shb", "slight"), "full": ("sgd", "shb", "weak")}


def arm(batch):
    ends = dict.fromkeys(RULES[batch], 0.1)
    size = {"full": 64}.get(batch, batch)
    return {"overrides": [f"batch_size={size}"], "steps": 5, "seeds": N, "from": ends, "seconds": 1e-4}


SIZES = {
    "schedule": "constant",
    "rounds": 6,
    "octaves": 6,
    "chunk": N,
    "networks": {"net": NETWORK},
    "parts": {"net": {"small": "2", "medium": "32", "large": "full"}},
    "batches": {"net": {batch: arm(batch) for batch in RULES}},
    "quadratic_steps": 60,
}
TINY = SIZES | {"rounds": 2, "batches": {"net": {batch: arm(batch) | {"seeds": 2} for batch in RULES}}}
PARTS = dict(zip("abcdef", ("quadratic", "small", "medium", "large", "learns", "growth")))


def critical(curvature, noise, beta):
    """a* by bisection on the spectral radius of the map of (E x_k^2, E x_k x_{k-1}, E x_{k-1}^2)."""
    low, high = 1e-6, 1e4
    for _ in range(100):
        a = np.sqrt(low * high)
        alpha = a * (1 - beta)
        p = 1 + beta - alpha * curvature
        moments = [[p * p + alpha * alpha * noise, -2 * p * beta, beta * beta], [p, -beta, 0], [1, 0, 0]]
        low, high = (a, high) if abs(np.linalg.eigvals(moments)).max() < 1 else (low, a)
    return low


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, -0.3])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 1.0, 10.0])
def test_the_law_of_sampled_curvature(beta, noise):
    law = 2 * 1.3 / (1.3**2 * (1 - beta) / (1 + beta) + noise)
    assert critical(1.3, noise, beta) == pytest.approx(law, rel=1e-11)


@pytest.fixture
def survival(monkeypatch):
    """The measure on a made-up loss: `survival(works)` with works(a) -> bool gives its columns."""

    def measured(works):
        def losses(self, seeds, steps):
            return np.where(np.vectorize(works)(steps), 0.0, np.inf)

        monkeypatch.setattr(Trainer, "__init__", lambda self, settings: None)
        monkeypatch.setattr(Trainer, "losses", losses)
        monkeypatch.setattr(Trainer, "reference", lambda self, seeds: np.ones(len(seeds)))
        settings = {"share": 0.99, "low": 1.0, "high": 16.0, "rounds": 8}
        return MEASURES["critical_step"].function(settings, np.arange(3))

    return measured


@pytest.mark.parametrize("limit", [1.3, 2.0, 9.7])
def test_the_bisection_finds_the_critical_step(survival, limit):
    columns = survival(lambda a: a <= limit)
    assert ((columns["critical"] <= limit * (1 + 1e-9)) & (columns["critical"] > limit / 1.011)).all()
    assert not columns["edge"].any()


def test_where_survival_is_not_monotone_a_crossing_is_found(survival):
    columns = survival(lambda a: a <= 2 or 5 <= a <= 6)
    assert all(np.isclose(one, 2, rtol=0.011) or np.isclose(one, 6, rtol=0.011) for one in columns["critical"])


@pytest.mark.parametrize("works", [True, False])
def test_a_step_outside_the_range_is_reported(survival, works):
    assert survival(lambda a: works)["edge"].all()


def test_the_reference_is_the_loss_of_the_best_constant_predictor():
    labels = load_dataset("digits").train.y.numpy()
    share = np.bincount(labels) / len(labels)
    problem = Trainer({"overrides": ["problem=learning", *NETWORK, "steps=1"], "device": "cpu"}).cell.problem()
    assert entropy(problem) == pytest.approx(-(share * np.log(share)).sum(), abs=1e-12)


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", None), ("shb", 0.9)])
def test_a_run_is_that_of_the_benchmark_at_the_converted_step(optimizer, momentum):
    rule = effective_step.rule(optimizer, momentum)
    common = overrides_of({"problem": "learning", "dtype": "float32", "steps": 7}, *NETWORK, rule)
    found = Trainer({"overrides": common, "device": "cpu"}).losses(np.array([3]), np.array([[0.5, 2.0]]))
    for a, loss in zip((0.5, 2.0), found[0]):
        lr = f"optimizer.lr={a * (1 - (momentum or 0.0))!r}"
        spec = {"overrides": sorted([*common, lr]), "observe": {}, "device": "cpu"}
        assert run(spec, np.array([3]))["objective"] == loss


def test_a_run_that_diverges_is_lost():
    overrides = ["problem=quadratic", "problem.sigma=0", "optimizer=sgd", "steps=400"]
    found = Trainer({"overrides": overrides, "device": "cpu"}).losses(np.arange(2), np.array([[1.5, 50.0]] * 2))
    assert (found[:, 0] < 1e-9).all() and np.isinf(found[:, 1]).all()


def world(small=1.2, medium=4.7, large=12.0, learns=10.0, slight=1.1, weak=2.0, nesterov=6.8, spread=0.2, law=19.0):
    """The columns of all experiments where R has these values."""
    rng = np.random.default_rng(5)

    def steps(factor=1.0):
        return {"critical": factor * np.exp(spread * rng.standard_normal(N)), "edge": np.zeros(N)}

    ratios = {
        "2 shb": small,
        "32 shb": medium,
        "32 slight": slight,
        "2 slight": 1.0,
        "full shb": large,
        "full weak": weak,
    }
    ratios |= {"2 sgd": 1.0, "32 sgd": 1.0, "full sgd": 1.0, "full sgd learns": 1.0}
    ratios |= {"full shb learns": learns, "full weak learns": weak}
    columns = {f"net {name}": steps(factor) for name, factor in ratios.items()}
    for how, factor in (("sgd", 1.0), ("shb", law), ("nesterov", nesterov)):
        columns[f"quadratic {how}"] = {"critical": np.full(4, factor), "edge": np.zeros(4)}
    return columns


def verdicts(**changes):
    found = verdicts_of("CL48", SIZES, world(**changes))
    return {PARTS[part.removeprefix("CL48")]: verdict for part, (verdict, _) in found.items()}


def test_the_world_of_the_claim_is_supported():
    assert verdicts() == dict.fromkeys(PARTS.values(), "SUPPORTED")


@pytest.mark.parametrize(
    ("changes", "part", "wanted"),
    [
        ({"law": 18.0}, "quadratic", "REFUTED"),
        ({"nesterov": 19.0}, "quadratic", "VOID"),
        ({"small": 3.0}, "small", "REFUTED"),
        ({"large": 1.5}, "small", "VOID"),
        ({"medium": 1.0}, "medium", "REFUTED"),
        ({"slight": 3.0}, "medium", "VOID"),
        ({"large": 30.0}, "large", "REFUTED"),
        ({"large": 19.0}, "large", "INCONCLUSIVE"),
        ({"weak": 9.0}, "large", "VOID"),
        ({"learns": 3.0}, "learns", "REFUTED"),
        ({"large": 3.0}, "growth", "REFUTED"),
        ({"slight": 1.7}, "growth", "VOID"),
    ],
)
def test_another_world_has_another_verdict(changes, part, wanted):
    assert verdicts(**changes)[part] == wanted


def test_without_its_data_the_claim_is_out_of_scope():
    quadratic = {name: columns for name, columns in world().items() if name.startswith("quadratic")}
    (part,) = CLAIMS["CL48"].parts(Protocol("full", SIZES), quadratic)
    assert part.id == "CL48" and part.out_of_scope == "data set absent, for net"


@pytest.mark.slow
def test_a_tiny_run_has_its_parts_and_its_figure():
    results, parts = run_tiny("CL48", TINY)
    assert [part.id for part in parts] == [f"CL48{letter}" for letter in PARTS]
    assert parts[-1].note.count("n = 2") == 3 and "of SHB" in parts[-1].note
    drawn = figures.figure({"CL48": Protocol("quick", TINY)}, {"CL48": results})
    assert len(drawn.axes) == 1 and [one.get_text() for one in drawn.axes[0].get_xticklabels()] == ["2", "32", "full"]
    assert critical_step.ratio(results, "net", "2").n == 2
