"""Wrong worlds: each defect, planted alone, must change a verdict or silence a control of a claim that it concerns.

A defect is planted in the library (not in the claims), the claim's experiments run in that world, and its verdicts are
compared with those of the right world. `docs/claims.md` shows the table.
"""

import dataclasses
import functools

import numpy as np
import pytest
import torch

import bench.cell.problem
import bench.claims.trajectories
import shb.optimizers
import shb.schedules
import shb.training.stack
from bench.cell.groups import VelocityConfig
from bench.cell.problem import DTYPES, build_problem
from shb.models import MODELS
from shb.optimizers import OPTIMIZERS, adam
from shb.problems import ClosedForm, closed_forms
from shb.training.step import forget_programs
from tests.bench.claims.synthetic import verdicts_of

pytestmark = pytest.mark.slow


def forget():
    """Drop everything that a previous world left in caches."""
    for cache in (build_problem, bench.claims.trajectories.cell_of):
        cache.cache_clear()
    forget_programs()


@pytest.fixture
def world(monkeypatch):
    """monkeypatch, with the caches emptied before and after."""
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()


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


SIZES = {  # of the claims that see the defects: small, yet SUPPORTED in the right world
    "CL1": {"seeds": 200, "steps": 12},
    "CL2": {"seeds": 200, "steps": 60},
    "CL3": {"seeds": 200},
    "CL14": {"steps": 4096, "noisy_steps": 256, "seeds": 1000, "control_seeds": 100},
    "CL19": {"seeds": 256, "effective_steps": [0.04, 0.01, 0.0025]},
    "CL22": {"seeds": 8000, "control_seeds": 200, "steps": 20},
    "CL25": {"seeds": 10_000, "steps": 20},
    "CL29": {"seeds": 10_000, "steps": 20},
    "CL47": {
        "seeds": 120,
        "chunk": 120,
        "steps": 100,
        "curve_seeds": 2,
        "rows": 200,
        "margin": 0.1,
        "lr": {"sgd": 1.0, "shb": 0.1, "adam": 0.05},
        "networks": {"digits": ["model.hidden=[4]", "dataset=digits"]},
        "seconds": 1e-4,
    },
}
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
}


def outcome(claim):
    """Part -> verdict and controls, of the claim in the present world."""
    from bench.claims.catalogue import CLAIMS
    from bench.claims.claim import Protocol
    from bench.claims.experiment import MEASURES

    protocol = Protocol("quick", SIZES[claim])
    results = {}
    for name, one in CLAIMS[claim].experiments(protocol).items():
        columns = MEASURES[one.measure].function(one.settings, np.arange(one.first_seed, one.first_seed + one.seeds))
        results[name] = {key: np.asarray(values, np.float64) for key, values in columns.items()}
    return verdicts_of(claim, SIZES[claim], results)


@functools.cache
def right_world(claim):
    forget()
    return outcome(claim)


@pytest.mark.parametrize("claim", sorted(SIZES))
def test_the_right_world_supports(claim):
    found = right_world(claim)
    assert found
    assert {verdict for verdict, _ in found.values()} == {"SUPPORTED"}, found


@pytest.mark.parametrize(("defect", "claim"), DEFECTS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_defect_is_seen(defect, claim, world):
    right = right_world(claim)
    forget()
    defect(world)
    wrong = outcome(claim)
    changed = {part: (right[part], wrong[part]) for part in right if right[part] != wrong[part]}
    assert changed, f"{defect.__name__} changed nothing in {claim}"


def test_there_are_at_least_twelve():
    assert len(DEFECTS) >= 12
