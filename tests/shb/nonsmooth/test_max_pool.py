import math

import pytest
import torch
import torch.nn.functional as F

from shb.errors import ConfigurationError
from shb.nonsmooth import BetaMaxPool2d, beta_max_pool2d
from shb.nonsmooth.max_pool import FORMS, even_max_pool2d
from shb.training.program import Program

BETAS = (-2.0, 0.0, 0.5, 1.0, 8.0)  # exact in every dtype, as are the products below
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def tied(shape, dtype=torch.float64):
    """Two values only: nearly every window is a tie."""
    torch.manual_seed(1)
    return torch.randint(0, 2, shape).to(dtype)


def reference(x, upstream, size, beta):
    """Value and gradient, window by window: (1 - b) u to the first maximum and b u / n to each of the n."""
    gradient = torch.zeros_like(x)
    value = torch.zeros_like(upstream)
    n, channels, height, width = upstream.shape
    for a, c, i, j in torch.cartesian_prod(*map(torch.arange, (n, channels, height, width))).tolist():
        cells = [(a, c, i * size + u, j * size + v) for u in range(size) for v in range(size)]
        values = [x[cell].item() for cell in cells]
        value[a, c, i, j] = max(values)
        maxima = [cell for cell, v in zip(cells, values) if v == max(values)]
        for cell in maxima:
            gradient[cell] += beta / len(maxima) * upstream[a, c, i, j]
        gradient[maxima[0]] += (1 - beta) * upstream[a, c, i, j]
    return value, gradient


def backpropagate(function, x, upstream):
    x = x.clone().requires_grad_()
    y = function(x)
    return y.detach(), torch.autograd.grad(y, x, upstream)[0]


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("channels_last", [False, True])  # Conv returns a channels-last view
def test_value_and_gradient_at_ties_are_those_of_the_definition(channels_last, size, beta):
    x = tied((2, 3, 7, 10))
    if channels_last:
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    upstream = torch.randn(2, 3, 7 // size, 10 // size, dtype=torch.float64)
    expected_value, expected_gradient = reference(x, upstream, size, beta)
    value, gradient = backpropagate(BetaMaxPool2d(size, beta), x, upstream)
    assert torch.equal(value, expected_value)  # b max + (1 - b) max is exact on 0 and 1
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_beta_zero_is_torch_max_pooling_bit_for_bit(dtype):
    torch.manual_seed(0)
    infinite = torch.where(tied((2, 3, 7, 9)) == 1, math.inf, -1.0).to(dtype)
    for x in (tied((2, 3, 7, 9), dtype), torch.randn(2, 3, 7, 9).to(dtype), infinite):
        upstream = torch.randn(2, 3, 3, 4).to(dtype)
        for function in (BetaMaxPool2d(2), lambda x: beta_max_pool2d(x, 2, 0.0)):
            found = backpropagate(function, x, upstream)
            for ours, theirs in zip(found, backpropagate(lambda x: F.max_pool2d(x, 2), x, upstream)):
                assert torch.equal(ours, theirs)


def test_a_tie_of_four_has_the_jacobian_that_the_formula_says():
    x, one = torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for beta in (0.0, 1.0, 100.0):
        _, jacobian = backpropagate(BetaMaxPool2d(2, beta), x, one)
        assert jacobian.flatten().tolist() == [1 - 0.75 * beta, *[beta / 4] * 3]
        assert jacobian.sum().item() == 1  # whatever b, the derivative along (1, 1, 1, 1) is right


@pytest.mark.parametrize("dtype", DTYPES)
def test_beta_has_no_effect_without_ties_but_for_rounding(dtype):
    torch.manual_seed(3)
    x = torch.randn(4, 5, 6, 6, dtype=torch.float64).to(dtype)
    windows = x.reshape(4, 5, 3, 2, 3, 2).movedim(3, 4).reshape(4, 5, 3, 3, 4).sort(dim=-1).values
    tie = windows[..., -1] == windows[..., -2]
    upstream = torch.where(tie, 0, torch.randn(4, 5, 3, 3, dtype=torch.float64)).to(
        dtype
    )  # half precision has a few ties
    assert not tie.all()
    ordinary = backpropagate(BetaMaxPool2d(2), x, upstream)
    for beta in (0.7, 3.3, 100.1):
        # each of b z, (1 - b) z and their sum is rounded by at most eps / 2: (b + |1 - b| + 1) eps / 2 in all
        bound = (2 * beta + 2) * torch.finfo(dtype).eps / 2
        differences = []
        for found, expected in zip(backpropagate(BetaMaxPool2d(2, beta), x, upstream), ordinary):
            off = (found - expected).double().abs()
            differences.append((off / expected.double().abs())[expected != 0].max())
            assert (off[expected == 0] == 0).all()
        assert max(differences) <= bound
        assert max(differences) > 0 or beta < 1  # the published form is not exactly the maximum


def test_a_large_beta_overflows_in_half_precision_where_the_maximum_does_not():
    x = torch.full((1, 1, 2, 2), 100.0, dtype=torch.float16)
    assert BetaMaxPool2d(2, 100.0)(x).isfinite().all()
    assert not BetaMaxPool2d(2, 1000.0)(x).isfinite().all()
    assert BetaMaxPool2d(2, 1000.0)(x.float()).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta", BETAS)
def test_members_keep_their_gradients_in_a_traced_stack(beta, dtype):
    members = torch.stack([tied((2, 3, 5, 7), dtype), 1 - tied((2, 3, 5, 7), dtype), torch.zeros(2, 3, 5, 7).to(dtype)])
    upstream = torch.arange(1.0, 1 + 2 * 3 * 2 * 3).reshape(2, 3, 2, 3).to(dtype)

    def gradients(members):
        return [torch.func.vmap(torch.func.grad(lambda x: (upstream * beta_max_pool2d(x, 2, beta)).sum()))(members)]

    expected = torch.stack([backpropagate(BetaMaxPool2d(2, beta), x, upstream)[1] for x in members])
    program = Program(gradients, torch.randn(members.shape).to(dtype))  # traced on other values
    for found in (*gradients(members), *program(members)):
        assert torch.equal(found, expected)


def test_even_shares_are_the_element_of_least_norm():
    x, one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 1)
    _, jacobian = backpropagate(lambda x: even_max_pool2d(x, 2), x, one)
    assert jacobian.flatten().tolist() == [0.25] * 4
    x[0, 0, 1] = 1.0  # two maxima
    _, jacobian = backpropagate(lambda x: even_max_pool2d(x, 2), x, one)
    assert jacobian.flatten().tolist() == [0, 0, 0.5, 0.5]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [2, 3])
