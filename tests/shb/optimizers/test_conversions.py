"""Converted numbers give the same path, unconverted numbers do not (claims CL1 and CL2 of theory.md)."""

import numpy as np
import pytest
import torch

from shb.errors import ConfigurationError
from shb.optimizers import get_optimizer
from shb.optimizers.conversions import (
    adam_to_polyak,
    constant_momentum_step,
    effective_step,
    ema_to_polyak,
    nesterov_to_polyak,
    polyak_to_torch,
    polyak_to_velocity,
    torch_to_polyak,
    velocity_to_polyak,
    z_weights,
)

STEPS = 150
K = np.arange(STEPS)
LR = 0.2 / (K + 2) ** 0.7
MOMENTUM = 0.6 + 0.3 * np.sin(K)
NOISE = np.random.default_rng(0).normal(size=(STEPS, 3))
START = np.array([1.3, -0.7, 0.45])


def gradient(w, k):
    """Noisy subgradient of the nonsmooth |w1 - w2| + |w2| / 2 + |w|^2 / 2."""
    a, b = np.sign(w[0] - w[1]), np.sign(w[1]) / 2
    return np.array([a, b - a, 0.0]) + w + NOISE[k]


def polyak(alpha, beta, previous=START, steps=STEPS):
    """(P), written out: w_0, ..., w_steps and the gradients."""
    path, grads = [START], []
    for k in range(steps):
        w = path[-1]
        grads.append(gradient(w, k))
        path.append(w - alpha[k] * grads[-1] + beta[k] * (w - previous))
        previous = w
    return np.array(path), np.array(grads)


def run(rule, steps=STEPS, velocity=None, **schedules):
    """The path of a rule of this package with one value per step."""
    optimizer = get_optimizer(rule)

    def at(k):
        return {name: torch.tensor(np.broadcast_to(v, STEPS)[k], dtype=torch.float64) for name, v in schedules.items()}

    params = {"w": torch.tensor(START)}
    state = optimizer.init(params, at(0), None if velocity is None else {"w": torch.tensor(velocity)})
    path = [START]
    for k in range(steps):
        grads = {"w": torch.tensor(gradient(path[-1], k))}
        params, state = optimizer.update(params, grads, state, at(k), k)
        path.append(params["w"].numpy().copy())
    return np.array(path)


def gap(path, other):
    return np.abs(path - other).max()


@pytest.mark.parametrize("dampening", [0.0, 0.4])
def test_torch_to_polyak(dampening):
    path = run("torch_momentum", lr=LR, momentum=MOMENTUM, dampening=dampening)
    assert gap(path, polyak(*torch_to_polyak(LR, MOMENTUM, dampening))[0]) <= 1e-10
    assert gap(path, polyak(LR, MOMENTUM)[0]) > 1e-3
    assert gap(path, polyak((1 - dampening) * LR, MOMENTUM)[0]) > 1e-3


def test_torch_does_not_dampen_its_first_step():
    alpha, beta = torch_to_polyak(LR, 0.9, 0.4)
    assert alpha[0] == LR[0] and alpha[1] == (1 - 0.4) * LR[1] and beta[0] == 0
    wrong = alpha.copy()
    wrong[0] *= 1 - 0.4
    path = run("torch_momentum", lr=LR, momentum=0.9, dampening=0.4)
    assert gap(path, polyak(wrong, beta)[0]) > 1e-3


def test_torch_sgd_itself_follows_the_converted_numbers():
    w = torch.tensor(START, requires_grad=True)
    optimizer, path = torch.optim.SGD([w], lr=1.0, momentum=0.9, dampening=0.4), [START]
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR[k]
        w.grad = torch.tensor(gradient(path[-1], k))
        optimizer.step()
        path.append(w.detach().numpy().copy())
    assert gap(np.array(path), polyak(*torch_to_polyak(LR, 0.9, 0.4))[0]) <= 1e-10


