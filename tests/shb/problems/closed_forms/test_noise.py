"""Laws of the noise: exact moments where they are finite sums or integrals, large samples elsewhere."""

import numpy as np
import pytest
import torch
from scipy.stats import cauchy, kstest, norm, triang, uniform

from shb.errors import ConfigurationError
from shb.problems import E1, E2, E6, E7, E8, E10, E12, Absolute, Quadratic, Valley
from shb.problems.closed_forms import LAWS, Noise
from shb.problems.closed_forms.noise import CANTOR_DIGITS, finite_points
from shb.streams import words
from tests.shb.problems.closed_forms.cases import regression_pairs

N = 200_000
DRAWN = words(np.array([0]), "sampling", 0, N)[:, 0]


@pytest.mark.parametrize("law", [law for law in LAWS if law != "cauchy"])
def test_mean_zero_and_standard_deviation_sigma(law):
    """5 standard errors of 200,000 draws; the fourth moment of the sample gives that of the variance."""
    noise = Noise(law, 0.5, 10)
    s = noise.draw(DRAWN)
    assert abs(s.mean()) < 5 * 0.5 / np.sqrt(N)
    error = np.std((s - s.mean()) ** 2) / np.sqrt(N)
    assert abs(s.var() - 0.25) <= 5 * error + 1e-5
    assert noise.variance == 0.25


@pytest.mark.parametrize(
    ("law", "distribution"),
    [
        ("gaussian", norm()),
        ("uniform", uniform(-np.sqrt(3), 2 * np.sqrt(3))),
        ("triangular", triang(0.5, -np.sqrt(6), 2 * np.sqrt(6))),
        ("cauchy", cauchy()),
    ],
)
def test_densities(law, distribution):
    assert distribution.std() == pytest.approx(1) or law == "cauchy"
    assert kstest(Noise(law, 1.0, 2).draw(DRAWN), distribution.cdf).pvalue > 1e-6
    assert kstest(Noise(law, 1.1, 2).draw(DRAWN), distribution.cdf).pvalue < 1e-6


@pytest.mark.parametrize("atoms", [2, 3, 10, 1000])
def test_finite_law_is_uniform_on_equidistant_points_with_exact_moments(atoms):
    support = finite_points(atoms)
    assert len(support) == atoms
    assert np.ptp(np.diff(support)) < 1e-12
    assert support.mean() == pytest.approx(0, abs=1e-15)
    assert (support**2).mean() == pytest.approx(1, rel=1e-13)
    drawn, counts = np.unique(Noise("finite", 1.0, atoms).draw(DRAWN), return_counts=True)
    np.testing.assert_array_equal(drawn, support)
    expected = N / atoms
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)


def test_the_skewed_law_is_plus_three_or_minus_one_at_the_sigma_of_the_documents():
    s = Noise("skewed", np.sqrt(3), 2).draw(DRAWN)
    np.testing.assert_allclose(np.unique(s), [-1.0, 3.0], rtol=1e-15)
    assert abs((s > 0).mean() - 0.25) < 5 * np.sqrt(3 / 16 / N)
    assert np.mean(s**3) == pytest.approx(6, rel=0.05)  # the third moment, of a symmetric law 0


