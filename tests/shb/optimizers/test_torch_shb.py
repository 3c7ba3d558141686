"""SHB in an ordinary torch loop: the numbers of the pure rule, and the habits of a torch optimizer."""

import copy
import doctest
import io

import pytest
import torch

from shb.errors import ConfigurationError
from shb.optimizers import SHB, get_optimizer, torch_shb

STEPS = 40


def gradient(w, k):
    """Noisy subgradient of sum |w| + |w|^2 / 4."""
    noise = torch.randn(w.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    return w.sign() + w / 2 + noise.to(w.dtype)


def parameters(dtype=torch.float64):
    source = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=source, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((3,), (4, 5), ())
    ]


def steps(optimizer, params, start=0, stop=STEPS, lr=None):
    for k in range(start, stop):
        if lr is not None:
            optimizer.param_groups[0]["lr"] = lr[k]
        for w in params:
            w.grad = gradient(w.detach(), k)
        optimizer.step()
    return [w.detach().clone() for w in params]


def same(these, those):
    return all(torch.equal(a, b) for a, b in zip(these, those, strict=True))


def gap(these, those):
    return max((a - b).abs().max().item() for a, b in zip(these, those, strict=True))


def test_equals_the_pure_rule_with_varying_lr():
    params, rule = parameters(), get_optimizer("shb")
    lr = [0.1 / (k + 1) ** 0.7 for k in range(STEPS)]
    w = {str(i): p.detach().clone() for i, p in enumerate(params)}
    state = rule.init(w, {})
    for k in range(STEPS):
        h = {name: torch.tensor(v, dtype=torch.float64) for name, v in (("lr", lr[k]), ("momentum", 0.8))}
        w, state = rule.update(w, {name: gradient(t, k) for name, t in w.items()}, state, h, k)
    assert gap(steps(SHB(params, lr=1.0, momentum=0.8), params, lr=lr), list(w.values())) <= 1e-10


def test_equals_torch_momentum_at_constant_lr_only():
    constant, decaying = [0.05] * STEPS, [0.2 / (k + 1) for k in range(STEPS)]
    ends = {}
    for name, lr in (("constant", constant), ("decaying", decaying)):
        for optimizer in (SHB, torch.optim.SGD):
            params = parameters()
            ends[name, optimizer] = steps(optimizer(params, lr=0.1, momentum=0.9, weight_decay=0.01), params, lr=lr)
    assert gap(ends["constant", SHB], ends["constant", torch.optim.SGD]) <= 1e-10
    assert gap(ends["decaying", SHB], ends["decaying", torch.optim.SGD]) > 1e-3


@pytest.mark.parametrize("foreach", [False, True])
def test_weight_decay_changes_the_path_and_not_the_gradient(foreach):
    plain, decayed = parameters(), parameters()
    end = steps(SHB(plain, lr=0.05), plain)
    optimizer = SHB(decayed, lr=0.05, weight_decay=0.1, foreach=foreach)
    assert gap(end, steps(optimizer, decayed)) > 1e-3
    grads = [w.grad.clone() for w in decayed]
    optimizer.step()
    assert same(grads, [w.grad for w in decayed])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_foreach_equals_the_loop(dtype, weight_decay):
    ends = []
    for foreach in (False, True):
        params = parameters(dtype)
        given = {"weight_decay": weight_decay, "velocity_std": 0.1, "foreach": foreach, **seeded()}
        optimizer = SHB(params, lr=0.05, **given)
        ends.append(steps(optimizer, params))
    assert same(*ends)


def test_closure_is_evaluated_with_gradients_and_returned():
    w = torch.tensor([2.0], requires_grad=True)
    optimizer = SHB([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = w.abs().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert w.item() == 1.5


def test_parameter_groups_have_their_own_numbers():
    together, alone = parameters(), parameters()
    end = steps(SHB([{"params": together[:1], "momentum": 0.0}, {"params": together[1:]}], lr=0.05), together)
    first = steps(SHB(alone[:1], lr=0.05, momentum=0.0), alone[:1])
    rest = steps(SHB(alone[1:], lr=0.05), alone[1:])
    assert same(end, first + rest)


def test_parameter_without_gradient_is_left_alone():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = SHB([used, unused], lr=0.1, velocity_std=1.0)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2)) and not torch.equal(used, torch.ones(2))
    assert unused not in optimizer.state


