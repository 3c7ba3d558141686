"""Convolution without a compiler: members one group after the other, against torch's own convolution."""

import pytest
import torch
import torch.nn.functional as F

from shb.kernels import convolution

CASES = {  # images, size, channels, kernel, stride, out
    "one channel": (3, (9, 7), 1, (3, 3), (1, 1), 4),
    "strided": (2, (8, 8), 5, (3, 3), (2, 2), 6),
    "one dimension": (4, (1, 20), 3, (1, 5), (1, 2), 2),
}


def make(case, members, seed=0):
    images, size, channels, kernel, stride, out = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(members, images, *size, channels, generator=generator)
    weight = torch.randn(members, kernel[0] * kernel[1] * channels, out, generator=generator)
    bias = torch.randn(members, out, generator=generator)
    y = torch.ops.shb.convolution(x, weight, bias, kernel, stride)
    return x, weight, bias, torch.randn(y.shape, generator=generator), y


def results(case, members):
    _, size, _, kernel, stride, _ = CASES[case]
    x, weight, _, upstream, y = make(case, members)
    return [
        y,
        torch.ops.shb.convolution(x, weight, None, kernel, stride),
        torch.ops.shb.convolution_input(upstream, weight, size, kernel, stride),
        torch.ops.shb.convolution_weight(x, upstream, kernel, stride),
    ]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("members", [2, 7, 16])
def test_groups_of_members_change_neither_a_bit_nor_the_layout(monkeypatch, case, members):
    counts = []
    inner = convolution._patches
    monkeypatch.setattr(convolution, "_patches", lambda x, *rest: counts.append(len(x)) or inner(x, *rest))
    monkeypatch.setattr(convolution, "_GROUP_BYTES", 1 << 40)
    whole = results(case, members)
    assert set(counts) == {members}
    counts.clear()
    monkeypatch.setattr(convolution, "_GROUP_BYTES", 0)
    grouped = results(case, members)
    least = max(2, torch.get_num_threads())
    # of the four, the gradient of x makes no patches
    assert sum(counts) == 3 * members and all(least <= n < 2 * least or members < 2 * least for n in counts)
    for one, other in zip(whole, grouped, strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()


@pytest.mark.parametrize("case", CASES)
def test_the_three_are_those_of_torch(monkeypatch, case):
    monkeypatch.setattr(convolution, "_GROUP_BYTES", 0)
    _, size, channels, kernel, stride, out = CASES[case]
    x, weight, bias, upstream, y = (t.double() for t in make(case, 7))
    padding = [k // 2 for k in kernel]
    for i in range(7):
        own_x = x[i].movedim(-1, 1).requires_grad_()
        own_weight = weight[i].T.reshape(out, *kernel, channels).movedim(-1, 1).requires_grad_()
        expected = F.conv2d(own_x, own_weight, bias[i], stride, padding)
        torch.testing.assert_close(y[i].movedim(-1, 1), expected, rtol=1e-5, atol=1e-5)
        gradients = torch.autograd.grad(expected, [own_x, own_weight], upstream[i].movedim(-1, 1))
        found_x = torch.ops.shb.convolution_input(upstream, weight, size, kernel, stride)[i].movedim(-1, 1)
        found_weight = torch.ops.shb.convolution_weight(x, upstream, kernel, stride)[i]
        torch.testing.assert_close(found_x, gradients[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found_weight, gradients[1].movedim(1, -1).reshape(out, -1).T, rtol=1e-9, atol=1e-9)
