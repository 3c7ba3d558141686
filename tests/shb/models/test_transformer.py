"""The patch transformer: its shapes, its blocks against torch's, its scale-invariant block, and that it learns."""

from functools import partial

import pytest
import torch
from torch import nn

from shb.datasets import load_dataset
from shb.errors import ConfigurationError
from shb.models import built, stream_writers, transformer
from shb.models.transformer import Block
from shb.optimizers import OPTIMIZERS
from shb.problems import LearningProblem
from shb.training import Member, Plan, Stack


@pytest.mark.parametrize(
    ("shape", "patch", "tokens"), [((1, 8, 8), 4, 4), ((1, 28, 28), 7, 16), ((3, 8, 12), 2, 24), ((1, 40), 4, 10)]
)
def test_shapes(shape, patch, tokens):
    model = transformer(shape, 3, patch=patch, width=8, heads=2)
    assert model(torch.randn(5, *shape)).shape == (5, 3)
    assert model.position.shape == (tokens, 8)


def test_patches_are_squares_of_the_image_row_by_row():
    image = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    patches = transformer((2, 4, 6), 3, patch=2, width=4, heads=1).patches(image)
    assert torch.equal(patches[0, 4], image[0, :, 2:4, 2:4].flatten())


def test_a_block_is_that_of_torch():
    ours = Block(12, 3).double()
    theirs = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = {
        "attention_norm": "norm1", "norm": "norm2", "attention_in.weight": "self_attn.in_proj_weight",
        "attention_in.bias": "self_attn.in_proj_bias", "attention_out": "self_attn.out_proj", "up": "linear1",
        "down": "linear2",
    }  # fmt: skip
    random = torch.Generator().manual_seed(0)
    own, other = dict(ours.named_parameters()), dict(theirs.named_parameters())
    for name, value in own.items():
        key = next(k for k in names if name == k or name.startswith(f"{k}."))
        with torch.no_grad():
            value.copy_(torch.randn(value.shape, generator=random, dtype=value.dtype) / 2)
            other.pop(name.replace(key, names[key], 1)).copy_(value)
    assert not other
    x = torch.randn(4, 5, 12, dtype=torch.float64)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    torch.testing.assert_close(*outputs, rtol=1e-11, atol=1e-11)
    for output in outputs:
        output.pow(3).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_writers_of_the_stream_are_one_scale_invariant_block(scale):
    model = transformer((1, 8, 8), 3, patch=4, width=8, heads=2).double()
    for module in model.modules():
        if hasattr(module, "eps"):
            module.eps = 0.0
    values = {n: t.double() for n, t in built(partial(transformer, (1, 8, 8), 3, patch=4, width=8, heads=2), 0).items()}
    writers = stream_writers(values)
    assert {n.split(".")[-2] for n in writers if "." in n} == {"embedding", "attention_out", "down"}
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)

    def output(names):
        scaled = {n: t * scale if n in names else t for n, t in values.items()}
        return torch.func.functional_call(model, scaled, (x,))

    assert (output(writers) - output([])).abs().max() < 1e-9
    assert (output([n for n in writers if "down" not in n]) - output([])).abs().max() > 1e-2


@pytest.mark.slow
def test_it_learns_the_digits():
    problem = LearningProblem(partial(transformer, width=16, heads=2), load_dataset("digits"), batch_size=32)
    start = Stack(problem, OPTIMIZERS["adam"], [Member(0, {"lr": 0.003, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8})],
                  Plan(150, evaluate_at=(0, 150)))  # fmt: skip
    (one,) = start.run()
    first, last = one.curve["val_loss"][0], one.curve["val_loss"][-1]
    assert last < 0.5 * first and one.metrics["test_accuracy"] > 0.6


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5,), {}, "model=transformer: allowed is mlp for data without a spatial dimension"),
        ((1, 28, 28), {"patch": 8}, r"model.patch=8: allowed is one of 1, 2, 4, 7, 14, 28: .* side 28 x 28"),
        ((1, 8, 12), {"patch": 8}, "model.patch=8: allowed is one of 1, 2, 4:"),
        ((1, 8, 8), {"patch": 0}, "model.patch=0"),
        ((1, 8, 8), {"heads": 0}, "model.heads=0: allowed is a number of heads >= 1"),
        ((1, 8, 8), {"width": 30}, "model.width=30: allowed is a multiple of model.heads=4, at least 4"),
        ((1, 8, 8), {"width": 0}, "model.width=0"),
        ((1, 8, 8), {"depth": 0}, "model.depth=0"),
        ((1, 8, 8), {"depth": 10**6}, "model.depth=1000000"),
    ],
)
def test_what_cannot_be_is_refused(shape, options, message):
    with pytest.raises(ConfigurationError, match=message):
        transformer(shape, 3, **options)