def test_polyak_to_torch():
    path = run("shb", lr=LR, momentum=MOMENTUM)
    lr, momentum = polyak_to_torch(LR, MOMENTUM)
    assert gap(path, run("torch_momentum", lr=lr, momentum=momentum, dampening=0.0)) <= 1e-10
    assert gap(path, run("torch_momentum", lr=LR, momentum=MOMENTUM, dampening=0.0)) > 1e-3


def test_polyak_to_torch_with_torchs_own_optimizer():
    """beta_0 = 0 must not become momentum_0 = 0: torch.optim.SGD then keeps no buffer of its first gradient."""
    beta = np.where(K == 0, 0.0, MOMENTUM)
    lr, momentum = polyak_to_torch(LR, beta)
    w = torch.tensor(START, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0, momentum=0.9)
    path = [START]
    for k in range(STEPS):
        optimizer.param_groups[0].update(lr=lr[k], momentum=momentum[k])
        w.grad = torch.from_numpy(gradient(path[-1], k))
        optimizer.step()
        path.append(w.detach().numpy().copy())
    assert gap(np.array(path), run("shb", lr=LR, momentum=beta)) <= 1e-10


def test_polyak_to_torch_may_exceed_one():
    _, momentum = polyak_to_torch(1 / (K + 1), 0.9)
    assert momentum[1] == pytest.approx(1.8)


def test_torch_and_polyak_are_inverse():
    lr, momentum = polyak_to_torch(*torch_to_polyak(LR, MOMENTUM))
    assert np.allclose(lr, LR, rtol=1e-14) and np.allclose(momentum[1:], MOMENTUM[1:], rtol=1e-14)


def test_velocity_form_with_its_initial_velocity():
    u = u_0 = np.array([0.3, -0.2, 0.1])
    path = [START]
    for k in range(STEPS):
        u = MOMENTUM[k] * u - LR[k] * gradient(path[-1], k)
        path.append(path[-1] + u)
    converted = velocity_to_polyak(LR, MOMENTUM, START, u_0)
    assert gap(np.array(path), polyak(*converted)[0]) <= 1e-10
    assert gap(np.array(path), polyak(LR, MOMENTUM)[0]) > 1e-3  # the velocity forgotten
    assert gap(np.array(path), polyak(LR, MOMENTUM, START + u_0)[0]) > 1e-3  # its sign wrong
    back = polyak_to_velocity(converted.alpha, converted.beta, START, converted.previous)
    assert np.allclose(back.velocity, u_0, rtol=1e-14)
    assert gap(np.array(path), run("shb", velocity=back.velocity, lr=back.lr, momentum=back.momentum)) <= 1e-10


def test_ema_to_polyak():
    path = run("ema_momentum", lr=LR, momentum=MOMENTUM)
    assert gap(path, polyak(*ema_to_polyak(LR, MOMENTUM))[0]) <= 1e-10
    assert gap(path, polyak(LR, MOMENTUM)[0]) > 1e-3
    assert gap(path, polyak((1 - MOMENTUM) * LR, MOMENTUM)[0]) > 1e-3


def test_nesterov_to_polyak():
    path = run("nesterov", lr=0.05, momentum=0.8)
    form = nesterov_to_polyak(0.05, 0.8)

    def recursion(momentum, current, previous_weight):
        w, previous, g_previous, result = START, START, np.zeros(3), [START]
        for k in range(STEPS):
            g = gradient(w, k)
            new = w + momentum * (w - previous) - current * g - previous_weight * g_previous
            w, previous, g_previous = new, w, g
            result.append(w)
        return np.array(result)

    assert gap(path, recursion(*form)) <= 1e-10
    assert gap(path, recursion(form.momentum, form.current, 0.0)) > 1e-3
    assert gap(path, polyak(np.full(STEPS, 0.05), np.full(STEPS, 0.8))[0]) > 1e-3


