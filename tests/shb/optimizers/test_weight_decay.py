"""Weight decay against torch.optim and against recursions in NumPy, whole paths in float64; its conversions."""

import numpy as np
import pytest
import torch

from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS, get_optimizer, with_clipping, with_weight_decay
from shb.optimizers.conversions import (
    convert_decoupled,
    coupled_to_decoupled,
    decoupled_to_polyak,
    ema_to_polyak,
    torch_to_polyak,
)

STEPS, DECAY = 100, 0.3
K = np.arange(STEPS)
LR = 0.3 / (K + 3.0) ** 0.6 * np.where(K % 7 == 0, 1.5, 1.0)  # varies, and not smoothly
MOMENTUM = 0.5 + 0.4 * np.sin(K)
DECAYS = DECAY * (1 + 0.5 * np.cos(K))
START = np.array([1.7, -0.3, 0.01])


def gradient(w, k):
    """A noisy subgradient of |w - 0.2| + (w + 1)^2 / 4."""
    return np.sign(w - 0.2) + (w + 1) / 2 + np.cos(3.1 * k * k + np.arange(3))


def run(name, decoupled, **schedules):
    """The path of a rule with weight decay, one value of every hyperparameter per step."""
    rule = with_weight_decay(get_optimizer(name), decoupled)
    given = {"weight_decay": DECAY, **schedules}
    assert set(given) == set(rule.hyperparameters)

    def at(k):
        return {n: torch.tensor(np.broadcast_to(v, STEPS)[k], dtype=torch.float64) for n, v in given.items()}

    params, path = {"w": torch.tensor(START)}, [START]
    state = rule.init(params, at(0))
    for k in range(STEPS):
        params, state = rule.update(params, {"w": torch.tensor(gradient(path[-1], k))}, state, at(k), k)
        path.append(params["w"].numpy().copy())
    return np.array(path)


def run_torch(make, lr=LR, momentum=None):
    w = torch.tensor(START, requires_grad=True)
    optimizer, path = make([w]), [START]
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = float(np.broadcast_to(lr, STEPS)[k])
        if momentum is not None:
            optimizer.param_groups[0]["momentum"] = momentum[k]
        w.grad = torch.tensor(gradient(path[-1], k))
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return np.array(path)


def gap(path, other):
    return np.abs(path - other).max()


ADAM = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6}
BETAS = {"betas": (0.8, 0.95), "eps": 1e-6}
TORCH = [  # rule, decoupled, its numbers, torch's optimizer, its momentum
    ("sgd", False, {}, lambda w: torch.optim.SGD(w, lr=1, weight_decay=DECAY), None),
    (
        "torch_momentum",
        False,
        {"momentum": MOMENTUM, "dampening": 0.3},
        lambda w: torch.optim.SGD(w, lr=1, momentum=0.9, dampening=0.3, weight_decay=DECAY),
        MOMENTUM,
    ),
    (
        "nesterov",
        False,
        {"momentum": MOMENTUM},
        lambda w: torch.optim.SGD(w, lr=1, momentum=0.9, nesterov=True, weight_decay=DECAY),
        MOMENTUM,
    ),
    ("adam", False, ADAM, lambda w: torch.optim.Adam(w, lr=1, weight_decay=DECAY, **BETAS), None),
    ("adam", True, ADAM, lambda w: torch.optim.AdamW(w, lr=1, weight_decay=DECAY, **BETAS), None),
]


@pytest.mark.parametrize(("name", "decoupled", "numbers", "make", "momentum"), TORCH)
def test_a_whole_path_is_that_of_torch(name, decoupled, numbers, make, momentum):
    expected = run_torch(make, momentum=momentum)
    assert gap(run(name, decoupled, lr=LR, **numbers), expected) <= 1e-12
    assert gap(run(name, decoupled, lr=LR, weight_decay=0.9 * DECAY, **numbers), expected) > 1e-3
    if name != "sgd":  # whose two forms are one sequence
        assert gap(run(name, not decoupled, lr=LR, **numbers), expected) > 1e-3


