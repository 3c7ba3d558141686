"""PyTorch's scheduler tests (test/optim/test_lrscheduler.py) on SHB: what a scheduler needs of an optimizer.

The values of the schedules are torch's business and are compared with those on torch.optim.SGD, in two groups, one
of which has a tensor for its lr, as there. Not applicable: tests of a scheduler's own arguments, printing, errors and
pickling, which touch no optimizer.
"""

import copy
import gc
import inspect
import weakref

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from shb.optimizers import SHB

STEPS = 12
SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, [lambda k: 0.9**k, lambda k: (k + 1) ** -0.5]),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda k: 0.95),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, 0.1),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 9], 0.1),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 5),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 8, 0.9),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, 1e-4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2, 1e-4),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, base_momentum=0.5, max_momentum=0.9),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, [0.1, 0.2], total_steps=STEPS + 1),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, min_lr=[1e-3, 1e-2]),
    "SWALR": lambda o: SWALR(o, 0.01, 4),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, 3), lr_scheduler.ExponentialLR(o, 0.9)], [4]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.5, 1.0, 4), lr_scheduler.StepLR(o, 3, 0.5)]
    ),
}
each_scheduler = pytest.mark.parametrize("name", SCHEDULERS)
pytestmark = pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step.*:UserWarning")


def optimizer_of(optimizer_class=SHB):
    source = torch.Generator().manual_seed(0)
    first, second = (torch.randn(3, generator=source, dtype=torch.float64).requires_grad_() for _ in range(2))
    groups = [{"params": [first]}, {"params": [second], "lr": torch.tensor(0.5, dtype=torch.float64)}]
    return optimizer_class(groups, lr=0.05, momentum=0.9)


def train(optimizer, scheduler, start=0, stop=STEPS):
    """The (lr, momentum) of both groups in every step, and the weights after the last."""
    path = []
    for k in range(start, stop):
        path.append([(float(group["lr"]), float(group["momentum"])) for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            for w in group["params"]:
                w.grad = w.detach().sign() + w.detach() / 2
        optimizer.step()
        plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
        scheduler.step(*([1.0 + (k > 6)] if plateau else []))
    return path, [w.detach().clone() for group in optimizer.param_groups for w in group["params"]]


def test_every_scheduler_of_torch_is_here():
    assert set(lr_scheduler.__all__) - {"LRScheduler"} == set(SCHEDULERS) - {"SWALR"}


@each_scheduler
def test_the_numbers_are_those_on_sgd_and_the_path_is_polyaks(name):
    optimizer, sgd = optimizer_of(), optimizer_of(torch.optim.SGD)
    weights = [group["params"][0].detach().clone() for group in optimizer.param_groups]
    path, end = train(optimizer, SCHEDULERS[name](optimizer))
    assert path == train(sgd, SCHEDULERS[name](sgd))[0]
    assert len({lr for numbers in path for lr, _ in numbers}) > 2
    if name in ("CyclicLR", "OneCycleLR"):
        assert len({momentum for numbers in path for _, momentum in numbers}) > 2
    assert isinstance(optimizer.param_groups[1]["lr"], torch.Tensor)
    for group, (w, final) in enumerate(zip(weights, end)):
        velocity = torch.zeros_like(w)
        for numbers in path:
            lr, momentum = numbers[group]
            velocity = momentum * velocity - lr * (w.sign() + w / 2)
            w = w + velocity
        assert (w - final).abs().max() < 1e-12


@each_scheduler
def test_optimizer_and_scheduler_go_on_from_their_state_dicts(name):
    optimizer = optimizer_of()
    scheduler = SCHEDULERS[name](optimizer)
    train(optimizer, scheduler, 0, 5)
    other = optimizer_of()
    other_scheduler = SCHEDULERS[name](other)
    with torch.no_grad():
        for group, twin in zip(optimizer.param_groups, other.param_groups):
            twin["params"][0].copy_(group["params"][0])
    stored = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    other_scheduler.load_state_dict(stored[1])
    other.load_state_dict(stored[0])
    these, those = train(optimizer, scheduler, 5), train(other, other_scheduler, 5)
    assert these[0] == those[0] and all(map(torch.equal, these[1], those[1]))


@pytest.mark.parametrize(
    "name", [name for name in SCHEDULERS if hasattr(getattr(lr_scheduler, name, None), "_get_closed_form_lr")]
)
def test_chained_steps_reach_the_closed_form(name):
    chained, closed = optimizer_of(), optimizer_of()
    path, _ = train(chained, SCHEDULERS[name](chained))
    scheduler = SCHEDULERS[name](closed)
    for k in range(1, STEPS):
        closed.step()
        scheduler.step(k)
        assert [float(group["lr"]) for group in closed.param_groups] == pytest.approx([lr for lr, _ in path[k]])


@pytest.mark.parametrize("right", [True, False])
def test_the_wrong_order_is_noticed(right, recwarn):
    optimizer = optimizer_of()
    scheduler = SCHEDULERS["StepLR"](optimizer)
    for _ in range(3):
        for step in (optimizer.step, scheduler.step) if right else (scheduler.step, optimizer.step):
            step()
    assert any("how-to-adjust-learning-rate" in str(warning.message) for warning in recwarn) is not right


def test_a_group_added_under_a_scheduler_needs_its_initial_lr():
    optimizer = optimizer_of()
    optimizer.add_param_group({"params": [torch.ones(2, requires_grad=True)], "lr": 0.3})
    scheduler = SCHEDULERS["ExponentialLR"](optimizer)
    optimizer.step()
    scheduler.step()
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.045, 0.45, 0.27])
    with pytest.raises(KeyError, match="initial_lr"):
        lr_scheduler.StepLR(optimizer_of(), 3, last_epoch=1)


def test_no_reference_cycles():
    def run():
        w = torch.ones(3, requires_grad=True)
        optimizer = SHB([w], lr=0.5)
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda k: 1.0)
        w.sum().backward()
        optimizer.step()
        scheduler.step()
        return weakref.ref(optimizer), weakref.ref(scheduler)

    run()  # what torch loads at first use
    gc.collect()
    gc.disable()
    try:
        assert [reference() for reference in run()] == [None, None]
    finally:
        gc.enable()


def test_a_scheduler_that_goes_wrong_is_stopped():
    optimizer = optimizer_of()
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda k: float("nan") if k == 3 else 1.0)
    with pytest.raises(ValueError, match=r"SHB\.lr=nan: allowed is a finite number >= 0"):
        train(optimizer, scheduler)
    assert all(group["params"][0].isfinite().all() for group in optimizer.param_groups)


def test_the_step_keeps_its_signature():
    """Torch's schedulers wrap the bound step and hooks wrap the class's."""
    assert list(inspect.signature(optimizer_of().step).parameters) == ["closure"]
