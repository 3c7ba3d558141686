"""CL54: verdicts on made-up columns of known truth, the mean field of Adam by enumeration, a tiny run, the figure."""

import itertools

import numpy as np
import pytest
import torch

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.figures import sampling as figures
from bench.claims.sampling import biased_limits, monitors
from shb.optimizers.clipping import clip_by_value
from shb.problems import Quadratic
from tests.bench.claims.synthetic import run_tiny, verdicts_of
from tests.shb.problems.tiny import mlp_problem

N = 1000
SIZES = {
    "seeds": 400,
    "steps": 64,
    "lr": 0.1,
    "adam_seeds": 400,
    "adam_steps": 128,
    "adam_lr": 1.0,
    "field_seeds": 400,
    "field_steps": 64,
    "network_seeds": 20,
    "chunk": 20,
    "network_steps": 8,
    "network_lr": 0.05,
    "network_at": 0.5,
    "whole": 265,
    "networks": {"net": ["model=mlp", "model.hidden=[3]", "dataset=diabetes"]},
    "seconds": 1e-4,
}


def around(value, spread=0.02, n=N, seed=0):
    return value + spread * np.random.default_rng(seed).standard_normal(n)


def end(value):
    return {"w0": around(value)}


def path(value):
    """129 points, of which the first half is far away."""
    return {"w0": np.concatenate([np.full((N, 64), 9.0), np.tile(around(value, 0.005)[:, None], 65)], 1)}


def norms(value):
    return {"gradient_norm": around(value, 0.01, 20)[:, None], "sample_gradient_norm": np.full((20, 1), 1.3)}


def world(**changes):
    """The claim's world; `changes`: "adam_fast" -> the columns of that experiment."""
    right = {"skewed value": end(2 / 3)}
    right |= {name: end(0.0) for name in ("skewed at 4", "gaussian value")}
    right |= {"adam fast": path(0.058), "adam slow": path(0.001), "adam gaussian": path(0.0)}
    right |= {
        "field fast": {"zero": around(0.058, 0.005, seed=1)},
        "field slow": {"zero": around(0.001, 0.005, seed=1)},
    }
    right |= {"net clipped": norms(0.3), "net unclipped": norms(0.1)}
    right |= {f"net whole {how}": norms(0.05) for how in ("clipped", "unclipped")}
    return right | {name.replace("_", " "): columns for name, columns in changes.items()}


def verdicts(**changes):
    found = verdicts_of("CL54", SIZES, world(**changes))
    return {part.removeprefix("CL54"): verdict for part, (verdict, _) in found.items()}


SUPPORTED = dict.fromkeys("abcdef", "SUPPORTED")


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({}, {}),
        ({"skewed_value": end(0.6)}, {"a": "REFUTED"}),
        ({"skewed_value": end(0.0)}, {"a": "REFUTED", "b": "REFUTED"}),
        ({"skewed_at 4": end(2 / 3)}, {"a": "VOID", "b": "VOID"}),
        ({"gaussian_value": end(2 / 3)}, {"a": "VOID", "b": "VOID"}),
        ({"adam_fast": path(0.04)}, {"c": "REFUTED", "e": "REFUTED"}),
        ({"adam_slow": path(0.02)}, {"d": "REFUTED", "e": "REFUTED"}),
        ({"adam_gaussian": path(0.058)}, {"c": "VOID", "e": "VOID"}),
        ({"field_slow": {"zero": around(0.02, 0.005, seed=1)}}, {"e": "REFUTED"}),
        ({"net_clipped": norms(0.15)}, {"f": "REFUTED"}),
        ({"net_whole clipped": norms(0.3)}, {"f": "VOID"}),
    ],
    ids=lambda value: " ".join(value) or "right",
)
def test_verdicts_follow_the_world(changes, others):
    assert verdicts(**changes) == SUPPORTED | others


def test_without_its_data_the_part_on_networks_is_out_of_scope():
    without = {name: columns for name, columns in world().items() if not name.startswith("net")}
    *_, part = CLAIMS["CL54"].parts(Protocol("quick", SIZES), without)
    assert part.id == "CL54f" and part.out_of_scope == "data set absent, for net"


