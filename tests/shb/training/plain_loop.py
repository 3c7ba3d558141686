"""One member as everyone would train it: its module in a loop, with torch's own optimizer."""

import pytest
import torch
import torch.nn.functional as F

from shb.streams import stream
from shb.training.drawing import kept


class Masks:
    """In place of F.dropout: the masks of one member, from its words."""

    def __init__(self, seed):
        self.words = stream(seed, "dropout").integers(-(2**63), 2**63, (64, 1))
        self.step = 0

    def __call__(self, x, p=0.5, training=True, inplace=False):
        if not training:
            return x
        key = torch.tensor(self.words[self.step : self.step + 1])
        self.step += 1
        return x * kept(key, torch.Size((1, *x.shape)), 1 - p)[0] / (1 - p)


def plain_loop(member, problem, model, data, steps):
    """The module after `steps` of momentum in float64, and the loss of the training part then.

    Args:
        model: `(feature_shape, outputs) -> module`.
        data: makes the data set, of classes.
    """
    dataset = data()
    module = model(dataset.feature_shape, dataset.outputs).double()
    start = {**problem.initial_parameters(member.seed), **problem.initial_buffers(member.seed)}
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            tensor.copy_(start[name])
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=member.hyperparameters["lr"], momentum=member.hyperparameters["momentum"])
    inputs = lambda x: x.double() if x.is_floating_point() else x  # noqa: E731
    for index in problem.sample(member.seed, 0, steps):
        index = index[: problem.batch_size]
        optimizer.zero_grad()
        F.cross_entropy(module(inputs(dataset.train.x[index])), dataset.train.y[index]).backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        loss = F.cross_entropy(module(inputs(dataset.train.x)), dataset.train.y)
    return module, loss.item()


def check_against_torch(trajectory, problem, model, data, steps):
    """Parameters, buffers and loss of a float64 member are, to 1e-10 of their size, those of a plain loop."""
    module, loss = plain_loop(trajectory.member, problem, model, data, steps)
    expected = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert trajectory.parameters.keys() | trajectory.buffers.keys() == expected.keys()
    for key, value in {**trajectory.parameters, **trajectory.buffers}.items():
        right = expected[key].detach()
        torch.testing.assert_close(value, right, rtol=0, atol=1e-12 + 1e-10 * right.double().abs().max().item())
    assert trajectory.metrics["train_loss"] == pytest.approx(loss, rel=1e-10)
