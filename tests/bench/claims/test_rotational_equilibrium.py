"""CL53: the laws on vectors of known gradients, verdicts on made-up columns, the blocks, a tiny run, the figure."""

import functools

import numpy as np
import pytest
import torch

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.convergence import rotational_equilibrium as equilibrium
from bench.claims.convergence.rotation import Rotation
from bench.claims.figures import convergence as figures
from shb.models import built, mlp, transformer
from shb.training import Plan, StackStep
from tests.bench.claims.synthetic import run_tiny, verdicts_of

ARMS = ["0.0", "0.5", "0.9", equilibrium.FREE, equilibrium.PLAIN, equilibrium.DECOUPLED]
SIZES = {
    "seeds": 12,
    "batch_size": 16,
    "effective_step": 0.3,
    "decay": 0.01,
    "steps": {"net": 2000},
    "arms": {"net": ARMS},
    "networks": {"net": ["model.hidden=[8,8]", "model.norm=layer", "dataset=digits"]},
    "seconds": {"net": 1e-4},
}
PROTOCOL = Protocol("quick", SIZES)
MLP = {"first": ["1.weight", "1.bias"], "second": ["4.weight", "4.bias"], "last": ["7.weight", "7.bias"]}


def simulated(beta, decoupled=False, coloured=False, free=False, members=64, size=40, steps=4000):
    """The columns of one block w whose gradients are random and orthogonal to w, of size 1 / |w|."""
    eta, decay = equilibrium.step_size(PROTOCOL, beta), SIZES["decay"] / ((1 - beta) if decoupled else 1)
    decay = 0.0 if free else decay
    generator = torch.Generator().manual_seed(0)
    observer = Rotation(None, Plan(steps), {"block": ["w"]}, steps // 2)
    w = previous = torch.randn(members, size, generator=generator, dtype=torch.float64) / 2
    buffer = torch.zeros_like(w)
    observer.start({"w": w})
    for k in range(steps):
        g = torch.randn(members, size, generator=generator, dtype=torch.float64)
        if coloured:
            g = g + 3.0 * (w - previous) / (w - previous).norm(dim=1, keepdim=True).clamp(min=1e-9)
        g = g - (g * w).sum(1, keepdim=True) / (w * w).sum(1, keepdim=True) * w
        g = g / w.norm(dim=1, keepdim=True)
        buffer = beta * buffer + g + (0 if decoupled else decay * w)
        new = (w * (1 - eta * decay) if decoupled else w) - eta * buffer
        observer(StackStep(k, {"w": w}, {"w": g}, {"w": new}, {}))
        previous, w = w, new
    return {name: value.numpy() for name, value in observer.columns().items()}


@pytest.mark.parametrize("coloured", [False, True], ids=["white", "coloured"])
@pytest.mark.parametrize("arm", ["0.0", "0.5", "0.9", equilibrium.DECOUPLED])
def test_the_angle_law_is_exact_whatever_the_gradients_are(arm, coloured):
    columns = simulated(equilibrium.momentum_of(arm), arm == equilibrium.DECOUPLED, coloured)
    assert equilibrium.angle_ratio(PROTOCOL, columns, "block", arm).mean() == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_the_norm_has_the_memory_of_the_gradients():
    for beta in (0.0, 0.9):
        white = simulated(beta)
        assert equilibrium.norm_ratio(PROTOCOL, white, "block", beta).mean() == pytest.approx(1, abs=0.02)
    coloured = simulated(0.9, coloured=True)
    assert equilibrium.norm_ratio(PROTOCOL, coloured, "block", 0.9).mean() < 0.8
    assert equilibrium.norm_ratio(PROTOCOL, coloured, "block", 0.9, white=False).mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("coloured", [False, True], ids=["white", "coloured"])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_without_decay_the_square_grows_like_the_root_of_time(beta, coloured):
    growth = equilibrium.growth(simulated(beta, coloured=coloured, free=True), "block")
    assert growth.mean() == pytest.approx(equilibrium.GROWTH, abs=0.02)


@pytest.mark.parametrize(
    ("model", "network"),
    [
        (functools.partial(mlp, (1, 8, 8), 10, hidden=[8, 8], norm="layer"), ("model.hidden=[8,8]",)),
        (functools.partial(transformer, (1, 8, 8), 10, width=8, heads=2), ("model=transformer",)),
    ],
    ids=["mlp", "transformer"],
)
def test_gradients_of_invariant_blocks_are_orthogonal_to_them(model, network):
    module, x = model().double(), torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    values = {name: value.double() for name, value in built(model, 3).items()}

    def loss(params):
        return torch.func.functional_call(module, params, (x,)).pow(2).sum()

    gradients = torch.func.grad(loss)(values)
    cosines = {}
    for block, names in equilibrium.blocks(network).items():
        w, g = (torch.cat([one[name].flatten() for name in names]) for one in (values, gradients))
        cosines[block] = abs(float(w @ g / (w.norm() * g.norm())))
    last = cosines.pop(equilibrium.LAST)
    assert max(cosines.values()) < 1e-3 < last  # the eps of the normalisation


def arm(**changes):
    """Columns [12] of an arm in which everything is as predicted, for the blocks of MLP."""
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(12)
    columns = {}
    for block in MLP:
        one = {"turn": 1.0, "square": 1.0, "gradient": 1.0, "memory": 0.0, "before": 1.0, "after": 1.0} | changes
        columns |= {f"{block}_{name}": value * noise for name, value in one.items()}
    return columns


def world(*changes):
    """The claim's world; `changes`: (arm, column, factor)."""
    gradient = 2 * SIZES["decay"] / SIZES["effective_step"]
    results = {}
    for name in ARMS:
        turn = equilibrium.turn(PROTOCOL, equilibrium.momentum_of(name), name == equilibrium.DECOUPLED)
        results[f"net {name}"] = arm(turn=turn, gradient=gradient)
    moved = np.linspace(0.95, 1.05, 12)  # |w|^2 wanders in equilibrium
    factors = [(name, "last_turn", 0.1) for name in ARMS] + [(name, "last_square", 5.0) for name in ARMS]
    for block in MLP:
        factors += [("0.9", f"{block}_after", moved), (equilibrium.PLAIN, f"{block}_turn", 0.3)]
        factors += [(equilibrium.FREE, f"{block}_{what}", by) for what, by in (("turn", 0.05), ("square", 20.0))]
        factors += [(equilibrium.FREE, f"{block}_after", 2**0.5 * moved)]
    for name, column, factor in [*factors, *changes]:
        results[f"net {name}"][column] = results[f"net {name}"][column] * factor
    return results


def verdicts(*changes):
    found = verdicts_of("CL53", SIZES, world(*changes))
    return {part.removeprefix("CL53"): verdict for part, (verdict, _) in found.items()}


def test_the_world_of_the_claim_is_supported():
    assert verdicts() == dict.fromkeys("abcdef", "SUPPORTED")


@pytest.mark.parametrize(
    ("change", "others"),
    [
        (("0.5", "first_turn", 1.9), {"a": "REFUTED"}),
        (("0.0", "second_square", 0.7), {"b": "REFUTED"}),
        (("0.9", "second_square", 0.7), {"c": "REFUTED", "d": "REFUTED"}),
        (("no decay", "first_after", 0.5**0.5), {"e": "REFUTED"}),  # bounded
        (("no decay", "first_after", 2**0.5), {"e": "REFUTED"}),  # |w|^2 like k
        (("decoupled", "first_turn", 10.0), {"f": "REFUTED"}),
        (("decoupled", "last_turn", 10.0), {"f": "VOID"}),
        (("no decay", "second_turn", 20.0), {"a": "VOID"}),
        (("0.9", "second_after", 2**0.5), {"e": "VOID"}),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_another_world_has_another_verdict(change, others):
    assert {part: verdict for part, verdict in verdicts(change).items() if verdict != "SUPPORTED"} == others


def test_without_its_data_the_claim_is_out_of_scope():
    (part,) = CLAIMS["CL53"].parts(PROTOCOL, {})
    assert part.id == "CL53" and part.out_of_scope == "data set absent, for net"


@pytest.fixture(scope="module")
def tiny():
    return run_tiny("CL53", SIZES | {"seeds": 3, "steps": {"net": 60}})


@pytest.mark.slow
def test_a_tiny_run_has_all_parts(tiny):
    results, parts = tiny
    assert [part.id for part in parts] == [f"CL53{letter}" for letter in "abcdef"]
    assert all(np.isfinite(values).all() for columns in results.values() for values in columns.values())
    assert (results["net no decay"]["first_after"] > results["net no decay"]["first_before"]).all()


@pytest.mark.slow
def test_the_figure_has_the_law_and_every_block(tiny):
    protocol = Protocol("quick", SIZES | {"seeds": 3, "steps": {"net": 60}})
    drawn = figures.figure({"CL53": protocol}, {"CL53": tiny[0]})
    (ax,) = drawn.axes
    assert len(ax.containers) == len(MLP)
    (law,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert law.get_ydata()[0] == 1 and law.get_ydata()[-1] == pytest.approx(0.5**0.5)