def test_adam_to_polyak():
    beta1, beta2, eps = 0.9, 0.99, 1e-6
    path = run("adam", lr=LR, beta1=beta1, beta2=beta2, eps=eps)
    second, v_hat = np.zeros(3), []
    for k in range(STEPS):
        second = beta2 * second + (1 - beta2) * gradient(path[k], k) ** 2
        v_hat.append(second / (1 - beta2 ** (k + 1)))
    alpha, beta = adam_to_polyak(LR, beta1, eps, v_hat)
    assert alpha.shape == beta.shape == (STEPS, 3)
    assert gap(path, polyak(alpha, beta)[0]) <= 1e-10
    assert gap(path, polyak(LR, np.full(STEPS, beta1))[0]) > 1e-3
    assert gap(path, polyak(alpha, np.full(STEPS, beta1))[0]) > 1e-3


def test_step_drop_displacement():
    """At a drop eta -> rho eta Polyak travels (eta_old - eta_new) mu b / (1 - mu) further than torch."""
    mu, eta_old, eta_new, drop, steps = 0.8, 0.1, 0.02, 20, 200
    lr = np.where(np.arange(steps) < drop, eta_old, eta_new)
    shb, momentum = get_optimizer("shb"), get_optimizer("torch_momentum")
    ends, after_one = [], []
    for optimizer in (shb, momentum):
        params = {"w": torch.tensor([0.5], dtype=torch.float64)}
        state = optimizer.init(params, {})
        for k in range(steps):
            h = {
                name: torch.tensor(value, dtype=torch.float64)
                for name, value in (("lr", lr[k]), ("momentum", mu), ("dampening", 0.0))
            }
            if k == drop and optimizer is momentum:
                buffer = state["buffer"]["w"].item()
            # the gradients do not depend on w, so that only the rule makes a difference
            grads = {"w": torch.tensor([1.0 + 0.5 * np.cos(k)], dtype=torch.float64)}
            params, state = optimizer.update(params, grads, state, h, k)
            if k == drop:
                after_one.append(params["w"].item())
        ends.append(params["w"].item())
    extra = -(eta_old - eta_new) * mu * buffer  # w moves against the buffer
    assert after_one[0] - after_one[1] == pytest.approx(extra, abs=1e-12)
    assert ends[0] - ends[1] == pytest.approx(extra / (1 - mu), abs=1e-12)
    assert abs(extra) > 0.1


def residual(path, grads, alpha, c):
    z = path[1:] + c[1:, None] * np.diff(path, axis=0)  # z_1, ..., z_K
    step = (alpha * (1 + c[1:]))[:, None] * grads
    z_0 = path[:1]  # at rest, so that z_0 = w_0
    return np.abs(np.diff(np.concatenate([z_0, z]), axis=0) + step).max()


def test_z_transform_is_exact():
    beta = np.random.default_rng(1).uniform(0, 0.95, STEPS)
    path, grads = polyak(LR, beta)
    assert residual(path, grads, LR, z_weights(beta)) <= 1e-12
    # one constant formula per step is wrong for a momentum that varies
    wrong = np.append(beta / (1 - beta), beta[-1] / (1 - beta[-1]))
    assert residual(path, grads, LR, wrong) > 1e-3


def test_z_weights_are_the_series():
    beta = np.array([0.5, 0.9, 0.2, 0.7])
    continued = np.append(beta, np.full(400, 0.7))
    for k, c in enumerate(z_weights(beta)):
        assert c == pytest.approx(np.cumprod(continued[k:]).sum(), rel=1e-12)


def test_effective_step():
    beta = np.array([0.5, 0.9, 0.2, 0.7])
    continued, alpha = np.append(beta, np.full(400, 0.7)), np.array([4.0, 3.0, 2.0, 1.0])
    series = [alpha[k] * (1 + np.cumprod(continued[k + 1 :]).sum()) for k in range(4)]
    assert np.allclose(effective_step(alpha, beta), series, rtol=1e-12)
    assert np.allclose(effective_step(alpha, 0.9), alpha * 10, rtol=1e-12)
    assert np.allclose(constant_momentum_step(alpha, 0.9), alpha * 10, rtol=1e-12)
    assert np.abs(constant_momentum_step(alpha, beta) - series).max() > 1e-3


