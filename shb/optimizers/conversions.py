"""Exact conversions of momentum forms to and from Polyak's form, and the z-transform (theory.md section 1).

Polyak's form with its parameters alpha_k (step size) and beta_k (momentum) is

    w_{k+1} = w_k - alpha_k g_k + beta_k (w_k - w_{k-1})                                             (P)

Whole schedules are converted at once: a sequence has the shape [K] (or [K, ...], one column per trajectory or
coordinate), entry k belongs to step k; where a function says so a scalar stands for a constant sequence. All
numbers are float64, lr and alpha are in the unit of w per unit of gradient, momentum and beta have no unit.
Wrong shapes, and step sizes <= 0 where they are divided by, raise ConfigurationError.

Weight decay lambda (shb/optimizers/weight_decay.py). Coupled, it is a part of the gradient, g_k = v_k + lambda_k w_k,
and every conversion here holds for any sequence of gradients: it is the same number in torch's, Keras's, the EMA,
Nesterov's and Polyak's form. Decoupled, w_{k+1} = (1 - lr_k lambda_k) w_k + (what the form adds), the product
lr_k lambda_k is the same in all: ``convert_decoupled``. Coupled and decoupled are one sequence only without momentum
and without Adam; what a decoupled decay is in (P) says ``decoupled_to_polyak``, and which one is as strong in the long
run ``coupled_to_decoupled``.

torch's momentum is the heavy ball while lr is constant; where lr is halved, its beta is halved too:

    >>> alpha, beta = torch_to_polyak([0.5, 0.5, 0.25, 0.25], 0.5)
    >>> beta.tolist()
    [0.0, 0.5, 0.25, 0.5]
    >>> lr, momentum = polyak_to_torch(alpha, beta)  # and back, but for the momentum of step 0, which does nothing
    >>> lr.tolist(), momentum[1:].tolist()
    ([0.5, 0.5, 0.25, 0.25], [0.5, 0.5, 0.5])
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError

Array = np.ndarray


class Velocity(NamedTuple):
    """u_{k+1} = momentum_k u_k - lr_k g_k;  w_{k+1} = w_k + u_{k+1}, started with u_0.

    Attributes:
        lr, momentum: [K], or [K, ...].
        velocity: u_0, shaped like w_0.
    """

    lr: Array
    momentum: Array
    velocity: Array


class Polyak(NamedTuple):
    """(P), started from w_0 and w_{-1}.

    Attributes:
        alpha, beta: [K], or [K, ...].
        previous: w_{-1}, shaped like w_0.
    """

    alpha: Array
    beta: Array
    previous: Array


class Decay(NamedTuple):
    """What decoupled weight decay adds to (P): - current_k w_k - previous_k w_{k-1}.

    Attributes:
        current, previous: [K], or [K, ...], no unit; ``previous`` is negative for a positive momentum.
    """

    current: Array
    previous: Array


class Nesterov(NamedTuple):
    """w_{k+1} = w_k + momentum (w_k - w_{k-1}) - current g_k - previous g_{k-1}; w_{-1} = w_0, g_{-1} = 0.

    Attributes:
        momentum: of the heavy ball, no unit.
        current, previous: step sizes of the two gradients; ``previous`` is negative for a positive momentum.
    """

    momentum: float
    current: float
    previous: float


def velocity_to_polyak(lr: ArrayLike, momentum: ArrayLike, params: ArrayLike, velocity: ArrayLike) -> Polyak:
    """Keras / "lr inside" form to Polyak: alpha_k = lr_k, beta_k = momentum_k, w_{-1} = w_0 - u_0.

    Args:
        lr, momentum: [K], or a scalar momentum.
        params, velocity: w_0 and u_0, one shape.

    Raises:
        ConfigurationError: lr is no sequence, or momentum has another shape.
    """
    lr, momentum = _sequences(lr=lr, momentum=momentum)
    return Polyak(lr, momentum, np.asarray(params, np.float64) - np.asarray(velocity, np.float64))


def polyak_to_velocity(alpha: ArrayLike, beta: ArrayLike, params: ArrayLike, previous: ArrayLike) -> Velocity:
    """Polyak to Keras / "lr inside" form: lr_k = alpha_k, momentum_k = beta_k, u_0 = w_0 - w_{-1}.

    Args:
        alpha, beta: [K], or a scalar beta.
        params, previous: w_0 and w_{-1}, one shape.

    Raises:
        ConfigurationError: alpha is no sequence, or beta has another shape.
    """
    alpha, beta = _sequences(alpha=alpha, beta=beta)
    return Velocity(alpha, beta, np.asarray(params, np.float64) - np.asarray(previous, np.float64))


def torch_to_polyak(lr: ArrayLike, momentum: ArrayLike, dampening: ArrayLike = 0.0) -> tuple[Array, Array]:
    """torch.optim.SGD(lr, momentum, dampening) to (alpha [K], beta [K]), started at rest (w_{-1} = w_0).

    alpha_0 = lr_0, beta_0 = 0 (torch does not dampen its first step); for k >= 1
    alpha_k = (1 - dampening_k) lr_k,  beta_k = momentum_k lr_k / lr_{k-1}.

    Args:
        lr: [K], > 0.
        momentum, dampening: [K] or scalar.

    Raises:
        ConfigurationError: a step size <= 0, or a wrong shape.
    """
    lr, momentum, dampening = _sequences(lr=lr, momentum=momentum, dampening=dampening)
    _positive("lr", lr)
    alpha = (1 - dampening) * lr
    alpha[0] = lr[0]
    return alpha, momentum * _ratio(lr)


def polyak_to_torch(alpha: ArrayLike, beta: ArrayLike) -> tuple[Array, Array]:
    """Polyak, started at rest (w_{-1} = w_0), to (lr [K], momentum [K]) of torch.optim.SGD with dampening 0.

    lr_k = alpha_k, momentum_k = beta_k alpha_{k-1} / alpha_k for k >= 1. torch does not use the value of
    momentum_0, but forgets the first gradient if it is 0: it is beta_0 here, or 0.5 where that is 0. momentum_k may
    exceed 1 where alpha decays fast. torch cannot start with a velocity.

    Args:
        alpha: [K], > 0.
        beta: [K] or scalar.

    Raises:
        ConfigurationError: a step size <= 0, or a wrong shape.
    """
    alpha, beta = _sequences(alpha=alpha, beta=beta)
    _positive("alpha", alpha)
    momentum = np.zeros_like(alpha)
    momentum[0] = np.where(beta[0] == 0, 0.5, beta[0])
    momentum[1:] = beta[1:] * alpha[:-1] / alpha[1:]
    return alpha, momentum


def ema_to_polyak(lr: ArrayLike, momentum: ArrayLike) -> tuple[Array, Array]:
    """EMA momentum to (alpha [K], beta [K]), started at rest (w_{-1} = w_0).

    alpha_k = (1 - momentum_k) lr_k,  beta_k = momentum_k lr_k / lr_{k-1},  beta_0 = 0.

    Args:
        lr: [K], > 0.
        momentum: [K] or scalar.

    Raises:
        ConfigurationError: a step size <= 0, or a wrong shape.
    """
    lr, momentum = _sequences(lr=lr, momentum=momentum)
    _positive("lr", lr)
    return (1 - momentum) * lr, momentum * _ratio(lr)


def nesterov_to_polyak(lr: float, momentum: float) -> Nesterov:
    """torch's Nesterov momentum with constant lr and momentum mu, as a heavy ball with two gradients.

    w_{k+1} = w_k + mu (w_k - w_{k-1}) - lr (1 + mu) g_k + lr mu g_{k-1}; the first step is -lr (1 + mu) g_0.

    Args:
        lr: constant step size.
        momentum: mu, constant.
    """
    return Nesterov(momentum, lr * (1 + momentum), -lr * momentum)


def adam_to_polyak(lr: ArrayLike, beta1: float, eps: float, v_hat: ArrayLike) -> tuple[Array, Array]:
    """Adam as a heavy ball with its own (alpha_k, beta_k) in every coordinate, started at rest.

    D_k = lr_k / [(1 - beta1^{k+1}) (sqrt(v_hat_{k+1}) + eps)],  alpha_k = (1 - beta1) D_k,
    beta_k = beta1 D_k / D_{k-1}, beta_0 = 0.

    Args:
        lr: [K], > 0.
        beta1, eps: numbers, as in torch.optim.Adam.
        v_hat: [K, ...], entry k is the corrected second moment v_hat_{k+1} that step k divides by.

    Returns:
        alpha, beta, each shaped like ``v_hat``.

    Raises:
        ConfigurationError: a step size <= 0, or a wrong shape.
    """
    v_hat = np.asarray(v_hat, np.float64)
    (lr,) = _sequences(lr=lr)
    _positive("lr", lr)
    if lr.ndim != 1 or v_hat.shape[:1] != lr.shape:
        raise ConfigurationError("v_hat", f"shape {v_hat.shape} with lr {lr.shape}", "lr of [K] and v_hat of [K, ...]")
    rate = lr / (1 - beta1 ** np.arange(1, len(lr) + 1))
    rate = rate.reshape(rate.shape + (1,) * (v_hat.ndim - 1)) / (np.sqrt(v_hat) + eps)
    return (1 - beta1) * rate, beta1 * _ratio(rate)


def convert_decoupled(weight_decay: ArrayLike, lr: ArrayLike, other: ArrayLike) -> Array:
    """The decoupled weight decay of a form with step sizes ``other`` that is that of a form with step sizes ``lr``.

    weight_decay_k lr_k / other_k, for both shrink w_k by the same lr_k weight_decay_k. To Polyak's form, with ``alpha``
    of the conversion as ``other``: the same number from Keras's form and torch's without dampening; divided by
    1 - dampening from torch's (but for its first step), by 1 - momentum from the EMA form.

    Args:
        weight_decay: [K] or scalar.
        lr, other: [K]; other > 0.

    Raises:
        ConfigurationError: a step size <= 0, or a wrong shape.

    Example:
        >>> lr, momentum = [0.5, 0.25], 0.75
        >>> alpha, beta = ema_to_polyak(lr, momentum)
        >>> convert_decoupled(0.125, lr, alpha).tolist()  # / (1 - momentum)
        [0.5, 0.5]
    """
    lr, weight_decay, other = _sequences(lr=lr, weight_decay=weight_decay, other=other)
    _positive("other", other)
    return weight_decay * lr / other


def decoupled_to_polyak(alpha: ArrayLike, beta: ArrayLike, weight_decay: ArrayLike) -> Decay:
    """The heavy ball with decoupled weight decay, written with displacements: the decay of the step before comes back.

    u_{k+1} = beta_k u_k - alpha_k g_k,  w_{k+1} = (1 - alpha_k lambda_k) w_k + u_{k+1}  (u_0 = w_0 - w_{-1})  is

    w_{k+1} = w_k - alpha_k g_k + beta_k (w_k - w_{k-1}) - current_k w_k - previous_k w_{k-1}

    with current_k = alpha_k lambda_k and previous_k = -beta_k alpha_{k-1} lambda_{k-1} (previous_0 = 0), because the
    velocity is u_k = w_k - w_{k-1} + alpha_{k-1} lambda_{k-1} w_{k-1}. Coupled decay is current_k alone.

    Args:
        alpha: [K].
        beta, weight_decay: [K] or scalar.

    Raises:
        ConfigurationError: a wrong shape.
    """
    alpha, beta, weight_decay = _sequences(alpha=alpha, beta=beta, weight_decay=weight_decay)
    current, previous = alpha * weight_decay, np.zeros_like(alpha)
    previous[1:] = -beta[1:] * current[:-1]
    return Decay(current, previous)


def coupled_to_decoupled(weight_decay: ArrayLike, beta: ArrayLike) -> Array:
    """The decoupled weight decay of a heavy ball (P) that is as strong in the long run: weight_decay / (1 - beta).

    Both then have the critical points of F + weight_decay |w|^2 / 2, at a constant momentum beta (theory.md 2.2). Their
    paths differ, for coupled decay passes the velocity. For Nesterov's and torch's momentum the same.

    Args:
        weight_decay: coupled, >= 0, any shape.
        beta: momentum in (-1, 1), a shape that broadcasts with it.

    Returns:
        float64, of the broadcast shape.

    Raises:
        ConfigurationError: beta is not in (-1, 1).

    Example:
        >>> coupled_to_decoupled(0.125, 0.75).item()
        0.5
    """
    beta = np.asarray(beta, np.float64)
    if not np.all(np.abs(beta) < 1):
        raise ConfigurationError("beta", beta, "numbers in (-1, 1)")
    return np.asarray(weight_decay, np.float64) / (1 - beta)


def z_weights(beta: ArrayLike) -> Array:
    """The weights c_k = beta_k (1 + c_{k+1}) = sum_{j>=0} prod_{i=0..j} beta_{k+i} of the z-transform.

    z_k = w_k + c_k (w_k - w_{k-1}) then moves without momentum: z_{k+1} = z_k - (1 + c_{k+1}) alpha_k g_k.
    After its end the sequence goes on with its last value: c_K = beta_{K-1} / (1 - beta_{K-1}).

    Args:
        beta: [K] or [K, ...]; its last entries in (-1, 1).

    Returns:
        c_0, ..., c_K: [K + 1, ...].

    Raises:
        ConfigurationError: beta is no sequence, or its last entry is not in (-1, 1).

    Example:
        >>> z_weights([0.5, 0.5, 0.5]).tolist()  # beta / (1 - beta)
        [1.0, 1.0, 1.0, 1.0]
        >>> z_weights([0.5, 0.0, 0.0]).tolist()
        [0.5, 0.0, 0.0, 0.0]
    """
    (beta,) = _sequences(beta=beta)
    if not np.all(np.abs(beta[-1]) < 1):
        raise ConfigurationError("last entry of beta", beta[-1], "a number in (-1, 1): it is continued for ever")
    c = np.empty((len(beta) + 1, *beta.shape[1:]))
    c[-1] = beta[-1] / (1 - beta[-1])
    for k in reversed(range(len(beta))):
        c[k] = beta[k] * (1 + c[k + 1])
    return c


def effective_step(alpha: ArrayLike, beta: ArrayLike) -> Array:
    """alpha_k (1 + c_{k+1}): the step size of the SGD that the heavy ball resembles (theory.md section 1).

    Of torch's form, with ``effective_step(*torch_to_polyak(lr, momentum))``, it is sum_j momentum^j lr_{k+j} for a
    constant momentum, at least lr_k and at most max_{j>=k} lr_j / (1 - momentum), although beta_k > 1 where lr is
    restarted (theory.md 2.2, A4').

    Args:
        alpha: [K] or [K, ...].
        beta: the same shape, or a scalar (then it is alpha / (1 - beta)); the last entries in (-1, 1).

    Returns:
        Shaped like alpha.

    Raises:
        ConfigurationError: a wrong shape, or a last beta that is not in (-1, 1).

    Example:
        >>> effective_step([0.25, 0.25], 0.75).tolist()
        [1.0, 1.0]
    """
    alpha, beta = _sequences(alpha=alpha, beta=beta)
    return alpha * (1 + z_weights(beta)[1:])


def constant_momentum_step(alpha: ArrayLike, beta: ArrayLike) -> Array:
    """alpha / (1 - beta): the effective step of a constant momentum (wrong for one that varies with k).

    Args:
        alpha, beta: any shapes that broadcast; inf where beta is 1.
    """
    return np.asarray(alpha, np.float64) / (1 - np.asarray(beta, np.float64))


def _sequences(**given: ArrayLike) -> list[Array]:
    """Fresh float64 arrays of one shape [K, ...], that of the first; the others have it or are scalars."""
    (first, shape), *_ = ((name, np.shape(value)) for name, value in given.items())
    if not shape or shape[0] == 0:
        raise ConfigurationError(first, f"shape {shape}", "a sequence with one entry per step")
    arrays = []
    for name, value in given.items():
        value = np.asarray(value, np.float64)
        if value.shape not in (shape, ()):
            raise ConfigurationError(name, f"shape {value.shape}", f"a scalar or the shape of {first}, {shape}")
        arrays.append(np.array(np.broadcast_to(value, shape)))
    return arrays


def _positive(name: str, values: Array) -> None:
    if not np.all(values > 0):
        raise ConfigurationError(name, values.min(), "step sizes > 0, because the conversion divides by them")


def _ratio(values: Array) -> Array:
    """values_k / values_{k-1}, and 0 for k = 0: there is no velocity before the first step."""
    ratio = np.zeros_like(values)
    ratio[1:] = values[1:] / values[:-1]
    return ratio