def test_forms_have_the_same_value_and_gradient_where_nothing_rounds(size, form):
    """But for "rounding", whose Jacobian at ties is that of ordinary max-pooling."""
    x, upstream = tied((2, 3, 7, 10)), torch.randn(2, 3, 7 // size, 10 // size, dtype=torch.float64)
    expected_value, expected_gradient = reference(x, upstream, size, 0.0 if form == "rounding" else 8.0)
    value, gradient = backpropagate(BetaMaxPool2d(size, 8.0, form), x, upstream)
    assert torch.equal(value, expected_value)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_forms_differ_in_what_rounds(dtype):
    """Off ties: published rounds value and gradient, difference the gradient only, ties nothing."""
    torch.manual_seed(3)
    x = (0.0101 * (1 + torch.randperm(72, dtype=torch.float64)).reshape(1, 2, 6, 6)).to(dtype)
    assert len(x.unique()) == 72
    upstream = torch.rand(1, 2, 3, 3, dtype=torch.float64).to(dtype)
    value, gradient = backpropagate(BetaMaxPool2d(2), x, upstream)
    exact = {}
    for form in FORMS:
        found = backpropagate(BetaMaxPool2d(2, 100.1, form), x, upstream)
        exact[form] = [torch.equal(ours, theirs) for ours, theirs in zip(found, (value, gradient))]
    rounds = {"published": [False, False], "difference": [True, False], "ties": [True, True]}
    assert exact == rounds | {"rounding": [False, False]}


def test_an_unknown_form_is_refused():
    for use in (lambda: BetaMaxPool2d(2, 1.0, "exact"), lambda: beta_max_pool2d(torch.zeros(1, 1, 2, 2), 2, 1.0, "no")):
        with pytest.raises(ConfigurationError, match=r"model\.pool_form"):
            use()


@pytest.mark.parametrize("form", FORMS[1:])
def test_members_keep_their_gradients_in_a_traced_stack_under_the_other_forms(form):
    members = torch.stack([tied((2, 3, 5, 7)), 1 - tied((2, 3, 5, 7)), torch.randn(2, 3, 5, 7, dtype=torch.float64)])
    upstream = torch.arange(1.0, 1 + 2 * 3 * 2 * 3, dtype=torch.float64).reshape(2, 3, 2, 3)

    def gradients(members):
        return [
            torch.func.vmap(torch.func.grad(lambda x: (upstream * beta_max_pool2d(x, 2, 8.0, form)).sum()))(members)
        ]

    expected = torch.stack([backpropagate(BetaMaxPool2d(2, 8.0, form), x, upstream)[1] for x in members])
    program = Program(gradients, torch.randn(members.shape).double())
    for found in (*gradients(members), *program(members)):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("beta", [math.nan, math.inf, -math.inf])
def test_a_beta_that_is_no_number_is_refused(beta):
    with pytest.raises(ConfigurationError, match=r"model.pool_beta=.*allowed is a finite number"):
        BetaMaxPool2d(2, beta)
