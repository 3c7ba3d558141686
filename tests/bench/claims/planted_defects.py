"""Wrong worlds, one function each: planted in the library (not in the claims), and the claim that must see it."""

import dataclasses
import functools
import sys

import numpy as np
import torch

import bench.cell.problem
import bench.claims.practice.tuned
import bench.claims.trajectories
import shb.optimizers
import shb.schedules
import shb.training.stack
from bench.cell.groups import VelocityConfig
from bench.cell.problem import DTYPES, build_problem
from bench.claims.precision import rounding_stall
from shb.models import MODELS
from shb.optimizers import OPTIMIZERS, adam, clipping, weight_decay
from shb.problems import ClosedForm, closed_forms
from shb.problems.closed_forms import additive
from shb.training.step import forget_programs


def forget():
    """Drop everything that a previous world left in caches."""
    for cache in (
        bench.claims.practice.tuned.best,
        bench.claims.trajectories.cell_of,
        build_problem,
        clipping.with_clipping,
        rounding_stall.thresholds,
        weight_decay._extended,
    ):
        cache.cache_clear()
    forget_programs()


def rule(world, name, other):
    """The optimizer `name` becomes the rule `other` under its old name."""
    world.setitem(OPTIMIZERS, name, dataclasses.replace(other, name=name))


def momentum_sign(world):
    right = OPTIMIZERS["shb"]

    def update(params, grads, state, numbers, k):
        return right.update(params, grads, state, {**numbers, "momentum": -numbers["momentum"]}, k)

    rule(world, "shb", dataclasses.replace(right, update=update))


def unconverted_torch_momentum(world):
    rule(world, "shb", OPTIMIZERS["torch_momentum"])
    right = OPTIMIZERS["shb"]
    world.setitem(
        OPTIMIZERS,
        "shb",
        dataclasses.replace(
            right,
            hyperparameters={"lr": None, "momentum": 0.9},
            update=lambda p, g, s, n, k: right.update(p, g, s, {**n, "dampening": 0 * n["lr"]}, k),
        ),
    )


def nesterov_sold_as_shb(world):
    rule(world, "shb", OPTIMIZERS["nesterov"])


def adam_without_bias_correction(world):
    right = OPTIMIZERS["adam"]

    def update(params, grads, state, numbers, k):
        corrected = {**state, **{f"{b}_product": torch.zeros_like(state[f"{b}_product"]) for b in ("beta1", "beta2")}}
        return right.update(params, grads, corrected, numbers, k)

    assert right.update is adam.update
    rule(world, "adam", dataclasses.replace(right, update=update))


def options_of_closed_forms(world, changes):
    """Every closed form that is written with the ReLU itself gets other options."""
    start = ClosedForm.__init__

    @functools.wraps(start)  # its parameters are the fields of the problem
    def init(self, **options):
        changed = changes(options) if getattr(self, "form", "relu") == "relu" else {}
        start(self, **{**options, **changed})

    world.setattr(ClosedForm, "__init__", init)


def relu_derivative_one(world):
    options_of_closed_forms(world, lambda options: {"relu_derivative": options.get("relu_derivative") or 1.0})


def networks_with_another_relu_derivative(world):
    right = MODELS["adapter"]

    @functools.wraps(right)
    def wrong(*args, relu_derivative=0.0, **options):
        return right(*args, relu_derivative=relu_derivative or 0.5 * (options["form"] == "relu"), **options)

    world.setitem(MODELS, "adapter", wrong)


def injected_rule_sold_as_chain(world):
    options_of_closed_forms(world, lambda options: {"relu_rule": "injected"})


def wrong_clock(world):
    from bench.claims.inclusion import tracking

    world.setattr(tracking, "effective_step", lambda alpha, beta: np.asarray(alpha) * (1 + beta) / (1 - beta))


def constant_step_sold_as_decaying(world):
    power = shb.schedules.SCHEDULES["power"]
    world.setitem(
        shb.schedules.SCHEDULES, "power", dataclasses.replace(power, factor=lambda k, steps, q, k0: (1 + k0) ** -q)
    )


def seeds_reused(world):
    for problem in closed_forms.CLOSED_FORMS.values():
        right = problem.samples_of
        world.setattr(problem, "samples_of", lambda self, seeds, a, b, f=right: f(self, 0 * seeds, a, b))


def random_velocity_where_zero_is_claimed(world):
    right = bench.claims.trajectories.build_cell

    def build(config):
        moving = OPTIMIZERS[config.optimizer.name].takes_velocity
        return right(dataclasses.replace(config, velocity=VelocityConfig("normal", 1.0)) if moving else config)

    world.setattr(bench.claims.trajectories, "build_cell", build)


def float32_where_float64_is_claimed(world):
    world.setitem(DTYPES, "float64", torch.float32)
    options_of_closed_forms(world, lambda options: {"dtype": torch.float32})


def biased_sampler(world):
    from shb.problems.closed_forms import closed_form
    from shb.streams import blocked_words, uniform

    def signs(seeds, name, start, stop):
        return np.where(uniform(blocked_words(seeds, name, start, stop)[:, 0]) < 0.6, 1, -1).astype(np.int8)

    world.setattr(closed_form, "signs", signs)


def initialisation_not_random(world):
    world.setattr(
        ClosedForm,
        "initial_parameters_of",
        lambda self, seeds: {"w": torch.zeros(len(seeds), self.size, dtype=self.dtype)},
    )


def touching_sold_as_trapping(world):
    advance = shb.training.stack.Stack.advance

    def touched(self, state, start, stop, observe=None):
        advance(self, state, start, stop, observe)
        if "touched" in state:
            state["trapped"] = state["touched"].clone()

    world.setattr(shb.training.stack.Stack, "advance", touched)


