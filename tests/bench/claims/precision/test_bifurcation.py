"""The measure behind CL33, CL34, CL35, on digits in place of MNIST."""

import numpy as np
import pytest
import torch

from bench.claims.precision import bifurcation as zeros
from shb.datasets import load_dataset


@pytest.fixture
def images(monkeypatch):
    """Digits in place of MNIST, so that no files are needed."""
    data = load_dataset("digits").train
    x = data.x.flatten(1)
    monkeypatch.setattr(zeros, "training_images", lambda count: (x[:count] / x.abs().max(), data.y[:count]))
    monkeypatch.setattr(zeros, "PIXELS", 64)


def small(dtype, **changes):
    return zeros.settings(dtype, depths=[1, 2], width=64, batch=64, images=256, **changes)


def test_where_zeros_are_common_both_rules_see_them_and_only_the_chain_is_small(images):
    rows = zeros.bifurcation(small("float32", lattice=True), np.arange(2))
    assert (rows["zeros"] > 0).all() and (rows["calls"] == 256 * 64).all()
    assert (rows["chain"] == 1).all() and (rows["injected"] == 1).all() and (rows["existence"] == 1).all()
    assert (rows["effect_injected"] > 0).all()
    ordinary = zeros.bifurcation(small("float64"), np.arange(2))
    assert (
        (ordinary["zeros"] == 0).all() and (ordinary["chain"] == 0).all() and np.isnan(ordinary["effect_chain"]).all()
    )


def test_a_row_depends_on_its_seed_only(images):
    both, second = (zeros.bifurcation(small("float16", lattice=False), np.array(s)) for s in ([3, 5], [5]))
    for name in both:
        np.testing.assert_array_equal(both[name][1], second[name][0])


def test_a_scaled_loss_underflows_under_the_chain_rule_only(images):
    settings = small("float16", fused=False, loss_scale=2.0**-30)
    rows = zeros.bifurcation(settings, np.arange(2))
    assert (rows["existence"] == 1).any() and (rows["chain"] == 0).all()
    np.testing.assert_array_equal(rows["injected"], rows["existence"])


def test_fused_float16_is_zero_up_to_half_the_smallest_subnormal():
    tiny = torch.tensor([[2.0**-25], [1.01 * 2.0**-25]], dtype=torch.float32)
    one, zero = torch.ones(1, 1), torch.zeros(1)
    half = [zeros.affine(torch.ones(1, 1).half(), one.half(), zero.half())]
    assert half[0].item() == 1
    assert (tiny.half() == 0).flatten().tolist() == [True, False]
    x, w = torch.tensor([[2.0**-12, 1.0]]).half(), torch.tensor([[2.0**-13, 0.0]]).half()
    assert zeros.affine(x, w, zero.half()).item() == 0 and zeros.affine(x.float(), w.float(), zero).item() > 0


def test_rounding_before_the_bias_makes_zeros_common(images):
    fused, unfused = (zeros.bifurcation(small("bfloat16", fused=f), np.arange(2))["zeros"].sum() for f in (True, False))
    assert unfused > 10 and fused <= 1


def test_the_screen_is_far_above_the_rounding_error_of_float32(images):
    settings = zeros.settings("float64", images=128)
    params = zeros.initial_parameters(settings, 0, torch.float64)
    x, _ = zeros.training_images(128)
    exact = zeros.preactivations(params, x.double(), 6)
    single = zeros.preactivations({name: p.float() for name, p in params.items()}, x, 6)
    assert max(float((a - b).abs().max()) for a, b in zip(exact, single)) < zeros.SCREEN / 4


def test_a_network_of_depth_l_has_the_zeros_of_its_first_l_layers(images):
    settings = small("bfloat16", fused=False) | {"images": 16, "batch": 8}
    rows = zeros.bifurcation(settings, np.arange(24))
    only_second = (rows["zeros"][:, 0] == 0) & (rows["zeros"][:, 1] > 0)
    assert only_second.any() and not only_second.all()
    np.testing.assert_array_equal(rows["existence"], np.cumsum(rows["zeros"], 1) > 0)
    assert (np.isnan(rows["effect_chain"]) == (rows["existence"] == 0)).all()


def test_the_density_is_that_of_the_preactivations_at_zero(images):
    settings = small("float32", fused=True) | {"images": 1024, "batch": 1024}
    found = zeros.bifurcation(settings, np.arange(8))["density"].mean(0)
    x, _ = zeros.training_images(1024)
    wide = []
    for seed in range(8):
        ys = zeros.preactivations(zeros.initial_parameters(settings, seed, torch.float32), x, 2)
        wide.append([float((y.abs() < 0.02).float().mean()) / 0.04 for y in ys])
    np.testing.assert_allclose(found, np.mean(wide, 0), rtol=0.1)
