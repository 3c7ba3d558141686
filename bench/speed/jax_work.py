"""The same training in JAX: jit(vmap(scan)) over all members, SHB as in shb, samples given per step and member.

JAX draws nothing here: its time is without the sampling that a stack's time includes. vmap makes grouped convolutions,
which XLA computes slowly on a CPU: one member after the other (lax.map) was up to 3 times faster for the CNNs.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np

from bench.speed.work import LR, MOMENTUM, Work

INSTALLED = importlib.util.find_spec("jax") is not None
NOT_INSTALLED = "not installed (make speed JAX=1)"

if INSTALLED:
    import jax
    import jax.numpy as jnp
    from jax import lax

    jax.config.update("jax_enable_x64", True)  # for E1; arrays of float32 stay so


def jax_round(work: Work, members: int | None = None) -> Callable[[], list[jax.Array]]:
    """A function that trains `members` (default: all of the work) from w_0 by `work.steps` steps, as one call.

    The first call compiles.

    Returns:
        function () -> w_steps, a [members, ...] array per parameter, in the order of the problem's parameters.
    """
    seeds = np.arange(work.members if members is None else members)
    drawn = work.problem.samples_of(seeds, 0, work.steps).movedim(1, 0).numpy()  # [members, steps, ...]
    samples = jnp.asarray(drawn.astype(np.float64) if drawn.dtype == np.int8 else drawn)
    params = [jnp.asarray(p.numpy()) for p in work.problem.initial_parameters_of(seeds).values()]
    loss = _closed_form_loss if work.dataset is None else _network_loss(work)
    lr, momentum = (tuple(p.dtype.type(number) for p in params) for number in (LR, MOMENTUM))

    def step(carried: tuple, sample: jax.Array) -> tuple[tuple, None]:
        w, velocity = carried
        grads = jax.grad(loss)(w, sample)
        velocity = [m * v - a * g for m, v, a, g in zip(momentum, velocity, lr, grads)]
        return ([p + v for p, v in zip(w, velocity)], velocity), None

    def trajectory(w: list[jax.Array], samples: jax.Array) -> list[jax.Array]:
        (w, _), _ = lax.scan(step, (w, [jnp.zeros_like(p) for p in w]), samples)
        return w

    train = jax.jit(jax.vmap(trajectory))
    return lambda: jax.block_until_ready(train(params, samples))


def _closed_form_loss(params: list[jax.Array], s: jax.Array) -> jax.Array:
    """f(w, s) of E1 with ReLU'(0) = 0."""
    (w,) = params
    return (2 * s * jax.nn.relu(s * w) + w * w / 2).sum()


def _network_loss(work: Work) -> Callable[[list[jax.Array], jax.Array], jax.Array]:
    """Cross-entropy of the batch that indices pick from the training part."""
    train = work.dataset().train
    x, y = jnp.asarray(train.x.numpy()), jnp.asarray(train.y.numpy())

    def loss(params: list[jax.Array], index: jax.Array) -> jax.Array:
        scores = jax.nn.log_softmax(_network(params, x[index]), -1)
        return -jnp.take_along_axis(scores, y[index][:, None], 1).mean()

    return loss


def _network(params: list[jax.Array], x: jax.Array) -> jax.Array:
    """Weights and biases in turn: a weight of rank 4 is a convolution before ReLU and max-pooling, else a layer."""
    pairs = list(zip(params[::2], params[1::2]))
    for i, (weight, bias) in enumerate(pairs):
        if weight.ndim == 4:
            x = lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
            x = jax.nn.relu(x + bias[:, None, None])
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            continue
        x = x.reshape(len(x), math.prod(x.shape[1:])) @ weight.T + bias
        x = jax.nn.relu(x) if i + 1 < len(pairs) else x
    return x
