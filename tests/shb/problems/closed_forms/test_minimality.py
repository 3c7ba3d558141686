"""E13-E16: heavy tails, the smooth spiral, the splitting set, the active strict saddle."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from scipy.stats import pareto as pareto_law

from shb.problems import E13, E14, E15, E16
from shb.problems.closed_forms.splitting import CELLS, LEVELS, SLOPE, spiral_coordinate, splitting
from tests.shb.problems.closed_forms.cases import oracle, points, vector
from tests.shb.problems.closed_forms.runs import run

PERIOD = 2 * np.pi / CELLS


def gradients(problem, w):
    return torch.func.vmap(torch.func.grad(problem.objective))(w)


# -- E13 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1.2, 1.5, 3.0])
def test_the_noise_is_a_symmetrised_pareto(index):
    s = E13(index=index, sigma=2.0).samples_of(np.arange(300), 0, 64).ravel().numpy() / 2
    assert kstest(np.abs(s), pareto_law(index).cdf).pvalue > 1e-6
    assert abs((s > 0).mean() - 0.5) < 4 * 0.5 / len(s) ** 0.5
    assert not kstest(np.abs(s), pareto_law(1.1 * index).cdf).pvalue > 1e-6  # another index is seen


def test_its_variance_is_infinite_up_to_index_two():
    assert E13(index=1.5).noise_covariance().item() == float("inf")
    assert E13(index=3.0, sigma=2.0).noise_covariance().item() == 12.0
    assert E13(tails="gaussian", sigma=2.0).noise_covariance().item() == 4.0


# -- E14 ----------------------------------------------------------------------------------------------------------


def test_the_spiral_is_the_formula_in_polar_coordinates():
    problem, where = E14(), points(2, 200)
    x, y = where.T
    r, theta = torch.hypot(x, y), torch.atan2(y, x)
    u = 4 / (r - 1)
    steep = (r * 4 / (r - 1) ** 2) ** 2
    expected = torch.exp(-u) * (1 - 8 * steep / (1 + 64 * steep) * torch.sin(theta - 8 * u))
    outside = r > 1.1
    assert 100 < outside.sum() < 200
    torch.testing.assert_close(problem.objective(where)[outside], expected[outside], rtol=1e-9, atol=1e-15)
    assert (problem.objective(where)[r < 1.04] == 0).all()


@pytest.mark.parametrize("options", [{}, {"winding": 4.0}, {"wave": 0.0}], ids=str)
def test_nothing_outside_the_disc_is_critical(options):
    problem = E14(**options)
    radius, angle = np.meshgrid(1 + 4 / np.linspace(0.05, 12, 400), np.linspace(0, 2 * np.pi, 721))
    w = torch.from_numpy(np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(-1, 2))
    value, size = problem.objective(w), gradients(problem, w).norm(dim=1)
    assert (value > 0).all()
    u = 4 / (torch.from_numpy(radius.ravel()) - 1)
    assert (size / torch.exp(-u) > 1e-3 * u**2 / 4).all()  # in units of the radial slope u^2 / L e^-u


def test_it_is_smooth_where_it_is_cut_off():
    """At u = 80 F is below 1e-34, whatever its derivative is multiplied by."""
    ring = torch.stack([torch.linspace(1.0, 1.2, 4001).double(), torch.zeros(4001).double()], 1)
    size = gradients(E14(), ring).norm(dim=1)
    assert size.diff().abs().max() < 1e-5 and (size[ring[:, 0] < 1.05] == 0).all()


# -- E15 ----------------------------------------------------------------------------------------------------------


def signs_by_definition(fraction):
    """The sign of a cell from the bits of its fraction, read one block after the other."""
    rest, out = fraction, []
    for x in rest:
        bit, x = divmod(2 * x, 1)
        sign = -1.0 if bit else 1.0
        for level in range(1, LEVELS + 1):
            value, x = divmod(x * 2 ** (level + 1), 1)
            sign = {0: -1.0, 2 ** (level + 1) - 1: 1.0}.get(value, sign)
        out.append(sign)
    return np.array(out)


def test_the_splitting_function_is_the_integral_of_its_signs():
    random = np.random.RandomState(0)
    for end in (0.13, 0.37, 0.5, 0.81):
        fraction = end * random.rand(100_000)
        mean = signs_by_definition(fraction).mean()
        psi, _ = splitting(vector(end * PERIOD))
        assert psi.item() == pytest.approx(SLOPE * mean * end * PERIOD, abs=4 * SLOPE * PERIOD * end / 100_000**0.5)
    x = torch.from_numpy(PERIOD * random.rand(2000))
    assert (
        splitting(x)[1].numpy() == signs_by_definition((x / PERIOD).numpy())
    ).mean() > 0.99  # the last bits are rounded
    assert abs(splitting(vector(PERIOD * (1 - 1e-12)))[0].item()) < 1e-11
    torch.testing.assert_close(splitting(x + 3 * PERIOD)[0], splitting(x)[0], rtol=0, atol=1e-12)


def test_it_is_lipschitz_and_both_slopes_occur_in_every_interval():
    x = torch.linspace(0, PERIOD, 200_001, dtype=torch.float64)
    psi, _ = splitting(x)
    assert (psi.diff() / x.diff()).abs().max() <= SLOPE * (1 + 1e-9)
    assert psi.abs().max() < 0.125
    random = np.random.RandomState(1)
    for start in PERIOD * random.rand(100):
        near = torch.from_numpy(start + 1e-6 * random.rand(4000))
        assert set(splitting(near)[1].tolist()) == {-1.0, 1.0}
    assert len(set(splitting(near, 0)[1].tolist())) == 1  # the zigzag has one slope there


def test_its_oracle_is_tangential_and_no_point_but_the_origin_is_critical():
    problem, where = E15(), points(2, 500)
    for w in where[:20]:
        assert torch.equal(oracle(problem, w, vector(0.0)[0]), problem.subgradient(w))
    v = problem.subgradient(where)
    assert ((v * where).sum(1).abs() < 1e-12).all()
    assert (v[:, 1] * where[:, 0] - v[:, 0] * where[:, 1] > 0.5 * (where**2).sum(1)).all()
    radius = where.norm(dim=1)
    assert (problem.clarke_norm(where) > 0.5 * radius).all()
    assert (problem.objective(where) >= radius**2 / 10).all()
    assert (problem.objective(torch.zeros(2).double()), problem.clarke_norm(torch.zeros(2).double())) == (0, 0)


def test_dist_to_zero_is_that_of_the_segment_of_subgradients():
    problem = E15()
    for w in points(2, 20):
        first, last = torch.from_numpy(problem.field().pieces(w.numpy(), 0.0))
        t = torch.linspace(0, 1, 20_001).double()[:, None]
        nearest = (first + t * (last - first)).norm(dim=1).min().item()
        assert problem.clarke_norm(w).item() == pytest.approx(nearest, rel=1e-6)
        along = (problem.subgradient(w) - first) / (last - first)
        assert along[0].item() == pytest.approx(along[1].item(), abs=1e-9) and 0 < along[0] < 1


@pytest.mark.parametrize("levels", [0, 2, 3])
def test_the_gradient_oracle_is_the_gradient(levels):
    problem, where = E15(levels=levels, oracle="gradient"), points(2, 50)
    torch.testing.assert_close(problem.subgradient(where), gradients(problem, where), rtol=1e-10, atol=1e-11)


def test_the_spiral_coordinate_is_the_angle_minus_the_logarithm():
    w = points(2, 200)
    expected = torch.atan2(w[:, 1], w[:, 0]) - torch.log(w.norm(dim=1))
    torch.testing.assert_close(spiral_coordinate(w), expected, rtol=0, atol=1e-12)
    assert torch.isfinite(spiral_coordinate(torch.zeros(3, 2).double())).all()


# -- E16 ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_saddle_is_critical_and_only_its_manifold_leads_there():
    problem = E16(sigma=0.0, init="point", value=(0.3, 0.0))
    assert problem.clarke_distance(vector(0.0, 0.0)).item() == 0 == problem.saddle_distance(vector(0.0, 0.0)).item()
    sides = problem.field().pieces(np.zeros(2), 1e-3)
    assert sides.tolist() == [[1.0, 0.0], [-1.0, 0.0]]  # 0 lies between
    for optimizer, options in (("sgd", {}), ("shb", {"momentum": 0.9})):
        (stays,) = run(problem, optimizer, 1, 2000, 0.005, **options)
        assert problem.saddle_distance(stays.parameters["w"]).item() < 0.02
        beside = E16(sigma=0.0, init="point", value=(0.3, 1e-9))
        (leaves,) = run(beside, optimizer, 1, 4000, 0.005, **options)
        assert leaves.parameters["w"][1].item() == pytest.approx(0.5**0.5, abs=1e-3)
