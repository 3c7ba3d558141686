"""Native operations against torch in float64, on fresh random tensors; bits that depend on one member alone."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from shb.kernels import load
from shb.kernels.enumerations import NOWHERE
from shb.training import why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
ops = torch.ops.shb

# members, images, height, width, channels, kernel, out: one-dimensional, odd, wide, one pixel, more than a panel
CONVOLUTIONS = [
    (2, 3, 8, 8, 1, (3, 3), 16),
    (3, 5, 7, 6, 5, (3, 3), 7),
    (2, 2, 4, 4, 16, (3, 3), 32),
    (1, 4, 1, 40, 1, (1, 5), 16),
    (2, 3, 1, 19, 16, (1, 3), 33),
    (2, 1, 29, 31, 2, (5, 5), 70),
    (3, 2, 1, 1, 3, (1, 1), 4),
    (2, 40, 3, 3, 8, (3, 3), 10),
]
WINDOWS = [(2, 2), (1, 2), (3, 2), (1, 1)]


@pytest.fixture(autouse=True)
def loaded():
    load()
    torch.manual_seed(0)


def relative(found, exact):
    return float((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-30))


def images_of(x):
    return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize("transposed", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize(
    "sizes",
    [(3, 5, 7, 2), (2, 33, 64, 10), (4, 1, 1, 1), (1, 40, 17, 100), (9, 14, 300, 32), (2, 9, 70, 128), (2, 7, 35, 300)],
)
def test_products_of_any_strides(sizes, transposed):
    members, m, k, n = sizes
    a = torch.randn(members, k, m).mT if transposed[0] else torch.randn(members, m, k)
    b = torch.randn(members, n, k).mT if transposed[1] else torch.randn(members, k, n)
    assert relative(ops.native_bmm(a, b), a.double() @ b.double()) < 2e-6
    shared = a[:1].expand(members, -1, -1)
    assert torch.equal(ops.native_bmm(shared, b), ops.native_bmm(shared.contiguous(), b))


def reference(x, weight, bias, kernel, upstream=None, window=None):
    """Per member in float64: the result, and gradients of x, weight and bias for `upstream`."""
    rows = []
    for i in range(len(x)):
        channels, out = x.shape[-1], weight.shape[-1]
        inputs = [t[i].double().requires_grad_() for t in (x, weight, bias)]
        full = inputs[1].reshape(*kernel, channels, out).permute(3, 2, 0, 1)
        padding = tuple(side // 2 for side in kernel)
        y = F.conv2d(images_of(inputs[0]), full, inputs[2], padding=padding)
        if window:
            y = F.max_pool2d(torch.relu(y), window)
        y = y.permute(0, 2, 3, 1)
        rows.append((y, *torch.autograd.grad(y, inputs, upstream[i].double())))
    return [torch.stack(parts).detach() for parts in zip(*rows)]


def tensors(shape):
    members, images, height, width, channels, kernel, out = shape
    x = torch.randn(members, images, height, width, channels)
    return x, torch.randn(members, kernel[0] * kernel[1] * channels, out), torch.randn(members, out), kernel


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_convolutions_and_their_gradients(shape):
    x, weight, bias, kernel = tensors(shape)
    upstream = torch.randn(*x.shape[:4], shape[-1])
    y, x_gradient, weight_gradient, _ = reference(x, weight, bias, kernel, upstream)
    assert relative(ops.native_convolution(x, weight, bias, kernel), y) < 2e-6
    without = ops.native_convolution(x, weight, None, kernel)
    assert relative(without, y - bias.double()[:, None, None, None]) < 2e-6
    assert relative(ops.native_convolution_input(upstream, weight, kernel), x_gradient) < 2e-6
    assert relative(ops.native_convolution_weight(x, upstream, kernel), weight_gradient) < 5e-6


@pytest.mark.parametrize(
    ("shape", "window"),
    [(s, w) for s in CONVOLUTIONS for w in WINDOWS if s[2] >= w[0] and s[3] >= w[1]],
    ids=str,
)
def test_rectifiers_and_their_gradients(shape, window):
    x, weight, bias, kernel = tensors(shape)
    pooled = [x.shape[2] // window[0], x.shape[3] // window[1]]
    upstream = torch.randn(*x.shape[:2], *pooled, shape[-1])
    expected = reference(x, weight, bias, kernel, upstream, window)
    y, which = ops.native_rectifier(x, weight, bias, kernel, window)
    size = list(x.shape[2:4])
    found = (
        y,
        ops.native_rectifier_input(upstream, which, weight, size, kernel, window),
        ops.native_rectifier_weight(x, upstream, which, kernel, window),
        ops.native_rectifier_bias(upstream, which),
    )
    assert [relative(*pair) < 5e-6 for pair in zip(found, expected)] == [True] * 4
    assert torch.equal(which == NOWHERE, y == 0) and int(which[which != NOWHERE].max()) < window[0] * window[1]


@pytest.mark.parametrize("channels", [1, 16, 19])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_max_pooling_is_that_of_torch_at_ties_too(channels, window, channels_last):
    x = torch.randint(0, 2, (3, channels, 7, 9)).float()  # nearly every window is a tie
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    expected = F.max_pool2d(x, window)
    upstream = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(expected, x, upstream)
    y, which = ops.native_max_pool(x.detach(), window)
    assert torch.equal(y, expected)
    assert torch.equal(ops.native_max_pool_backward(upstream, x, window, which), gradient)


def test_what_is_not_a_number_is_passed_on():
    x = torch.zeros(1, 17, 4, 4)
    x[..., 1, 1], x[..., 2, 2] = torch.nan, torch.inf
    y, _ = ops.native_max_pool(x, (2, 2))
    assert y[..., 0, 0].isnan().all() and (y[..., 1, 1] == torch.inf).all() and (y[..., 0, 1] == 0).all()
    image = x.permute(0, 2, 3, 1)[None]
    y, which = ops.native_rectifier(image, torch.eye(17)[None], torch.zeros(1, 17), (1, 1), (2, 2))
    assert y[0, 0, 0, 0].isnan().all() and (which[0, 0, 0, 0] == 3).all()


def test_of_several_that_are_not_a_number_the_last_gets_the_gradient_as_in_torch():
    x = torch.zeros(1, 17, 2, 4)
    x[..., 0, 0] = x[..., 1, 0] = torch.nan  # the first and the third of a window
    x[..., 0, 3], x[..., 1, 2] = torch.nan, 1.0
    x.requires_grad_()
    expected, _ = F.max_pool2d_with_indices(x, (2, 2))
    upstream = torch.full_like(expected, 2.0)
    (gradient,) = torch.autograd.grad(expected, x, upstream)
    y, which = ops.native_max_pool(x.detach(), (2, 2))
    assert y.isnan().all() and expected.isnan().all()
    assert torch.equal(ops.native_max_pool_backward(upstream, x.detach(), (2, 2), which), gradient)
    assert gradient[0, 0].tolist() == [[0, 0, 0, 2], [2, 0, 0, 0]]


def test_a_rectifier_stops_at_exact_zeros():
    """The gradient at 0 is 0, as torch's: pre-activations that are 0 pass nothing on."""
    x, weight = torch.zeros(1, 1, 2, 2, 1), torch.ones(1, 1, 1)
    y, which = ops.native_rectifier(x, weight, torch.zeros(1, 1), (1, 1), (2, 2))
    assert y.item() == 0 and which.item() == NOWHERE
    assert ops.native_rectifier_input(y + 1, which, weight, (2, 2), (1, 1), (2, 2)).abs().max() == 0