def test_shb_is_torchs_sgd_with_weight_decay_at_a_constant_step():
    expected = run_torch(lambda w: torch.optim.SGD(w, lr=1, momentum=0.9, weight_decay=DECAY), lr=0.05)
    assert gap(run("shb", False, lr=0.05, momentum=0.9), expected) <= 1e-12
    assert gap(run("shb", True, lr=0.05, momentum=0.9), expected) > 1e-3


def test_coupled_decay_is_the_same_number_in_polyaks_form():
    """torch's own optimizer under a varying step, followed by SHB with the converted numbers and the same decay."""
    expected = run_torch(lambda w: torch.optim.SGD(w, lr=1, momentum=0.9, dampening=0.4, weight_decay=DECAY))
    alpha, beta = torch_to_polyak(LR, 0.9, 0.4)
    assert gap(run("shb", False, lr=alpha, momentum=beta), expected) <= 1e-12
    assert gap(run("shb", False, lr=alpha, momentum=beta, weight_decay=DECAY * LR / alpha), expected) > 1e-3
    alpha, beta = ema_to_polyak(LR, MOMENTUM)
    ema = run("ema_momentum", False, lr=LR, momentum=MOMENTUM)
    assert gap(run("shb", False, lr=alpha, momentum=beta), ema) <= 1e-12


def test_decoupled_decay_is_multiplied_by_the_ratio_of_the_steps():
    for name, (alpha, beta), numbers in (
        ("torch_momentum", torch_to_polyak(LR, MOMENTUM, 0.4), {"dampening": 0.4}),
        ("ema_momentum", ema_to_polyak(LR, MOMENTUM), {}),
    ):
        path = run(name, True, lr=LR, momentum=MOMENTUM, weight_decay=DECAYS, **numbers)
        converted = convert_decoupled(DECAYS, LR, alpha)
        assert gap(run("shb", True, lr=alpha, momentum=beta, weight_decay=converted), path) <= 1e-12
        assert gap(run("shb", True, lr=alpha, momentum=beta, weight_decay=DECAYS), path) > 1e-3
    ema = convert_decoupled(DECAY, LR, ema_to_polyak(LR, 0.9)[0])
    assert np.allclose(ema, DECAY / (1 - 0.9), rtol=1e-14)


def test_sgd_has_one_sequence_for_both_forms():
    assert gap(run("sgd", False, lr=LR), run("sgd", True, lr=LR)) <= 1e-12


def test_where_the_decay_enters_the_heavy_ball():
    """By hand. Coupled: through the velocity. Decoupled: beside it, and in displacements with the decay of before."""
    coupled, decoupled, displaced = [START], [START], [START]
    u, v, before = 0.0, 0.0, START
    current, previous = decoupled_to_polyak(LR, MOMENTUM, DECAYS)
    for k in range(STEPS):
        w = coupled[-1]
        u = MOMENTUM[k] * u - LR[k] * (gradient(w, k) + DECAYS[k] * w)
        coupled.append(w + u)
        w = decoupled[-1]
        v = MOMENTUM[k] * v - LR[k] * gradient(w, k)
        decoupled.append((1 - LR[k] * DECAYS[k]) * w + v)
        w = displaced[-1]
        new = w - LR[k] * gradient(w, k) + MOMENTUM[k] * (w - before) - current[k] * w - previous[k] * before
        before = w
        displaced.append(new)
    numbers = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAYS}
    assert gap(run("shb", False, **numbers), np.array(coupled)) <= 1e-12
    assert gap(run("shb", True, **numbers), np.array(decoupled)) <= 1e-12
    assert gap(np.array(displaced), np.array(decoupled)) <= 1e-12
    assert gap(np.array(coupled), np.array(decoupled)) > 1e-2


