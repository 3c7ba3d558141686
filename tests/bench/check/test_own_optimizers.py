"""An own rule that gives back other leaves than it was given: one line, exit code 2, nothing computed."""

import pytest

import bench.run
from bench.command import run_command
from shb.training import why_not

pytestmark = pytest.mark.usefixtures("plugins_forgotten")

RULES = """
import torch

from shb.optimizers import Optimizer, expand


def velocities(params, numbers, velocity=None):
    return {"v": {n: torch.zeros_like(w) for n, w in params.items()}}


def moved(params, grads, state, numbers):
    v = {n: expand(numbers["momentum"], w) * state["v"][n] - expand(numbers["lr"], w) * grads[n]
         for n, w in params.items()}
    return {n: w + v[n] for n, w in params.items()}, v


def right(params, grads, state, numbers, k):
    new, v = moved(params, grads, state, numbers)
    return new, {"v": v}


def uncast(params, grads, state, numbers, k):
    shape = lambda h, w: h.reshape(-1, *(1,) * (w.dim() - 1))
    v = {n: shape(numbers["momentum"], w) * state["v"][n] - shape(numbers["lr"], w) * grads[n]
         for n, w in params.items()}
    return {n: (w + v[n]).to(w.dtype) for n, w in params.items()}, {"v": v}


def uncast_parameter(params, grads, state, numbers, k):
    new, v = moved(params, grads, state, numbers)
    return {n: w.double() for n, w in new.items()}, {"v": v}


def narrow(params, grads, state, numbers, k):
    new, v = moved(params, grads, state, numbers)
    return new, {"v": {n: one.half() for n, one in v.items()}}


def summed(params, grads, state, numbers, k):
    new, v = moved(params, grads, state, numbers)
    return new, {"v": {n: one.flatten(1).sum(1) for n, one in v.items()}}


def without_state(params, grads, state, numbers, k):
    return moved(params, grads, state, numbers)[0], {}


def more_state(params, grads, state, numbers, k):
    new, v = moved(params, grads, state, numbers)
    return new, {"v": v, "steps": k}


def branching(params, grads, state, numbers, k):
    return (params, state) if k < 3 else right(params, grads, state, numbers, k)


def misspelt(params, grads, state, numbers, k):
    return {n: w - numbers["lrr"] * grads[n] for n, w in params.items()}, state


UPDATES = right, uncast, uncast_parameter, narrow, summed, without_state, more_state, branching, misspelt
OPTIMIZERS = [Optimizer(u.__name__, {"lr": 0.1, "momentum": 0.9}, velocities, u) for u in UPDATES]
"""
REFUSED = {  # -> what the line says besides the name of the rule
    "uncast": ["dtype of state v.", "=torch.float64: allowed is torch.float32", "expand(lr, w)"],
    "uncast_parameter": ["dtype of params ", "=torch.float64: allowed is torch.float32", "expand(lr, w)"],
    "narrow": ["dtype of state v.", "=torch.float16: allowed is torch.float32"],
    "summed": ["shape of state v.", "=[2]: allowed is [2, ", "expand(lr, w)"],
    "without_state": ["state v.", "=missing: allowed is torch.float32 [2, ", "every leaf"],
    "more_state": ["state steps=torch.int64 []: allowed is none", "every leaf"],
    "branching": ["without branches on k", "torch.where"],
    "misspelt": ["KeyError: 'lrr'"],
}
PROBLEMS = {"e1": ["problem=e1"], "mlp": ["dataset=diabetes", "model=mlp", "model.hidden=[2]"]}
SIZE = ["dtype=float32", "steps=4", "evaluations=2", "seeds=2", "device=cpu"]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(RULES)

    def run(rule, problem, *arguments):
        given = [*PROBLEMS[problem], *SIZE, f"plugins=[{folder / 'own.py'}]", f"optimizer={rule}", *arguments]
        return run_command(bench.run.main, [*given, f"results_dir={folder / 'results'}"]), folder / "results"

    return run


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_rule_that_gives_back_other_leaves_is_refused_before_any_compute(command, problem, engine, capsys):
    if engine == "compiled" and why_not() is not None:
        pytest.skip("nothing can be compiled here")
    for rule, words in REFUSED.items():
        code, folder = command(rule, problem, f"engine={engine}")
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), (rule, out, err)
        assert err.count("\n") == 1 and f"error: optimizer{'=' if '=' in err.split()[1] else ' '}{rule}" in err
        assert all(word in err for word in words), (rule, err)
        assert not list(folder.rglob("*.parquet"))


def test_nothing_of_a_matrix_is_computed_if_one_rule_is_refused(command, capsys):
    code, folder = command("right,uncast", "e1", "-m")
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and "optimizer uncast" in err and not list(folder.rglob("*.parquet"))


def test_the_rule_with_its_casts_runs(command, capsys):
    code, _ = command("right", "e1", "engine=eager")
    assert code == 0 and "2 members to compute" in capsys.readouterr().out
