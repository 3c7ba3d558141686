"""Networks of torchvision, and smaller ones of the same parts, in both engines against a plain loop of torch."""

import functools

import pytest
import torch
import torchvision
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, ResNet

from shb.optimizers import OPTIMIZERS
from shb.problems import LearningProblem
from shb.training import Member, Plan, Stack, why_not
from tests.shb.problems.tiny import same_bits, tiny_dataset
from tests.shb.training.plain_loop import Masks, check_against_torch

can_compile = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")


def resnet(features, outputs):
    """The stem and one block, with its projection of the shortcut."""
    module = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=outputs)
    module.layer1 = module.layer3 = module.layer4 = torch.nn.Identity()
    module.fc = torch.nn.Linear(128, outputs)
    return module


def mobilenet(features, outputs):
    """An inverted residual with squeeze and excitation, hard-swish and a shortcut."""
    block = InvertedResidualConfig(16, 3, 16, 16, True, "HS", stride=1, dilation=1, width_mult=0.5)
    return MobileNetV3([block], last_channel=32, num_classes=outputs)


def resnet18(features, outputs):
    return torchvision.models.resnet18(num_classes=outputs)


def mobilenet_v3_small(features, outputs):
    return torchvision.models.mobilenet_v3_small(num_classes=outputs)


def check(model, engine, monkeypatch):
    """One step: the batch normalisations of four samples make a rounding a thousand times larger with each. The third
    member has its bits alone, too.
    """
    data = functools.partial(tiny_dataset, (3, 32, 32), rows=20)
    problem = LearningProblem(model, data(), batch_size=4, dtype=torch.float64)
    members = [Member(seed, {"lr": 0.01 * (1 + seed), "momentum": 0.5}) for seed in range(3)]

    def run(members):
        return Stack(problem, OPTIMIZERS["shb"], members, Plan(1), engine=engine).run()

    trajectories = run(members)
    (lone,) = run(members[2:])
    assert same_bits(lone, trajectories[2]) and not same_bits(lone, trajectories[1])
    for trajectory in trajectories[:2]:
        monkeypatch.setattr(torch.nn.functional, "dropout", Masks(trajectory.member.seed))
        check_against_torch(trajectory, problem, model, data, 1)


@pytest.mark.parametrize("model", [resnet, mobilenet])
@pytest.mark.slow
def test_networks_of_the_parts_of_torchvision(model, monkeypatch):
    check(model, "eager", monkeypatch)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("engine", ["eager", pytest.param("compiled", marks=can_compile)])
@pytest.mark.parametrize("model", [resnet18, mobilenet_v3_small])
def test_networks_of_torchvision(model, engine, monkeypatch):
    check(model, engine, monkeypatch)
