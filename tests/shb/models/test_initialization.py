import math

import numpy as np
import pytest
import torch

from shb.errors import ConfigurationError
from shb.models import FAN_FREE, INITIALIZATIONS, check_initialization, draw_parameters
from shb.streams import stream

# (fan_in, fan_out): linear (200, 300), convolution (16 * 9, 48 * 9)
SHAPES = {"a.weight": (300, 200), "a.bias": (3000,), "b.weight": (48, 16, 3, 3), "b.bias": (3000,)}
FANS = {"a.weight": (200, 300), "b.weight": (144, 432)}


def draw(init, seed=0, **options):
    return draw_parameters(SHAPES, init, stream(seed, "init"), dtype=options.pop("dtype", torch.float64), **options)


def assert_uniform(x, bound):
    """A bound or a variance that is wrong by 10 % fails: 3000 draws or more come within 1 % of the bound."""
    assert 0.99 * bound <= x.abs().max() <= bound
    assert -bound <= x.min() < -0.99 * bound
    assert x.var().item() == pytest.approx(bound**2 / 3, rel=0.06)


def assert_normal(x, variance):
    assert x.var().item() == pytest.approx(variance, rel=0.06)  # standard error of 3000 draws: 2.6 %
    assert abs(x.mean().item()) < 4 * math.sqrt(variance / x.numel())
    assert x.abs().max() > 2.5 * math.sqrt(variance)  # a uniform law of this variance ends at 1.73


def test_torch_default_is_uniform_within_the_root_of_fan_in_weights_and_biases():
    drawn = draw("torch_default")
    for layer in "ab":
        bound = 1 / math.sqrt(FANS[f"{layer}.weight"][0])
        assert_uniform(drawn[f"{layer}.weight"], bound)
        assert_uniform(drawn[f"{layer}.bias"], bound)
    theirs = torch.nn.Linear(200, 300)  # the formula of the docstring is that of this torch version
    assert theirs.weight.var().item() == pytest.approx(drawn["a.weight"].var().item(), rel=0.03)
    assert theirs.bias.abs().max().item() <= 1 / math.sqrt(200)


def test_kaiming_is_normal_with_variance_two_over_fan_in_and_zero_bias():
    drawn = draw("kaiming")
    for name, (fan_in, _) in FANS.items():
        assert_normal(drawn[name], 2 / fan_in)
    assert not drawn["a.bias"].any()
    assert not drawn["b.bias"].any()


def test_xavier_is_uniform_with_both_fans_and_zero_bias():
    drawn = draw("xavier")
    for name, (fan_in, fan_out) in FANS.items():
        assert_uniform(drawn[name], math.sqrt(6 / (fan_in + fan_out)))
    assert not drawn["a.bias"].any()
    assert not drawn["b.bias"].any()


def test_torch_zero_bias_has_the_weights_of_torch_default_and_no_bias():
    drawn = draw("torch_zero_bias")
    for name, (fan_in, _) in FANS.items():
        assert_uniform(drawn[name], 1 / math.sqrt(fan_in))
    assert not drawn["a.bias"].any() and not drawn["b.bias"].any()


def test_identity_draws_nothing_and_is_that_of_torch():
    shapes = {"a.weight": (3, 5), "a.bias": (3,), "c.weight": (4, 2, 3, 3), "c.bias": (4,)}
    first, second = (draw_parameters(shapes, "identity", stream(seed, "init"), dtype=torch.float64) for seed in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in shapes)
    assert torch.equal(first["a.weight"], torch.nn.init.eye_(torch.empty(3, 5, dtype=torch.float64)))
    assert torch.equal(first["c.weight"], torch.nn.init.dirac_(torch.empty(4, 2, 3, 3, dtype=torch.float64)))
    assert not first["a.bias"].any() and not first["c.bias"].any()


def test_normal_has_the_standard_deviation_in_every_entry():
    for tensor in draw("normal", std=0.3).values():
        assert_normal(tensor, 0.09)


def test_truncated_normal_is_cut_at_two_deviations_with_constant_bias():
    drawn = draw("truncated_normal", std=0.3, value=0.05)
    for name in ("a.bias", "b.bias"):
        assert torch.equal(drawn[name], torch.full(SHAPES[name], 0.05, dtype=torch.float64))
    for name in FANS:
        w = drawn[name] / 0.3
        assert 1.99 < w.abs().max() <= 2
        assert w.var().item() == pytest.approx(0.7737, rel=0.03)  # 1 - 4 phi(2) / (2 Phi(2) - 1)
        # the law within: P(|w| < 1) = 0.7152 of a normal cut at 2, 0.5 of a uniform one
        assert (w.abs() < 1).double().mean().item() == pytest.approx(0.7152, abs=0.03)


def test_zeros_and_point_are_exact():
    assert all(torch.equal(t, torch.zeros(SHAPES[n])) for n, t in draw("zeros", value=3.0, dtype=torch.float32).items())
    for name, tensor in draw("point", value=0.1).items():
        assert torch.equal(tensor, torch.full(SHAPES[name], 0.1, dtype=torch.float64))


@pytest.mark.parametrize("init", INITIALIZATIONS)
def test_every_dtype_is_the_rounded_float64_draw(init):
    exact = draw(init, std=0.7, value=0.1)
    assert list(exact) == list(SHAPES)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for name, tensor in draw(init, std=0.7, value=0.1, dtype=dtype).items():
            assert tensor.dtype == dtype
            assert torch.equal(tensor, exact[name].to(dtype))


@pytest.mark.parametrize(
    "init", ["torch_default", "torch_zero_bias", "kaiming", "xavier", "normal", "truncated_normal"]
)
def test_seeds_differ_and_a_seed_repeats(init):
    first, again, other = draw(init, 0), draw(init, 0), draw(init, 1)
    assert torch.equal(first["a.weight"], again["a.weight"])
    assert not torch.equal(first["a.weight"], other["a.weight"])
    assert not np.isin(first["a.weight"].flatten()[:1000], first["b.weight"].flatten()).any()


def test_wrong_initialisations_are_refused():
    with pytest.raises(ConfigurationError, match=r"init=kaimin.*did you mean kaiming\?"):
        draw("kaimin")
    for std in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigurationError, match=r"init\.std=.*init=zeros for 0"):
            check_initialization("normal", std)
        with pytest.raises(ConfigurationError, match=r"init\.std="):
            check_initialization("truncated_normal", std)
        check_initialization("kaiming", std)  # not used there
    for init in set(INITIALIZATIONS) - set(FAN_FREE):
        words = rf"init={init}: allowed is normal, zeros, point, .*: the parameter w of shape \[3\] has no fan"
        with pytest.raises(ConfigurationError, match=words):
            draw_parameters({"w": (3,)}, init, stream(0, "init"))
    for init in FAN_FREE:
        assert draw_parameters({"w": (3,)}, init, stream(0, "init"))["w"].shape == (3,)
