"""Every rule against a recursion in plain Python floats, against torch.optim, alone against in a stack."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS, expand, get_optimizer

STEPS = 120
LR = [0.3 / (k + 3) ** 0.6 * (1.5 if k % 7 == 0 else 1.0) for k in range(STEPS)]  # varies, and not smoothly
MOMENTUM = [0.5 + 0.4 * math.sin(k) for k in range(STEPS)]
DAMPENING, BETA1, BETA2, EPS = 0.3, 0.8, 0.95, 1e-6
NOISE = [math.cos(3.1 * k * k) for k in range(STEPS)]


def gradient(w, k):
    """A noisy subgradient of |w - 0.2| + (w + 1)^2 / 4."""
    return (1.0 if w > 0.2 else -1.0) + (w + 1) / 2 + NOISE[k]


def values(rule, k):
    """The hyperparameters of step k."""
    everything = {
        "lr": LR[k],
        "momentum": MOMENTUM[k],
        "dampening": DAMPENING,
        "beta1": BETA1,
        "beta2": BETA2,
        "eps": EPS,
    }
    return {name: everything[name] for name in OPTIMIZERS[rule].hyperparameters}


def tensors(numbers):
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}


def trajectory(rule, w0, velocity=None):
    """w_0, ..., w_STEPS of the rule under test, as Python floats."""
    optimizer = get_optimizer(rule)
    params = {"w": torch.tensor([w0], dtype=torch.float64)}
    start = () if velocity is None else ({"w": torch.tensor([velocity], dtype=torch.float64)},)
    state = optimizer.init(params, tensors(values(rule, 0)), *start)
    path = [w0]
    for k in range(STEPS):
        grads = {"w": torch.tensor([gradient(path[-1], k)], dtype=torch.float64)}
        params, state = optimizer.update(params, grads, state, tensors(values(rule, k)), k)
        path.append(params["w"].item())
    return path


def scalar_recursion(rule, w0, velocity=0.0):
    """The same path from the formulas of theory.md section 1, one float at a time."""
    path, previous, buffer, second = [w0], w0 - velocity, 0.0, 0.0
    for k in range(STEPS):
        w, lr, mu = path[-1], LR[k], MOMENTUM[k]
        g = gradient(w, k)
        if rule == "sgd":
            new = w - lr * g
        elif rule == "shb":
            new = w - lr * g + mu * (w - previous)
        elif rule == "torch_momentum":
            buffer = g if k == 0 else mu * buffer + (1 - DAMPENING) * g
            new = w - lr * buffer
        elif rule == "ema_momentum":
            buffer = mu * buffer + (1 - mu) * g
            new = w - lr * buffer
        elif rule == "nesterov":
            buffer = mu * buffer + g
            new = w - lr * (g + mu * buffer)
        elif rule == "adam":
            buffer = BETA1 * buffer + (1 - BETA1) * g
            second = BETA2 * second + (1 - BETA2) * g * g
            m_hat, v_hat = buffer / (1 - BETA1 ** (k + 1)), second / (1 - BETA2 ** (k + 1))
            new = w - lr * m_hat / (math.sqrt(v_hat) + EPS)
        previous = w
        path.append(new)
    return path


def distance(path, other):
    return max(abs(a - b) for a, b in zip(path, other, strict=True))


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_rule_follows_its_formula(rule):
    assert distance(trajectory(rule, 1.7), scalar_recursion(rule, 1.7)) <= 1e-10


def test_rules_differ_from_each_other():
    """The control of the test above: no rule would pass in place of another."""
    paths = {rule: scalar_recursion(rule, 1.7) for rule in OPTIMIZERS}
    for rule in OPTIMIZERS:
        for other in OPTIMIZERS:
            assert rule == other or distance(trajectory(rule, 1.7), paths[other]) > 1e-3


def test_shb_starts_with_a_given_velocity():
    path = trajectory("shb", 1.7, velocity=-0.4)
    assert distance(path, scalar_recursion("shb", 1.7, velocity=-0.4)) <= 1e-10
    assert distance(path, trajectory("shb", 1.7)) > 1e-3


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        ("sgd", lambda w: torch.optim.SGD([w], lr=1.0)),
        ("torch_momentum", lambda w: torch.optim.SGD([w], lr=1.0, momentum=0.9, dampening=DAMPENING)),
        ("nesterov", lambda w: torch.optim.SGD([w], lr=1.0, momentum=0.9, nesterov=True)),
        ("adam", lambda w: torch.optim.Adam([w], lr=1.0, betas=(BETA1, BETA2), eps=EPS)),
    ],
)
def test_rule_equals_torch_with_varying_lr_and_momentum(rule, reference):
    w = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    optimizer, path = reference(w), [1.7]
    for k in range(STEPS):
        group = optimizer.param_groups[0]
        group["lr"] = LR[k]
        if "momentum" in group:
            group["momentum"] = MOMENTUM[k] if rule != "sgd" else 0
        w.grad = torch.tensor([gradient(path[-1], k)], dtype=torch.float64)
        optimizer.step()
        path.append(w.item())
    assert distance(trajectory(rule, 1.7), path) <= 1e-10


def random_stack(members, shapes, dtype, seed=0):
    source = torch.Generator().manual_seed(seed)
    return {
        str(i): torch.randn((members, *s), generator=source, dtype=torch.float64).to(dtype)
        for i, s in enumerate(shapes)
    }


def stack_values(optimizer, members, k, seed=1):
    """One value per member, different between members and steps."""
    source = torch.Generator().manual_seed(seed + k)
    h = {
        name: 0.5 + 0.49 * torch.rand(members, generator=source, dtype=torch.float64)
        for name in optimizer.hyperparameters
    }
    h["lr"] = h["lr"] / (k + 2)
    return h


def run_stack(optimizer, members, shapes, dtype, chosen=None, steps=4):
    """All tensors after ``steps`` steps of the stack, or of member ``chosen`` alone."""
    pick = (lambda t: t) if chosen is None else (lambda t: t[chosen])

    def picked(tree):
        return {name: pick(t).clone() for name, t in tree.items()}

    params = picked(random_stack(members, shapes, dtype))
    state = optimizer.init(params, picked(stack_values(optimizer, members, 0)))
    for k in range(steps):
        grads = picked(random_stack(members, shapes, dtype, seed=100 + k))
        params, state = optimizer.update(params, grads, state, picked(stack_values(optimizer, members, k)), k)
    leaves = {f"{key}.{n}": t for key, v in state.items() for n, t in (v if isinstance(v, dict) else {"": v}).items()}
    return {**params, **leaves}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_member_has_the_same_bits_alone_and_in_a_stack(rule, dtype):
    # 301 members: vectorised loops have a body and a remainder; the last shape makes a member's slice odd too
    optimizer, members, shapes = OPTIMIZERS[rule], 301, [(), (1,), (3, 5), (33,)]
    stack = run_stack(optimizer, members, shapes, dtype)
    for member in (0, 1, 7, 150, 296, 299, 300):
        alone = run_stack(optimizer, members, shapes, dtype, member)
        assert alone.keys() == stack.keys()
        for name, t in alone.items():
            assert t.dtype == stack[name].dtype and torch.equal(t, stack[name][member]), name


def test_adam_keeps_running_products_and_no_powers():
    """A product of floats has the same bits everywhere; a vectorised pow gives some members others."""
    adam, betas = get_optimizer("adam"), 0.8 + 0.19 * torch.rand(301, dtype=torch.float64)
    h = {"lr": betas, "beta1": betas, "beta2": betas.flip(0), "eps": betas}
    params = {"w": torch.ones(301, dtype=torch.float64)}
    state, product = adam.init(params, h), [1.0] * 301
    for k in range(30):
        _, state = adam.update(params, params, state, h, k)
        product = [p * beta for p, beta in zip(product, betas.tolist(), strict=True)]
        assert state["beta1_product"].tolist() == product
        assert state["beta2_product"].tolist() == product[::-1]


@settings(max_examples=30, deadline=None)
@given(
    rule=st.sampled_from(sorted(OPTIMIZERS)),
    members=st.integers(1, 5),
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple), min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_shape_keeps_shape_dtype_and_bits(rule, members, shapes, dtype):
    optimizer = OPTIMIZERS[rule]
    start, stack = random_stack(members, shapes, dtype), run_stack(optimizer, members, shapes, dtype)
    for name, w in start.items():
        assert stack[name].shape == w.shape and stack[name].dtype == dtype
    assert all(t.shape[0] == members for t in stack.values())
    alone = run_stack(optimizer, members, shapes, dtype, members - 1)
    assert all(torch.equal(t, stack[name][members - 1]) for name, t in alone.items())


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_update_is_pure(rule):
    optimizer = OPTIMIZERS[rule]
    params, grads = random_stack(3, [(4,), (2, 2)], torch.float64), None
    state = optimizer.init(params, stack_values(optimizer, 3, 0))
    for k in range(3):
        grads, h = random_stack(3, [(4,), (2, 2)], torch.float64, seed=k + 1), stack_values(optimizer, 3, k)
        before = [t.clone() for t in leaves(params, grads, h, state)]
        new_params, new_state = optimizer.update(params, grads, state, h, k)
        after = leaves(params, grads, h, state)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        inputs = {t.data_ptr() for t in after}
        assert not inputs & {t.data_ptr() for t in leaves(new_params, new_state)}
        params, state = new_params, new_state


def leaves(*trees):
    found = []
    for tree in trees:
        for value in tree.values():
            found += leaves(value) if isinstance(value, dict) else [value]
    return found


def test_initial_velocity_is_copied():
    params = {"w": torch.ones(2)}
    velocity = {"w": torch.ones(2)}
    state = get_optimizer("shb").init(params, {}, velocity)
    velocity["w"].zero_()
    assert torch.equal(state["velocity"]["w"], torch.ones(2))


@pytest.mark.parametrize("rule", sorted(set(OPTIMIZERS) - {"shb"}))
def test_only_shb_takes_a_velocity(rule):
    optimizer, params = OPTIMIZERS[rule], {"w": torch.ones(2)}
    assert not optimizer.takes_velocity
    with pytest.raises(ConfigurationError, match="only shb starts with one"):
        optimizer.init(params, tensors(values(rule, 0)), params)


@pytest.mark.parametrize(
    "velocity", [{}, {"w": torch.ones(3)}, {"w": torch.ones(2, dtype=torch.float64)}, {"v": torch.ones(2)}]
)
def test_wrong_velocity_is_refused(velocity):
    assert OPTIMIZERS["shb"].takes_velocity
    with pytest.raises(ConfigurationError, match="initial velocity"):
        get_optimizer("shb").init({"w": torch.ones(2)}, {}, velocity)


def test_unknown_rule_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean nesterov"):
        get_optimizer("nestrov")


def test_complete_fills_in_defaults_and_refuses_the_rest():
    adam = get_optimizer("adam")
    assert adam.complete({"lr": 0.1, "beta2": 0.99}) == {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    with pytest.raises(ConfigurationError, match="did you mean beta1"):
        adam.complete({"lr": 0.1, "beta_1": 0.9})
    with pytest.raises(ConfigurationError, match="no default"):
        adam.complete({})


def test_expand_casts_and_appends_axes():
    h = torch.tensor([0.1, 0.2], dtype=torch.float64)
    assert expand(h, torch.ones(2, 3, 4)).shape == (2, 1, 1) and expand(h, torch.ones(2)).shape == (2,)
    assert expand(h, torch.ones(2)).dtype == torch.float32
    assert expand(h[0], torch.ones(3, 4)).shape == (1, 1)