def test_signs_and_mixture_have_their_atoms():
    assert set(Noise("signs", 2.0, 2).draw(DRAWN)) == {-2.0, 2.0}
    s = Noise("mixture", 1.0, 2).draw(DRAWN)
    assert abs((s == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(N)
    off = s[s != 0]
    assert len(np.unique(off)) > 0.999 * len(off)
    assert kstest(off, uniform(-np.sqrt(6), 2 * np.sqrt(6)).cdf).pvalue > 1e-6


def test_cantor_law_is_self_similar_and_lives_on_the_cantor_set():
    c = Noise("cantor", 1.0, 2).draw(DRAWN) / np.sqrt(8) + 0.5
    rest = c.copy()
    for _ in range(12):  # the ternary digits are 0 or 2, each with probability 1/2
        assert ((rest < 1 / 3 + 1e-9) | (rest > 2 / 3 - 1e-9)).all()
        digit = 2.0 * (rest > 0.5)
        assert abs((digit == 2).mean() - 0.5) < 5 * 0.5 / np.sqrt(N)
        rest = 3 * rest - digit
    bits = np.array([0, 1, (1 << 64) - 1], np.uint64)
    ends = Noise("cantor", 1.0, 2).draw(bits) / np.sqrt(8) + 0.5
    assert ends.tolist() == pytest.approx([0, 0, 1], abs=1e-15)
    assert 3.0**-CANTOR_DIGITS < 2**-54


def test_cauchy_has_no_variance():
    assert Absolute(noise="cauchy", sigma=0.1).noise_covariance().item() == np.inf


def test_coordinates_are_independent_and_valley_has_noise_along_one():
    s = Quadratic(curvature=(1.0, 2.0)).samples_of(np.arange(200), 0, 640).reshape(-1, 2).numpy()
    assert abs(np.corrcoef(s.T)[0, 1]) < 5 / np.sqrt(len(s))
    assert Valley().samples_of(np.arange(3), 0, 5).shape == (5, 3)
    assert Absolute(noise="signs").samples_of(np.arange(3), 0, 5).shape == (5, 3, 1)


def share(values, probability):
    """Whether the share of true values is within 5 standard errors."""
    return abs(values.double().mean() - probability) < 5 * np.sqrt(probability * (1 - probability) / values.numel())


def test_sampling_laws_of_the_examples():
    seeds = np.arange(500)
    assert share(E1().samples_of(seeds, 0, 64) > 0, 0.5)
    assert set(E1().sample(0, 0, 400).tolist()) == {-1.0, 1.0}
    assert E2().sample(5, 0, 3).tolist() == [1.0, 1.0, 1.0]
    assert kstest(E2(noise="uniform").samples_of(seeds, 0, 64).ravel(), uniform(0.5, 1).cdf).pvalue > 1e-6
    assert kstest(E7().samples_of(seeds, 0, 64).ravel(), norm.cdf).pvalue > 1e-6
    assert kstest(E8().samples_of(seeds, 0, 64).ravel(), norm.cdf).pvalue > 1e-6
    assert kstest(E12().samples_of(seeds, 0, 64).ravel(), cauchy.cdf).pvalue > 1e-6
    assert set(E7(noise="signs").sample(0, 0, 400).tolist()) == {-1.0, 1.0}
    values = E8(law="discrete").samples_of(seeds, 0, 64)
    assert all(share(values == b, 1 / 3) for b in (-1.0, 2.0, 4.5))
    assert share(E10(zero_share=0.3).samples_of(seeds, 0, 64) == 0, 0.3)
    counts = torch.bincount(E6(*regression_pairs()).samples_of(seeds, 0, 64).ravel(), minlength=40)
    assert len(counts) == 40
    assert (counts - 800).abs().max() < 6 * np.sqrt(800)


@pytest.mark.parametrize("atoms", [2, 5, 64, 100])
def test_a_finite_noise_is_reshuffled_or_cycled_epoch_by_epoch(atoms):
    seeds, points = np.array([4, 0, 9]), torch.from_numpy(0.5 * finite_points(atoms))

    def drawn(sampling, start, stop):
        problem = Quadratic(noise="finite", atoms=atoms, sigma=0.5, sampling=sampling)
        return problem.samples_of(seeds, start, stop)[..., 0]

    assert torch.equal(drawn("cyclic", 0, 3 * atoms), points.repeat(3)[:, None].expand(-1, 3))
    whole = drawn("reshuffle", 0, 4 * atoms)
    epochs = whole.view(4, atoms, 3)
    assert torch.equal(epochs.sort(1).values, points[:, None].expand(4, -1, 3))
    assert torch.equal(drawn("reshuffle", atoms - 1, 2 * atoms + 1), whole[atoms - 1 : 2 * atoms + 1])
    if atoms > 2:
        assert not torch.equal(epochs[0], epochs[1])
        assert not torch.equal(epochs[..., 0], epochs[..., 1])
        assert not torch.equal(drawn("iid", 0, 4 * atoms), whole)


@pytest.mark.parametrize("options", [{"noise": "gaussian"}, {"noise": "finite", "curvature": [1.0, 2.0]}])
def test_only_a_finite_set_of_samples_can_be_reshuffled(options):
    with pytest.raises(ConfigurationError, match="sampling=reshuffle: allowed is iid: problem=quadratic has no finite"):
        Quadratic(sampling="reshuffle", **options)
