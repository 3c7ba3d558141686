"""The adapter: a linear map whose parameters backpropagation sees only where U is not 0, or ReLU'(0) is."""

import pytest
import torch

from shb.errors import ConfigurationError
from shb.models import MODELS, adapter, built, mlp
from shb.models.module import unknown_to_torch_default

SHAPE = (1, 3, 2)


def made(seed=0, **options):
    """The module with the values of a seed."""
    with torch.device("meta"):
        module = adapter(SHAPE, 4, hidden=[5], width=3, **options)
    values = built(lambda: adapter(SHAPE, 4, hidden=[5], width=3, **options), seed)
    module.load_state_dict(values, assign=True)
    return module.requires_grad_(True)


def gradients(module, x, direction):
    """Of <direction, output>, for U and V."""
    return torch.autograd.grad((module(x) * direction).sum(), [module.down, module.up])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(7, *SHAPE, generator=generator), torch.randn(7, 4, generator=generator)


def test_it_is_the_perceptron_plus_a_linear_map(batch):
    x, _ = batch
    module = made(start=0.3)
    flat = x.flatten(1)
    torch.testing.assert_close(module(x), module.main(x) + flat @ module.down.T @ module.up.T)
    assert not torch.allclose(module(x), module.main(x))


@pytest.mark.parametrize(
    ("options", "share"),
    [({}, 0), ({"relu_derivative": 0.5}, 1), ({"relu_derivative": 1.0}, 2), ({"form": "maximum"}, 1)],
)
def test_the_gradient_at_zero_is_twice_the_derivative_times_the_true_one(batch, options, share):
    x, direction = batch
    module = made(**options)
    down, up = gradients(module, x, direction)
    true = module.up.detach().T @ direction.T @ x.flatten(1)
    torch.testing.assert_close(down, share * true)
    assert true.abs().min() > 0 and (share > 0 or not down.any()) and not up.any()


def test_beside_zero_the_gradient_is_the_true_one(batch):
    x, direction = batch
    module = made(start=1e-12)
    assert 0 < module.down.abs().max() < 1e-11
    torch.testing.assert_close(gradients(module, x, direction)[0], module.up.detach().T @ direction.T @ x.flatten(1))


def test_networks_that_differ_in_the_start_alone_share_everything_else():
    plain = built(lambda: mlp(SHAPE, 4, hidden=[5]), 3)
    drawn = [dict(made(3, start=start).named_parameters()) for start in (0.0, 0.5)]
    for one in drawn:
        assert all(torch.equal(one[f"main.{name}"], value) for name, value in plain.items())
        assert one["up"].abs().max() <= 3**-0.5 and one["up"].std() > 0.1
    assert torch.equal(drawn[0]["up"], drawn[1]["up"]) and not drawn[0]["down"].any()
    assert 0.2 < drawn[1]["down"].std() < 0.9
    assert not torch.equal(drawn[0]["up"], made(4).up) and not made(3, gain=0.0).up.any()


def test_its_initialisation_is_its_own():
    assert unknown_to_torch_default(MODELS["adapter"](SHAPE, 4)) == "up"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"width": 0}, "model.width=0: allowed is a number >= 1"),
        ({"start": -1.0}, "model.start=-1.0: allowed is"),
        ({"gain": float("nan")}, "model.gain=nan: allowed is"),
        ({"form": "maximun"}, "model.form=maximun: allowed is one of .*did you mean maximum"),
        ({"form": "abs", "relu_derivative": 0.5}, "relu_derivative=0.5: allowed is 0 with model.form=abs"),
        ({"form": "abs", "relu_rule": "injected"}, "relu_rule=injected: allowed is chain with model.form=abs"),
        ({"hidden": [0]}, "model.hidden"),
    ],
)
def test_wrong_options_are_one_line_that_names_the_field(options, line):
    with pytest.raises(ConfigurationError, match=line):
        adapter(SHAPE, 4, **options)