@pytest.mark.parametrize("foreach", [False, True])
def test_state_dict_round_trip_is_bit_equal(foreach):
    whole = parameters(torch.float32)
    end = steps(SHB(whole, lr=0.05, velocity_std=0.3, foreach=foreach, **seeded()), whole)

    params = parameters(torch.float32)
    optimizer = SHB(params, lr=0.05, velocity_std=0.3, foreach=foreach, **seeded())
    middle = steps(optimizer, params, 0, STEPS // 2)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = [w.clone().requires_grad_() for w in middle]
    optimizer = SHB(resumed, lr=9.0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert same(end, steps(optimizer, resumed, STEPS // 2, STEPS))

    forgotten = [w.clone().requires_grad_() for w in middle]
    assert not same(end, steps(SHB(forgotten, lr=0.05), forgotten, STEPS // 2, STEPS))


def seeded():
    return {"generator": torch.Generator().manual_seed(3)}


def test_deep_copy_goes_on_like_the_original():
    params = parameters()
    optimizer = SHB(params, lr=0.05, **seeded())
    steps(optimizer, params, 0, 5)
    twin = copy.deepcopy(optimizer)
    twin_params = twin.param_groups[0]["params"]
    assert same(steps(optimizer, params, 5, 9), steps(twin, twin_params, 5, 9))


def test_initial_velocity_is_gaussian_and_seeded():
    def velocity(**given):
        w = torch.zeros(20_000, requires_grad=True)
        optimizer = SHB([w], lr=0.1, momentum=0.5, **given)
        w.grad = torch.zeros(20_000)
        optimizer.step()  # no gradient: w_1 = w_0 + momentum (w_0 - w_{-1})
        assert torch.equal(w, optimizer.state[w]["velocity"])
        return w.detach() / 0.5

    drawn = velocity(velocity_std=0.3, **seeded())
    assert drawn.std().item() == pytest.approx(0.3, rel=0.03) and abs(drawn.mean().item()) < 0.01
    assert torch.equal(drawn, velocity(velocity_std=0.3, **seeded()))
    assert not torch.equal(drawn, velocity(velocity_std=0.3))
    assert torch.equal(velocity(), torch.zeros(20_000))


def test_scheduler_keeps_the_velocity_at_a_drop():
    """With StepLR the path follows (P); torch's momentum rescales the velocity (theory.md section 1)."""
    ends = {}
    for optimizer_class in (SHB, torch.optim.SGD):
        w = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
        optimizer = optimizer_class([w], lr=0.1, momentum=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
        for _ in range(3):
            w.grad = torch.ones(1, dtype=torch.float64)
            optimizer.step()
            scheduler.step()
        ends[optimizer_class] = w.item()
    # steps -0.1, then -0.1 - 0.05 = -0.15, then with lr 0.01
    assert ends[SHB] == pytest.approx(-0.1 - 0.15 - (0.01 + 0.5 * 0.15), abs=1e-14)
    assert ends[torch.optim.SGD] == pytest.approx(-0.1 - 0.15 - 0.01 * (1 + 0.5 * 1.5), abs=1e-14)


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.2, total_steps=STEPS),
    ],
)
def test_other_schedulers_run(scheduler):
    params = parameters()
    optimizer = SHB(params, lr=0.05)
    scheduler = scheduler(optimizer)
    for k in range(STEPS - 1):
        steps(optimizer, params, k, k + 1)
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] < 0.05 and all(w.isfinite().all() for w in params)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"lr": 0.0}, "SHB.lr"),
        ({"lr": -0.1}, "SHB.lr"),
        ({"lr": float("nan")}, "SHB.lr"),
        ({"lr": 0.1, "momentum": 1.0}, "SHB.momentum"),
        ({"lr": 0.1, "momentum": -1.0}, "SHB.momentum"),
        ({"lr": 0.1, "momentum": float("nan"), "allow_unstable": True}, "SHB.momentum"),
        ({"lr": 0.1, "weight_decay": -1.0}, "SHB.weight_decay"),
        ({"lr": 0.1, "velocity_std": -1.0}, "SHB.velocity_std"),
    ],
)
def test_wrong_numbers_are_refused(given, field):
    with pytest.raises(ConfigurationError, match=field):
        SHB(parameters(), **given)
    optimizer = SHB(parameters(), lr=0.1)
    with pytest.raises(ConfigurationError, match=field):
        optimizer.add_param_group({"params": parameters(), **given})
    assert len(optimizer.param_groups) == 1


def test_unstable_momentum_only_on_request():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = SHB([w], lr=0.1, momentum=2.0, allow_unstable=True)
    for _ in range(2):
        w.grad = torch.ones(1)
        optimizer.step()
    assert w.item() == pytest.approx(1 - 0.1 - 0.3)


@pytest.mark.parametrize("foreach", [False, True])
def test_sparse_gradient_is_refused_before_anything_moves(foreach):
    dense = torch.ones(3, requires_grad=True)
    w = torch.ones(3, requires_grad=True)
    dense.grad, w.grad = torch.ones(3), torch.ones(3).to_sparse()
    with pytest.raises(ConfigurationError, match="dense"):
        SHB([dense, w], lr=0.1, foreach=foreach).step()
    assert torch.equal(dense, torch.ones(3))


def test_example_of_the_docstring():
    result = doctest.testmod(torch_shb)
    assert result.attempted >= 5 and result.failed == 0