def test_effective_step_of_torch_through_warm_restarts():
    """sum_j mu^j lr_{k+j} between lr_k and max lr / (1 - mu), though beta_k > 1 at restarts (theory.md 2.2, A4')."""
    lr, momentum = 0.3 * (1.01 + np.cos(np.pi * (K % 30) / 30)) / (K + 1) ** 0.6, 0.9
    lr[-2:] = lr[-2]  # the sequence goes on with a constant lr
    alpha, beta = torch_to_polyak(lr, momentum)
    a = effective_step(alpha, beta)
    series = [lr[k:] @ momentum ** np.arange(STEPS - k) + lr[-1] * momentum ** (STEPS - k) / 0.1 for k in range(STEPS)]
    assert beta.max() > 10
    np.testing.assert_allclose(a, series, rtol=1e-12)
    assert (lr <= a).all() and (a <= np.maximum.accumulate(lr[::-1])[::-1] / (1 - momentum) + 1e-15).all()
    path, grads = polyak(alpha, beta)
    buffers = np.vstack([np.zeros(3), -np.diff(path, axis=0) / lr[:, None]])  # b_0 = 0, b_k
    z = path[:-1] - momentum * a[:, None] * buffers[:-1]  # C_k = mu a_k
    assert gap(z[1:], z[:-1] - a[:-1, None] * grads[:-1]) <= 1e-12


def test_momentum_below_one_of_either_sign_can_stop_anywhere():
    """theory.md 2.2: sup |beta_k| < 1 without inf (1 + c_k) > 0; the iterates on w^2/2 stop off 0."""
    periods = 30_000
    beta = np.tile([-0.9, 0.9, 0.9], periods)
    weight = 1 + z_weights(beta)[1:4]
    np.testing.assert_allclose(weight, [1.567, 0.630, -0.411], atol=5e-4)
    a = 1 / (np.arange(3 * periods) + 10.0)
    alpha = a * np.tile([-weight[2] / weight[0], 0, 1], periods)
    alpha[1::3] = a[1::3] ** 2
    w = previous = 1.0
    for step, momentum in zip(alpha.tolist(), beta.tolist()):
        w, previous = w - step * w + momentum * (w - previous), w
    assert alpha.sum() > 3.8 and w == pytest.approx(0.95915, abs=1e-5)


def test_columns_are_converted_independently():
    lr, momentum = np.stack([LR, LR[::-1]], axis=1), np.stack([MOMENTUM, MOMENTUM[::-1]], axis=1)
    for convert in (torch_to_polyak, polyak_to_torch, ema_to_polyak):
        for both, one in zip(convert(lr, momentum), convert(LR, MOMENTUM)):
            assert np.array_equal(both[:, 0], one)
    assert np.array_equal(z_weights(momentum)[:, 0], z_weights(MOMENTUM))


def test_inputs_are_not_modified():
    lr, momentum = LR.copy(), MOMENTUM.copy()
    alpha, _ = torch_to_polyak(lr, momentum, 0.5)
    alpha[:] = 0
    for array in polyak_to_torch(lr, momentum):
        array[:] = 0
    assert np.array_equal(lr, LR) and np.array_equal(momentum, MOMENTUM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: torch_to_polyak(0.1, 0.9), "one entry per step"),
        (lambda: torch_to_polyak([], 0.9), "one entry per step"),
        (lambda: torch_to_polyak([0.1, 0.0], 0.9), "step sizes > 0"),
        (lambda: polyak_to_torch([0.1, -0.1], 0.9), "step sizes > 0"),
        (lambda: ema_to_polyak([0.1, float("nan")], 0.9), "step sizes > 0"),
        (lambda: torch_to_polyak([0.1, 0.2], [0.9] * 3), "the shape of lr"),
        (lambda: adam_to_polyak([0.1, 0.2], 0.9, 1e-8, np.ones((3, 2))), "v_hat"),
        (lambda: z_weights([0.5, 1.0]), "continued for ever"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ConfigurationError, match=message):
        call()
