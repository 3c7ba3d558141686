"""The same training in JAX: jit(vmap(scan)) over all members, SHB as in shb.

Networks are given their indices, time first (members first, XLA would turn them round at every call), and JAX draws
nothing: its time is without the sampling that a stack's time includes. For E1, where drawing is most of the work, both
are measured: given its signs (a number each), and drawing them as a stack does, one bit of a counter-based word each;
blocks of 32 steps without unrolling were the fastest of six ways tried. vmap makes grouped convolutions, which XLA
computes slowly on a CPU: one member after the other (lax.map) was up to 3 times faster for the CNNs.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np

from bench.speed.work import LR, MOMENTUM, Work

INSTALLED = importlib.util.find_spec("jax") is not None
NOT_INSTALLED = "not installed (make speed JAX=1)"
WORD = 32  # bits of a random word

if INSTALLED:
    import jax
    import jax.numpy as jnp
    from jax import lax

    jax.config.update("jax_enable_x64", True)  # for E1; arrays of float32 stay so


def jax_round(work: Work, members: int | None = None, draws: bool = False) -> Callable[[], list[jax.Array]]:
    """A function that trains `members` (default: all of the work) from w_0 by `work.steps` steps, as one call.

    The first call compiles.

    Args:
        draws: JAX draws the samples, by its own generator; closed forms only.

    Returns:
        function () -> w_steps, a [members, ...] array per parameter, in the order of the problem's parameters.
    """
    seeds = np.arange(work.members if members is None else members)
    params = [jnp.asarray(p.numpy()) for p in work.problem.initial_parameters_of(seeds).values()]
    loss = _closed_form_loss if work.dataset is None else _network_loss(work)
    lr, momentum = (tuple(p.dtype.type(number) for p in params) for number in (LR, MOMENTUM))

    def step(carried: tuple, sample: jax.Array) -> tuple[tuple, None]:
        w, velocity = carried
        grads = jax.grad(loss)(w, sample.astype(w[0].dtype) if work.dataset is None else sample)
        velocity = [m * v - a * g for m, v, a, g in zip(momentum, velocity, lr, grads)]
        return ([p + v for p, v in zip(w, velocity)], velocity), None

    def start(w: list[jax.Array]) -> tuple:
        return w, [jnp.zeros_like(p) for p in w]

    def given(w: list[jax.Array], samples: jax.Array) -> list[jax.Array]:
        return lax.scan(step, start(w), samples)[0][0]

    def drawn(w: list[jax.Array], key: jax.Array) -> list[jax.Array]:
        words = jax.random.bits(key, (-(-work.steps // WORD),), jnp.uint32)

        def block(carried: tuple, word: jax.Array, count: int = WORD) -> tuple[tuple, None]:
            def one(carried: tuple, bit: jax.Array) -> tuple[tuple, None]:
                return step(carried, sign(word, bit))

            return lax.scan(one, carried, jnp.arange(count, dtype=jnp.uint32))[0], None

        whole, rest = divmod(work.steps, WORD)
        carried, _ = lax.scan(block, start(w), words[:whole])
        return (block(carried, words[whole], rest)[0] if rest else carried)[0]

    if draws:
        train, inputs = jax.jit(jax.vmap(drawn)), keys(seeds)
    else:
        train = jax.jit(jax.vmap(given, in_axes=(0, 1)))
        inputs = jnp.asarray(work.problem.samples_of(seeds, 0, work.steps).numpy())  # [steps, members, ...]
    return lambda: jax.block_until_ready(train(params, inputs))


def keys(seeds: np.ndarray) -> jax.Array:
    """A key of JAX's generator per seed."""
    return jax.vmap(jax.random.key)(seeds)


def sign(word: jax.Array, bit: jax.Array) -> jax.Array:
    """1 where that bit of a word is set, else -1."""
    return jnp.where((word >> bit) & 1, 1.0, -1.0)


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
