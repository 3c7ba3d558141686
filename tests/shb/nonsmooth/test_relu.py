import math

import pytest
import torch

from shb.errors import ConfigurationError
from shb.nonsmooth import ReLU, relu
from shb.nonsmooth.relu import check_at_zero

X = torch.tensor([-2.0, -1e-300, -0.0, 0.0, 1e-300, 3.0], dtype=torch.float64)
# none of them 1: a rule that injects t instead of multiplying with it would pass with upstream 1
UPSTREAM = torch.tensor([5.0, -7.0, 3.0, -4.0, 0.5, 2.0], dtype=torch.float64)


def expected_gradient(t):
    return torch.tensor([0.0, 0.0, 3.0 * t, -4.0 * t, 0.5, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_value_is_that_of_torch_and_the_derivative_at_zero_is_t(t):
    x = X.clone().requires_grad_()
    y = relu(x, t)
    y.backward(UPSTREAM)
    assert torch.equal(y, torch.relu(X))
    assert torch.equal(x.grad, expected_gradient(t))
    layer = X.clone().requires_grad_()
    ReLU(at_zero=t)(layer).backward(UPSTREAM)
    assert torch.equal(layer.grad, x.grad)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_the_rule_survives_vmap_of_grad(t):
    rows = torch.stack([X, X.flip(0), -X])
    gradients = torch.func.vmap(torch.func.grad(lambda x: (UPSTREAM * relu(x, t)).sum()))(rows)
    for row, gradient in zip(rows, gradients):
        x = row.clone().requires_grad_()
        relu(x, t).backward(UPSTREAM)
        assert torch.equal(gradient, x.grad)
    assert torch.equal(gradients[0], expected_gradient(t))


def test_the_chain_rule_multiplies_t_through_layers():
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    relu(3 * relu(x, 0.5), 0.25).backward(torch.tensor([8.0], dtype=torch.float64))
    assert x.grad.item() == 8 * 0.25 * 3 * 0.5


def test_t_zero_is_torch_relu_itself():
    x = X.clone().requires_grad_()
    assert type(relu(x).grad_fn) is type(torch.relu(x).grad_fn)
    assert type(relu(x, 0.5).grad_fn) is not type(torch.relu(x).grad_fn)


@pytest.mark.parametrize("t", [-0.1, 1.0001, 2, math.nan, math.inf])
def test_t_outside_the_clarke_subdifferential_is_refused(t):
    for use in (check_at_zero, ReLU, lambda t: relu(X, t)):
        with pytest.raises(ConfigurationError, match=r"relu_at_zero=.*allowed is a number in \[0, 1\]"):
            use(t)