@pytest.mark.parametrize(("k", "n"), [(70, 128), (64, 256), (33, 100), (40, 24), (17, 5)])
def test_a_matrix_has_one_product_wherever_it_lies(k, n):
    a, b = torch.randn(2, 23, k), torch.randn(2, k, n)
    expected = ops.native_bmm(a, b)
    wide = torch.full((2, k, 1024), torch.nan)
    wide[:, :, 3 : 3 + n] = b
    for same in (b.mT.contiguous().mT, wide[:, :, 3 : 3 + n], torch.stack([b, b], dim=-1)[..., 0]):
        assert torch.equal(same, b) and same.stride() != b.stride()
        assert torch.equal(ops.native_bmm(a, same), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_depend_on_one_member_alone(threads):
    x, weight, bias, kernel = tensors((9, 5, 7, 6, 5, (3, 3), 39))
    upstream = torch.randn(9, 5, 3, 3, 39)

    def results(rows):
        x_, weight_, upstream_ = x[rows], weight[rows], upstream[rows]
        y, which = ops.native_rectifier(x_, weight_, bias[rows], kernel, (2, 2))
        flat = x_.flatten(2).mT
        return [
            y,
            ops.native_rectifier_input(upstream_, which, weight_, (7, 6), kernel, (2, 2)),
            ops.native_rectifier_weight(x_, upstream_, which, kernel, (2, 2)),
            ops.native_rectifier_bias(upstream_, which),
            ops.native_bmm(flat, flat.mT),
        ]

    expected = results(slice(None))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for rows in ([0], [8], [3, 1], [7, 6, 5, 4, 3, 2, 1, 0]):
            for found, all_members in zip(results(rows), expected):
                assert torch.equal(found, all_members[rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((2, 3, 7, 9, 33), (0, 1, 4, 2, 3)),
        ((2, 3, 16, 4, 4), (0, 1, 3, 4, 2)),
        ((5, 48), (1, 0)),
        ((2, 17, 3, 3, 20), (0, 3, 4, 2, 1)),
        ((3, 4, 5), (0, 1, 2)),
        ((1, 1, 6), (2, 1, 0)),
        ((), ()),
    ],
    ids=str,
)
def test_contiguous_copies(shape, order):
    x = torch.randn(shape).permute(order)
    copy = ops.native_contiguous(x)
    assert torch.equal(copy, x) and copy.is_contiguous() and copy.data_ptr() != x.data_ptr()
    if x.ndim == 2:
        part = x[1:, 2:]  # strides that are no sizes
        assert torch.equal(ops.native_contiguous(part), part)