@pytest.mark.parametrize(("at", "zero"), [(1.0, 2 / 3), (4.0, 0.0)])
def test_the_zero_of_the_mean_clipped_gradient(at, zero):
    problem = Quadratic(noise="skewed", sigma=3**0.5)
    s = problem.noise.draw(np.arange(4, dtype=np.uint64) << np.uint64(62))  # its law, exactly

    def field(w):
        return clip_by_value({"w": torch.from_numpy(w + s)}, torch.tensor(at).double())["w"].mean().item()

    assert abs(field(zero)) < 1e-12 and field(zero - 0.01) < -0.005 and field(zero + 0.01) > 0.005


def test_the_mean_field_of_adam_by_enumeration():
    """All 2^13 pasts, of weights 1/4 and 3/4; older samples have a share of 2^-13 in m and v."""
    betas, steps = (0.5, 0.5), 13
    pasts = np.array(list(itertools.product((3.0, -1.0), repeat=steps)))  # newest first
    probability = np.where(pasts > 0, 0.25, 0.75).prod(1)
    weights = 0.5 ** np.arange(1, steps + 1)

    def field(w):
        g = pasts + w
        m = g @ weights + w * 0.5**steps
        return probability @ (m / np.sqrt(g**2 @ weights + 0.5**steps * (w * w + 3)))

    low, high = map(field, biased_limits.FIELD_AT)
    expected = -low * 0.1 / (high - low)
    settings = {"betas": list(betas), "law": "skewed", "sigma": 3**0.5, "steps": 4000}
    found = biased_limits.adam_mean_field(settings, np.arange(300))["zero"]
    error = found.std() / np.sqrt(len(found))
    assert error < 0.02 * expected and abs(found.mean() - expected) < 4 * error + 0.005 * expected
    assert np.array_equal(biased_limits.adam_mean_field(settings, np.arange(7, 9))["zero"], found[7:9])


def test_norms_of_gradients_are_those_of_autograd():
    problem = mlp_problem()
    params = problem.initial_parameters_of(np.arange(2))
    observed = monitors.GradientNorms(problem, None, at=[0])
    observed.start(params)
    columns = observed.columns()
    x, y = (part.double() for part in monitors.training_data(problem, problem.train_size))
    for row in range(2):
        own = {name: p[row].double().requires_grad_() for name, p in params.items()}
        whole = torch.autograd.grad(problem.loss(own, x, y), own.values())
        each = [torch.autograd.grad(problem.loss(own, x[i : i + 1], y[i : i + 1]), own.values()) for i in range(len(x))]
        sizes = torch.tensor([sum(float((g**2).sum()) for g in one) ** 0.5 for one in each])
        norm = sum(float((g**2).sum()) for g in whole) ** 0.5
        assert columns["gradient_norm"][row, 0].item() == pytest.approx(norm, rel=1e-9)
        assert columns["sample_gradient_norm"][row, 0].item() == pytest.approx(sizes.median().item(), rel=1e-5)


@pytest.fixture(scope="module")
def tiny():
    return run_tiny("CL54", SIZES | {"seeds": 40, "adam_seeds": 40, "field_seeds": 40, "network_seeds": 2, "chunk": 2})


@pytest.mark.slow
def test_a_tiny_run_has_every_part(tiny):
    results, parts = tiny
    assert [part.id for part in parts] == [f"CL54{letter}" for letter in "abcdef"]
    one, other = (results[f"net {how}"]["gradient_norm"] for how in ("unclipped", "clipped"))
    assert not np.array_equal(one, other)
    assert not np.array_equal(results["skewed value"]["w0"], results["skewed at 4"]["w0"])


def test_the_figure_is_drawn(tiny):
    results, _ = tiny
    drawn = figures.figure({"CL54": Protocol("quick", SIZES)}, {"CL54": results})
    (axis,) = [axis for axis in drawn.axes if axis.get_visible()]
    assert "CL54" in axis.get_title() and len(axis.get_yticks()) == 5
