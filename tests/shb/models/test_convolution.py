import pytest
import torch
import torch.nn.functional as F

from shb.models import Conv, MaxPool

SIZES = {1: [(11,), (8,), (1,)], 2: [(9, 7), (8, 5), (1, 6)]}


def make_conv(kernel, stride, dims, seed=0):
    torch.manual_seed(seed)
    conv = Conv(3, 5, kernel, stride=stride, dims=dims).double()
    for p in conv.parameters():
        torch.nn.init.normal_(p)
    return conv


def reference(conv, x, weight, bias):
    convolve = F.conv2d if conv.dims == 2 else F.conv1d
    return convolve(x, weight, bias, stride=conv.stride, padding=weight.shape[-1] // 2)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_values_and_gradients_are_those_of_torch(dims, stride, kernel):
    conv = make_conv(kernel, stride, dims)
    for size in SIZES[dims]:
        x = torch.randn(4, 3, *size, dtype=torch.float64, requires_grad=True)
        theirs = reference(conv, x, conv.weight, conv.bias)
        ours = conv(x)
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        upstream = torch.randn_like(theirs)
        inputs = (x, conv.weight, conv.bias)
        for a, b in zip(torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream)):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("shared_input", [False, True])
def test_members_of_a_vmap_do_not_mix(dims, shared_input):
    conv = make_conv(3, 2, dims)
    members = 3
    size = SIZES[dims][0]
    x = torch.randn(4, 3, *size) if shared_input else torch.randn(members, 4, 3, *size)
    x = x.double()
    params = {n: torch.randn(members, *p.shape, dtype=torch.float64) for n, p in conv.named_parameters()}

    def loss(p, x):
        return torch.func.functional_call(conv, p, (x,)).square().sum()

    in_dims = (0, None if shared_input else 0)
    stacked = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims)(params, x)
    for i in range(members):
        w = {n: p[i].clone().requires_grad_() for n, p in params.items()}
        xi = (x if shared_input else x[i]).clone().requires_grad_()
        reference(conv, xi, w["weight"], w["bias"]).square().sum().backward()
        torch.testing.assert_close(stacked[1][i], xi.grad, rtol=0, atol=1e-10)
        for name in w:
            torch.testing.assert_close(stacked[0][name][i], w[name].grad, rtol=0, atol=1e-10)


def first_maximum_gradient(x, upstream, size):
    """Max-pooling's gradient, window by window in plain Python: the whole upstream to the first maximum."""
    gradient = torch.zeros_like(x)
    n, channels, height, width = upstream.shape
    for a in range(n):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    cells = [(i * size + u, j * size + v) for u in range(size) for v in range(size)]
                    values = [x[a, c, row, column].item() for row, column in cells]
                    row, column = cells[values.index(max(values))]
                    gradient[a, c, row, column] += upstream[a, c, i, j]
    return gradient


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("channels_last", [False, True])  # Conv returns a channels-last view
def test_max_pool_gives_the_gradient_to_the_first_index_at_ties(channels_last, size):
    torch.manual_seed(1)
    x = torch.randint(0, 2, (2, 17, 7, 9)).double()  # two values only: nearly every window is a tie
    if channels_last:
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    x.requires_grad_()
    y = MaxPool(size)(x)
    upstream = torch.randn(y.shape, dtype=torch.float64)
    y.backward(upstream)
    assert torch.equal(x.grad, first_maximum_gradient(x.detach(), upstream, size))


@pytest.mark.parametrize("channels_last", [False, True])
def test_max_pool_1d_ties_also_within_a_vmap(channels_last):
    torch.manual_seed(2)
    x = torch.randint(0, 2, (3, 2, 17, 9)).double()
    if channels_last:
        x = x.transpose(2, 3).contiguous().transpose(2, 3)
    upstream = torch.randn(2, 17, 4, dtype=torch.float64)
    gradients = torch.func.vmap(torch.func.grad(lambda x: (MaxPool(2, dims=1)(x) * upstream).sum()))(x)
    for member, gradient in zip(x, gradients):
        assert torch.equal(MaxPool(2, dims=1)(member), F.max_pool1d(member, 2))
        expected = torch.zeros_like(member)
        left, right = member[..., 0:8:2], member[..., 1:8:2]
        expected[..., 0:8:2] = torch.where(left >= right, upstream, 0.0)
        expected[..., 1:8:2] = torch.where(left < right, upstream, 0.0)
        assert torch.equal(gradient, expected)
