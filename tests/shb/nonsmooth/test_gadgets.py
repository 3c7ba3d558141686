import math

import pytest
import torch
import torch.nn.functional as F

from shb.errors import ConfigurationError
from shb.nonsmooth import DERIVATIVE_AT_ZERO, SCALAR_RELUS, get_scalar_relu, identity_gadget
from shb.training.program import Program

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
VALUES = [-5.0, -0.75, -0.0, 0.0, 0.5, 3.0, 6.0]  # relu6 is max(x, 0) up to 6


def gradient(function, x, upstream):
    """Backpropagated gradient of `function` at `x`."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x, upstream)[0]


def derivative_at(function, point, dtype=torch.float64, shape=(3,)):
    """The one derivative that every entry of a tensor of copies of `point` gets."""
    x = torch.full(shape, point, dtype=dtype)
    upstream = (2.0 ** torch.arange(x.numel())).reshape(shape).to(dtype)  # exact in every dtype
    (found,) = set((gradient(function, x, upstream) / upstream).flatten().tolist())
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCALAR_RELUS)
def test_every_program_computes_max_of_x_and_0_and_its_gradient_off_0(name, dtype):
    x = torch.tensor(VALUES, dtype=dtype)
    y = SCALAR_RELUS[name](x)
    assert y.dtype == dtype
    assert y.tolist() == [max(value, 0.0) for value in VALUES]
    smooth = x[(x != 0) & (x != 6)]  # 6 is relu6's second kink
    upstream = torch.arange(2.0, 2.0 + len(smooth)).to(dtype)
    assert torch.equal(gradient(SCALAR_RELUS[name], smooth, upstream), torch.where(smooth > 0, upstream, 0))


@pytest.mark.parametrize("name", SCALAR_RELUS)
def test_any_shape_keeps_its_shape(name):
    for shape in [(), (1,), (2, 3), (2, 0, 3)]:
        assert SCALAR_RELUS[name](torch.zeros(shape)).shape == shape


def test_relu6_is_another_function_beyond_6():
    assert SCALAR_RELUS["relu6"](torch.tensor(7.0)).item() == 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCALAR_RELUS)
def test_torch_backpropagates_the_documented_derivative_at_zero(name, dtype):
    for zero in (0.0, -0.0):
        for shape in [(), (1,), (7,), (2, 5)]:
            assert derivative_at(SCALAR_RELUS[name], zero, dtype, shape) == DERIVATIVE_AT_ZERO[name]


@pytest.mark.parametrize("name", SCALAR_RELUS)
def test_the_identity_gadget_is_the_identity_with_derivative_twice_that_at_zero(name):
    gadget = identity_gadget(name)
    x = torch.tensor([value for value in VALUES if abs(value) < 6], dtype=torch.float64)
    assert torch.equal(gadget(x), x)
    assert torch.equal(gradient(gadget, x[x != 0], x[x != 0]), x[x != 0])
    assert derivative_at(gadget, 0.0) == 2 * DERIVATIVE_AT_ZERO[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCALAR_RELUS)
def test_programs_and_gadgets_keep_their_gradients_in_a_traced_stack(name, dtype):
    rows = torch.tensor([[0.0, -1.0, 2.0], [-0.0, 0.0, 0.0], [3.0, 0.0, -0.5]], dtype=dtype)
    gadget = identity_gadget(name)

    def losses(x):
        return (2 * SCALAR_RELUS[name](2 * x) + gadget(x) / 4).sum()

    def gradients(rows):
        return [torch.func.vmap(torch.func.grad(losses))(rows)]

    expected = torch.stack([gradient(losses, row, torch.ones((), dtype=dtype)) for row in rows])
    program = Program(gradients, torch.ones_like(rows))  # traced on other values
    for found in (*gradients(rows), *program(rows)):
        assert torch.equal(found, expected)
    assert expected[1].tolist() == [4.5 * DERIVATIVE_AT_ZERO[name]] * 3


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_derivative_and_rule_reach_relu(t):
    assert derivative_at(get_scalar_relu("relu", t), 0.0) == t
    assert derivative_at(identity_gadget("relu", t), 0.0) == 2 * t
    upstream = torch.tensor([-3.0, 5.0])
    injected = gradient(get_scalar_relu("relu", t, "injected"), torch.zeros(2), upstream)
    assert injected.tolist() == [t, t]
    # the two injected t arrive with opposite signs: the gadget has derivative 0 for every t
    assert gradient(identity_gadget("relu", t, "injected"), torch.zeros(2), upstream).tolist() == [0, 0]


@pytest.mark.parametrize("build", [get_scalar_relu, identity_gadget])
def test_bad_arguments_name_the_field(build):
    with pytest.raises(ConfigurationError, match=r"problem.form=clam: .*did you mean clamp\?"):
        build("clam")
    with pytest.raises(ConfigurationError, match=r"relu_derivative=2: allowed is a number in \[0, 1\]"):
        build("relu", 2)
    with pytest.raises(ConfigurationError, match=r"relu_rule=chian: .*did you mean chain\?"):
        build("clamp", 0.0, "chian")
    for name in SCALAR_RELUS.keys() - {"relu"}:
        with pytest.raises(ConfigurationError, match=f"relu_derivative=0.5: allowed is 0 with problem.form={name}"):
            build(name, 0.5)
        with pytest.raises(ConfigurationError, match=f"relu_rule=injected: allowed is chain with problem.form={name}"):
            build(name, 0.0, "injected")


AT_BOUND = 0.0 if torch.__version__ >= (2, 14) else 1.0  # clamp with numbers as bounds


@pytest.mark.parametrize(
    ("function", "point", "expected"),
    [
        (torch.relu, 0.0, 0.0),
        (torch.abs, 0.0, 0.0),
        (lambda x: x.clamp(min=0), 0.0, AT_BOUND),
        (lambda x: x.clamp_min(0), 0.0, AT_BOUND),
        (lambda x: x.clamp(-1, 1), 1.0, AT_BOUND),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), 0.0, 0.5),
        (lambda x: torch.minimum(x, torch.zeros_like(x)), 0.0, 0.5),
        (lambda x: F.leaky_relu(x, 0.125), 0.0, 0.125),
        (F.relu6, 0.0, 0.0),
        (F.relu6, 6.0, 0.0),
        (F.hardtanh, -1.0, 0.0),
        (F.hardtanh, 1.0, 0.0),
        (torch.sqrt, 0.0, math.inf),
    ],
)
def test_torch_conventions_at_scalar_kinks(function, point, expected):
    assert derivative_at(function, point) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (torch.max, [1 / 3] * 3),
        (torch.amax, [1 / 3] * 3),
        (torch.median, [1 / 3] * 3),
        (lambda x: x.max(dim=0).values, [1, 0, 0]),
        (lambda x: x.amax(dim=0), [1 / 3] * 3),
        (lambda x: F.max_pool1d(x.reshape(1, 3), 3), [1, 0, 0]),
        (lambda x: x.median(dim=0).values, [0, 1, 0]),
        (lambda x: torch.sort(x, stable=True).values[-1], [0, 0, 1]),
    ],
)
def test_torch_conventions_at_ties_of_three(function, expected):
    x = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(function(x).sum(), x)[0].tolist() == expected


def test_torch_norms_have_derivative_zero_at_zero_and_a_composed_norm_has_none():
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for order in (1, 2, math.inf):
        assert torch.autograd.grad(x.norm(order), x)[0].tolist() == [0, 0, 0]
    assert torch.autograd.grad((x * x).sum().sqrt(), x)[0].isnan().all()  # inf * 0