@pytest.mark.parametrize("name", ["shb", "nesterov", "torch_momentum"])
def test_forms_of_one_strength_have_one_limit(name):
    """On (w - 1)^2 / 2 it is 1 / (1 + lambda) for the coupled decay lambda and for the decoupled lambda / (1 - mu)."""

    def limit(decoupled, decay):
        rule = with_weight_decay(get_optimizer(name), decoupled)
        numbers = rule.complete({"lr": 0.1, "momentum": 0.8, "weight_decay": decay})
        h = {n: torch.tensor(v, dtype=torch.float64) for n, v in numbers.items()}
        params = {"w": torch.tensor(3.0, dtype=torch.float64)}
        state = rule.init(params, h)
        for k in range(2000):
            params, state = rule.update(params, {"w": params["w"] - 1}, state, h, k)
        return params["w"].item()

    assert limit(False, 0.25) == pytest.approx(1 / 1.25, rel=1e-12)
    assert limit(True, coupled_to_decoupled(0.25, 0.8)) == pytest.approx(1 / 1.25, rel=1e-12)
    assert limit(True, 0.25) == pytest.approx(1 / (1 + 0.25 * 0.2), rel=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_decay_has_the_bits_of_the_rule(name, decoupled):
    """Signs of zeros included: -0 + 0 is 0."""
    plain, decayed = get_optimizer(name), with_weight_decay(get_optimizer(name), decoupled)
    w = {"w": torch.tensor([[-0.0, 1.5], [0.0, -2.0]])}
    grads = {"w": torch.tensor([[-0.0, 0.5], [-0.0, -0.0]])}
    numbers = {n: torch.full((2,), 0.5, dtype=torch.float64) for n in plain.hyperparameters}
    off = {**numbers, "weight_decay": torch.zeros(2, dtype=torch.float64)}
    ends = [w, w]
    for i, (rule, h) in enumerate(((plain, numbers), (decayed, off))):
        state = rule.init(w, h)
        for k in range(3):
            ends[i], state = rule.update(ends[i], grads, state, h, k)
    assert torch.equal(ends[0]["w"].view(torch.int32), ends[1]["w"].view(torch.int32))


def test_an_extended_rule_is_one_object_with_the_name_of_its_rule():
    rule = get_optimizer("shb")
    assert with_weight_decay(rule) is with_weight_decay(rule, False) is not with_weight_decay(rule, True)
    assert with_weight_decay(rule, True).name == "shb" and with_weight_decay(rule, True).decay == "decoupled"
    assert rule.decay == "none" and "weight_decay" not in rule.hyperparameters


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_weight_decay(with_weight_decay(OPTIMIZERS["sgd"])), "a rule without weight_decay"),
        (lambda: with_weight_decay(with_clipping(OPTIMIZERS["sgd"], "norm")), "that is not clipped"),
        (lambda: coupled_to_decoupled(0.1, [0.5, 1.0]), r"numbers in \(-1, 1\)"),
        (lambda: convert_decoupled(0.1, [0.1], [0.0]), "step sizes > 0"),
        (lambda: decoupled_to_polyak([0.1], [0.9, 0.9], 0.1), "a scalar or the shape of alpha"),
    ],
)
def test_wrong_input_is_refused(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()


@pytest.mark.parametrize("product", [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0099])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_decoupled_decay_of_sixteen_bits_is_that_of_adamw(dtype, product):
    """The factor 1 - lr lambda is not rounded to 16 bits: in bfloat16 it would be a multiple of 2^-8."""
    start = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    w = start.clone().requires_grad_()
    w.grad = torch.zeros_like(w)
    torch.optim.AdamW([w], lr=0.1, weight_decay=product / 0.1, eps=1e-3, foreach=False).step()
    for name in ("sgd", "shb"):
        rule = with_weight_decay(get_optimizer(name), True)
        numbers = {"lr": 0.1, "weight_decay": product / 0.1}
        for members in (1, 3):
            h = {n: torch.full((members,), v, dtype=torch.float64) for n, v in rule.complete(numbers).items()}
            params = {"w": start.expand(members, -1)}
            state = rule.init(params, h)
            moved, _ = rule.update(params, {"w": torch.zeros_like(params["w"])}, state, h, 0)
            assert moved["w"].dtype == dtype
            assert all(torch.equal(row, w.detach()) for row in moved["w"])
    assert (w.detach() != start).any() == (product > 0.00196 or dtype == torch.float16)
