import math

import pytest
import torch

from shb.errors import ConfigurationError
from shb.nonsmooth import RULES, ReLU, relu
from shb.nonsmooth.relu import check_derivative, check_rule
from shb.training.program import Program

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SLOPES = (0.0, 0.25, 0.5, 1.0)  # exact in every dtype
X = torch.tensor([-2.0, -1e-300, -0.0, 0.0, 0.0, 1e-300, 3.0], dtype=torch.float64)
# none of them 1, or the two rules would agree where x == 0; one of them 0
UPSTREAM = torch.tensor([5.0, -7.0, 3.0, -4.0, 0.0, 0.5, 2.0], dtype=torch.float64)


def inputs(dtype):
    """X with the smallest normal number of `dtype` for 1e-300, and the upstream gradient."""
    tiny = torch.finfo(dtype).tiny
    return torch.where(X.abs() == 1e-300, X.sign() * tiny, X).to(dtype), UPSTREAM.to(dtype)


def expected_gradient(t, rule, dtype=torch.float64):
    at_zero = [3 * t, -4 * t, 0.0] if rule == "chain" or t == 0 else [t, t, t]
    return torch.tensor([0.0, 0.0, *at_zero, 0.5, 2.0], dtype=dtype)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("t", SLOPES)
def test_value_is_that_of_torch_and_the_gradient_at_zero_follows_the_rule(t, dtype, rule):
    x, upstream = inputs(dtype)
    for function in (lambda x: relu(x, t, rule), ReLU(derivative=t, rule=rule)):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.backward(upstream)
        assert y.dtype == leaf.grad.dtype == dtype
        assert torch.equal(y, torch.relu(x))
        assert torch.equal(leaf.grad, expected_gradient(t, rule, dtype))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("t", SLOPES)
def test_the_rule_survives_vmap_of_grad_and_tracing(t, dtype, rule):
    x, upstream = inputs(dtype)
    rows = torch.stack([x, x.flip(0), -x])
    expected = []
    for row in rows:
        leaf = row.clone().requires_grad_()
        relu(leaf, t, rule).backward(upstream)
        expected.append(leaf.grad)
    assert torch.equal(expected[0], expected_gradient(t, rule, dtype))

    def gradients(rows):
        return [torch.func.vmap(torch.func.grad(lambda x: (upstream * relu(x, t, rule)).sum()))(rows)]

    # traced on other values: a gradient that depended on them would be frozen into the program
    program = Program(gradients, torch.ones_like(rows))
    for found in (*gradients(rows), *program(rows)):
        assert found.dtype == dtype
        assert torch.equal(found, torch.stack(expected))


def test_the_default_rule_is_the_chain_rule():
    gradients = []
    for arguments in ((X, 0.5), (X, 0.5, "chain")):
        x = X.clone().requires_grad_()
        relu(x, *arguments[1:]).backward(UPSTREAM)
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert ReLU().rule == "chain"
    assert ReLU().derivative == 0.0


def through_two_layers(rule):
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    relu(3 * relu(x, 0.5, rule), 0.25, rule).backward(torch.tensor([8.0], dtype=torch.float64))
    return x.grad.item()


def test_the_chain_rule_multiplies_t_through_layers_and_the_injected_rule_forgets_what_comes_from_above():
    assert through_two_layers("chain") == 8 * 0.25 * 3 * 0.5
    assert through_two_layers("injected") == 0.5


@pytest.mark.parametrize(("rule", "expected"), [("chain", 0.0), ("injected", 0.5)])
def test_a_masked_branch_gets_a_gradient_under_the_injected_rule_only(rule, expected):
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    torch.where(x < 1, torch.zeros_like(x), relu(x, 0.5, rule)).sum().backward()
    assert x.grad.item() == expected


@pytest.mark.parametrize("rule", RULES)
def test_t_zero_is_torch_relu_itself(rule):
    x = X.clone().requires_grad_()
    assert type(relu(x, 0.0, rule).grad_fn) is type(torch.relu(x).grad_fn)
    assert type(relu(x, 0.5, rule).grad_fn) is not type(torch.relu(x).grad_fn)


@pytest.mark.parametrize("t", [-0.1, 1.0001, 2, math.nan, math.inf])
def test_t_outside_the_clarke_subdifferential_is_refused(t):
    for use in (check_derivative, ReLU, lambda t: relu(X, t), lambda t: relu(X, t, "injected")):
        with pytest.raises(ConfigurationError, match=r"relu_derivative=.*allowed is a number in \[0, 1\]"):
            use(t)


@pytest.mark.parametrize("t", [0.0, 0.5])
def test_an_unknown_rule_is_refused_also_where_the_rules_agree(t):
    for use in (check_rule, lambda rule: ReLU(t, rule), lambda rule: relu(X, t, rule)):
        with pytest.raises(ConfigurationError, match=r"relu_rule=inject: .*\(did you mean injected\?\)"):
            use("inject")