def momentum_ignored(world):
    right = OPTIMIZERS["shb"]

    def update(params, grads, state, numbers, k):
        return right.update(params, grads, state, {**numbers, "momentum": 0 * numbers["momentum"]}, k)

    rule(world, "shb", dataclasses.replace(right, update=update))


def cosine_that_never_falls(world):
    right = shb.schedules.SCHEDULES["cosine"]
    world.setitem(shb.schedules.SCHEDULES, "cosine", dataclasses.replace(right, factor=lambda k, steps, final: 1.0))


def clipping_after_the_momentum(world):
    """The step of the rule is clipped instead of the gradient: in the long run nothing is, for steps are small."""

    def update(rule, by, params, grads, state, numbers, k):
        new, state = rule.update(params, grads, state, numbers, k)
        moved = clipping.CLIPS[by]({n: new[n] - w for n, w in params.items()}, numbers[clipping.AT])
        return {n: w + moved[n] for n, w in params.items()}, state

    world.setattr(clipping, "_clipped", update)


def weight_decay_of_the_other_form(world):
    world.setattr(weight_decay, "_decoupled", weight_decay._coupled)
    forget()


def momentum_halved(world):
    right = OPTIMIZERS["shb"]

    def update(params, grads, state, numbers, k):
        return right.update(params, grads, state, {**numbers, "momentum": 0.5 * numbers["momentum"]}, k)

    rule(world, "shb", dataclasses.replace(right, update=update))


def gradients_dampened(world):
    right = OPTIMIZERS["shb"]

    def update(params, grads, state, numbers, k):
        return right.update(params, grads, state, {**numbers, "lr": (1 - numbers["momentum"]) * numbers["lr"]}, k)

    rule(world, "shb", dataclasses.replace(right, update=update))


def one_permutation_for_all_epochs(world):
    """The epoch does not reach the sampler, which shuffles once (as without DistributedSampler.set_epoch)."""
    right = additive.words
    world.setattr(additive, "words", lambda seeds, name, epoch, count: right(seeds, name, 0, count))


def averaged_gradients_sold_as_shb(world):
    rule(world, "shb", OPTIMIZERS["ema_momentum"])


def gaussian_noise_sold_as_pareto(world):
    from shb.problems.closed_forms import heavy_tails
    from shb.streams import normal

    world.setattr(heavy_tails, "pareto", lambda words, index: normal(words))


def spiral_without_its_sine(world):
    right = closed_forms.E14.__init__

    @functools.wraps(right)
    def init(self, *, wave=1.0, **options):
        right(self, wave=0.0 * wave, **options)

    world.setattr(closed_forms.E14, "__init__", init)


def gradient_sold_as_clarke_subgradient(world):
    right = closed_forms.E15.__init__

    @functools.wraps(right)
    def init(self, *, oracle="clarke", **options):
        right(self, oracle="gradient", **options)

    world.setattr(closed_forms.E15, "__init__", init)


def saddle_without_negative_curvature(world):
    world.setattr(closed_forms.E16, "objective", lambda self, w: w[..., 0].abs() + w[..., 1] * w[..., 1])


def garbage_at_kinks(world):
    """Where an input of a ReLU is exactly 0, its backward pass forgets which units are off."""
    from shb.nonsmooth import relu

    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        kink = (x == 0).any(-1, keepdim=True) if x.dim() else x == 0
        return torch.where((x > 0) | kink, upstream, torch.zeros_like(upstream)), None, None

    world.setattr(sys.modules[relu.__module__]._ReLU, "backward", staticmethod(backward))


def biases_of_few_bits(world):
    from bench.claims.precision import summation

    right = summation.draw_parameters

    def draw(*args, **options):
        drawn = right(*args, **options)
        return {name: summation.rounded(p, 8) if name.endswith("bias") else p for name, p in drawn.items()}

    world.setattr(summation, "draw_parameters", draw)


def velocity_of_rounded_weights(world):
    """The heavy ball keeps w_{k-1} in place of the velocity: what rounding takes from w is lost to the velocity."""
    right = OPTIMIZERS["shb"]

    def update(params, grads, state, numbers, k):
        new, _ = right.update(params, grads, state, numbers, k)
        return new, {"velocity": {name: new[name] - w for name, w in params.items()}}

    rule(world, "shb", dataclasses.replace(right, update=update))


DEFECTS = {
    momentum_sign: "CL1",
    unconverted_torch_momentum: "CL14",
    nesterov_sold_as_shb: "CL14",
    adam_without_bias_correction: "CL1",
    momentum_ignored: "CL25",
    relu_derivative_one: "CL22",
    networks_with_another_relu_derivative: "CL47",
    injected_rule_sold_as_chain: "CL22",
    wrong_clock: "CL19",
    constant_step_sold_as_decaying: "CL14",
    seeds_reused: "CL29",
    random_velocity_where_zero_is_claimed: "CL22",
    float32_where_float64_is_claimed: "CL3",
    biased_sampler: "CL29",
    initialisation_not_random: "CL25",
    touching_sold_as_trapping: "CL25",
    cosine_that_never_falls: "CL52",
    clipping_after_the_momentum: "CL54",
    weight_decay_of_the_other_form: "CL53",
    momentum_halved: "CL48",
    gradients_dampened: "CL49",
    one_permutation_for_all_epochs: "CL50",
    averaged_gradients_sold_as_shb: "CL51",
    gaussian_noise_sold_as_pareto: "CL55",
    spiral_without_its_sine: "CL59",
    gradient_sold_as_clarke_subgradient: "CL60",
    saddle_without_negative_curvature: "CL61",
    garbage_at_kinks: "CL56",
    biases_of_few_bits: "CL57",
    velocity_of_rounded_weights: "CL58",
}
