"""CL1: each form of momentum makes the steps of Polyak's form with the converted numbers (theory.md section 1).

Every form runs on the same stochastic quadratic, g_k = h w_k + xi_k with h ~ U[0.5, 2]^5 and xi_k ~ N(0, 1): a gradient
that depends on w lets an error of the conversion grow. lr_k = a (1 + k / 20)^-q times a factor U[0.5, 1.5], and
momentum_k ~ U[0.5, 0.95] are new at every step. The column `FORM_converted` is max_k |w_k - w_k'| between the form and
Polyak's recursion with converted numbers, `FORM_unconverted` the same with equal numbers in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.equivalences.exact import held, largest, within
from bench.claims.experiment import Experiment, measure
from shb.optimizers import conversions, get_optimizer
from shb.streams import stream

SIZE = 5  # coordinates
TOLERANCE = 1e-10  # predicted largest difference
BETA2, EPS = 0.99, 1e-8  # of Adam

FORMS = (  # (columns, statement, what the control changed)
    ("velocity", "The velocity form (Keras, Sutskever) is Polyak's form.", "started at rest instead"),
    ("torch", "torch.optim.SGD with momentum and dampening is Polyak's form.", "same lr and momentum in both"),
    ("torch_back", "Polyak's form is torch.optim.SGD with momentum.", "same lr and momentum in both"),
    ("ema", "Momentum as a moving average (EMA) is Polyak's form.", "same lr and momentum in both"),
    ("nesterov", "torch's Nesterov momentum is Polyak's form with two gradients.", "sold as the heavy ball"),
    ("adam", "torch.optim.Adam is Polyak's form with its own numbers in every coordinate.", "one lr for all"),
    ("constant", "At constant lr and momentum torch.optim.SGD needs no conversion.", "lr varies instead"),
)


class _Instance:
    """One random quadratic with its schedules, and the recursions that run on it: arrays w_1 .. w_K, [K, SIZE]."""

    def __init__(self, seed: int, steps: int) -> None:
        generator = stream(seed, "claim")
        self.h = generator.uniform(0.5, 2.0, SIZE)
        self.noise = generator.standard_normal((steps, SIZE))
        self.w0, self.velocity0 = generator.standard_normal((2, SIZE))
        decay = (1 + np.arange(steps) / 20) ** -generator.uniform(0.5, 1.0)
        self.lr = 0.1 * decay * generator.uniform(0.5, 1.5, steps)
        self.momentum = generator.uniform(0.5, 0.95, steps)
        self.dampening = generator.uniform(0.0, 0.5, steps)

    def gradient(self, w: np.ndarray, k: int) -> np.ndarray:
        return self.h * w + self.noise[k]

    def polyak(self, alpha: np.ndarray, beta: np.ndarray, previous: np.ndarray | None = None) -> np.ndarray:
        """(P), written out, with alpha and beta [K] or [K, SIZE]."""
        w, before = self.w0, self.w0 if previous is None else previous
        path = []
        for k in range(len(alpha)):
            w, before = w - alpha[k] * self.gradient(w, k) + beta[k] * (w - before), w
            path.append(w)
        return np.array(path)

    def two_gradients(self, form: conversions.Nesterov) -> np.ndarray:
        w = before = self.w0
        path, old = [], np.zeros(SIZE)
        for k in range(len(self.noise)):
            g = self.gradient(w, k)
            w, before = w + form.momentum * (w - before) - form.current * g - form.previous * old, w
            old = g
            path.append(w)
        return np.array(path)

    def rule(self, name: str, velocity: np.ndarray | None = None, **numbers: np.ndarray | float) -> np.ndarray:
        """The project's rule `name`; numbers are [K] or scalars."""
        rule, path = get_optimizer(name), []
        tables = {n: np.broadcast_to(v, len(self.noise)) for n, v in rule.complete(numbers).items()}
        params = {"w": torch.from_numpy(self.w0)}
        options = {} if velocity is None else {"velocity": {"w": torch.from_numpy(velocity)}}
        state = None
        for k in range(len(self.noise)):
            step = {n: torch.tensor(table[k], dtype=torch.float64) for n, table in tables.items()}
            state = rule.init(params, step, **options) if state is None else state
            grads = {"w": torch.from_numpy(self.gradient(params["w"].numpy(), k))}
            params, state = rule.update(params, grads, state, step, k)
            path.append(params["w"].numpy())
        return np.array(path)

    def torch(self, make: Callable[..., torch.optim.Optimizer], **numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """An optimizer of torch.optim whose `numbers` [K] are set before each step: the path, and Adam's v_hat."""
        w, path, v_hat = torch.nn.Parameter(torch.from_numpy(self.w0.copy())), [], []
        optimizer = make([w])
        for k in range(len(self.noise)):
            optimizer.param_groups[0].update({name: float(values[k]) for name, values in numbers.items()})
            w.grad = torch.from_numpy(self.gradient(w.detach().numpy(), k))
            optimizer.step()
            path.append(w.detach().numpy().copy())
            if "exp_avg_sq" in optimizer.state[w]:
                v_hat.append(optimizer.state[w]["exp_avg_sq"].numpy() / (1 - BETA2 ** (k + 1)))
        return np.array(path), np.array(v_hat)


def _differences(one: _Instance) -> dict[str, float]:
    lr, momentum, dampening = one.lr, one.momentum, one.dampening
    flat, mu = np.full_like(lr, lr[0]), float(momentum[0])

    def heavy_ball(alpha: np.ndarray, beta: np.ndarray | float) -> np.ndarray:
        return one.rule("shb", lr=alpha, momentum=beta)

    def sgd(w: list) -> torch.optim.Optimizer:
        return torch.optim.SGD(w, lr=0.1, momentum=0.9)

    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def compare(form: str, ours: np.ndarray, *others: np.ndarray) -> None:
        pairs[form] = [(ours, other) for other in others]

    keras, u = [], one.velocity0
    w = one.w0
    for k in range(len(lr)):
        u = momentum[k] * u - lr[k] * one.gradient(w, k)
        w = w + u
        keras.append(w)
    keras = np.array(keras)
    polyak = conversions.velocity_to_polyak(lr, momentum, one.w0, one.velocity0)
    back = conversions.polyak_to_velocity(*polyak[:2], one.w0, polyak.previous)
    ours = one.rule("shb", velocity=back.velocity, lr=back.lr, momentum=back.momentum)
    compare("velocity_converted", keras, one.polyak(*polyak), ours)
    compare("velocity_unconverted", keras, one.polyak(lr, momentum))

    theirs, _ = one.torch(sgd, lr=lr, momentum=momentum, dampening=dampening)
    alpha, beta = conversions.torch_to_polyak(lr, momentum, dampening)
    ours = one.rule("torch_momentum", lr=lr, momentum=momentum, dampening=dampening)
    compare("torch_converted", theirs, one.polyak(alpha, beta), heavy_ball(alpha, beta), ours)
    compare("torch_unconverted", theirs, heavy_ball(lr, momentum))

    theirs = dict(zip(("lr", "momentum"), conversions.polyak_to_torch(lr, momentum)))
    theirs["momentum"][0] = mu  # any but 0, for which torch would keep no buffer, and forget the first step
    compare("torch_back_converted", heavy_ball(lr, momentum), one.torch(sgd, **theirs)[0])
    compare("torch_back_unconverted", heavy_ball(lr, momentum), one.torch(sgd, lr=lr, momentum=momentum)[0])

    ema = one.rule("ema_momentum", lr=lr, momentum=momentum)
    alpha, beta = conversions.ema_to_polyak(lr, momentum)
    compare("ema_converted", ema, one.polyak(alpha, beta), heavy_ball(alpha, beta))
    compare("ema_unconverted", ema, heavy_ball(lr, momentum))

    theirs, _ = one.torch(lambda w: torch.optim.SGD(w, lr=lr[0], momentum=mu, nesterov=True))
    ours = one.rule("nesterov", lr=lr[0], momentum=mu)
    compare("nesterov_converted", theirs, one.two_gradients(conversions.nesterov_to_polyak(lr[0], mu)), ours)
    compare("nesterov_unconverted", theirs, heavy_ball(flat, mu))

    theirs, v_hat = one.torch(lambda w: torch.optim.Adam(w, lr=lr[0], betas=(mu, BETA2), eps=EPS), lr=lr)
    ours = one.rule("adam", lr=lr, beta1=mu, beta2=BETA2, eps=EPS)
    compare("adam_converted", theirs, one.polyak(*conversions.adam_to_polyak(lr, mu, EPS, v_hat)), ours)
    compare("adam_unconverted", theirs, heavy_ball((1 - mu) * lr, mu))

    theirs, _ = one.torch(lambda w: torch.optim.SGD(w, lr=lr[0], momentum=mu))
    compare("constant_converted", theirs, one.polyak(flat, np.full_like(lr, mu)), heavy_ball(flat, mu))
    varying, _ = one.torch(lambda w: torch.optim.SGD(w, lr=lr[0], momentum=mu), lr=lr)
    compare("constant_unconverted", varying, heavy_ball(lr, mu))
    return {name: max(float(np.abs(a - b).max()) for a, b in own) for name, own in pairs.items()}


@measure("momentum_forms")
def differences(settings: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
    """One random instance per seed; columns FORM_converted and FORM_unconverted [n] (module docstring)."""
    rows = [_differences(_Instance(int(seed), settings["steps"])) for seed in seeds]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    seeds = protocol["seeds"]
    return {"forms": Experiment("momentum_forms", {"steps": protocol["steps"]}, seeds, seconds=0.15 * seeds)}


def parts(protocol: Protocol, results: Results) -> list[Part]:
    columns = results["forms"]
    rows = []
    for form, statement, change in FORMS:
        converted, unconverted = columns[f"{form}_converted"], columns[f"{form}_unconverted"]
        rows.append(
            Part(
                statement,
                "section 1 (this project)",
                within("largest difference of two paths", TOLERANCE),
                held(converted, TOLERANCE),
                (Control(change, held(unconverted, TOLERANCE)),),
                of=("forms",),
                note=f"Largest difference {largest(converted)}, unconverted {largest(unconverted)}.",
            )
        )
    return rows


CLAIM = Claim(
    "CL1",
    "equivalences",
    "All forms of momentum are Polyak's heavy ball after conversion of their numbers.",
    "section 1 (this project)",
    experiments,
    parts,
)
