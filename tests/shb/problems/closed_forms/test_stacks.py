"""Every closed form as a stack sees it: sampling, options, and 20 steps in every precision."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import shb
from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS
from shb.problems import (
    CLOSED_FORMS,
    E2,
    E5,
    E8,
    E9,
    E10,
    E11,
    E12,
    E13,
    E14,
    E15,
    ClosedForm,
    MaxAffinePlane,
    Quadratic,
)
from shb.training import Member, Plan, Stack
from tests.shb.problems.closed_forms.cases import CASES, HEAVY, PARETO, ROTATING, parametrize

CONF = Path(shb.__file__).resolve().parents[1] / "conf" / "problem"
ALL = [*CASES, HEAVY, PARETO, ROTATING]
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


@parametrize(cases=ALL)
def test_samples_do_not_depend_on_where_the_range_is_cut_nor_on_the_other_seeds(case):
    seeds = np.array([3, 0, 7])
    whole = case.problem.samples_of(seeds, 0, 200)
    assert whole.shape[:2] == (200, 3)
    for a, b in [(0, 64), (63, 65), (1, 199), (128, 129)]:
        assert torch.equal(case.problem.samples_of(seeds, a, b), whole[a:b])
    for column, seed in enumerate(seeds):
        assert torch.equal(case.problem.sample(int(seed), 60, 130), whole[60:130, column])
    if (
        case.label not in ("e5", "e11", "e11-rotation")
        and case.problem.name not in ("e14", "e15")
        and getattr(case.problem, "noise", "") != "none"
    ):
        assert not torch.equal(whole[:, 0], whole[:, 1])


@pytest.mark.parametrize(
    ("optimizer", "hyperparameters", "dtype"),
    [
        ("sgd", {}, torch.float64),
        ("shb", {"momentum": 0.9}, torch.float32),
        ("shb", {"momentum": 0.9}, torch.bfloat16),
        ("adam", ADAM, torch.float64),
        ("adam", ADAM, torch.float16),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_twenty_steps_in_a_stack_of_five(name, optimizer, hyperparameters, dtype):
    problem = CLOSED_FORMS[name](dtype=dtype, init="uniform", low=0.5, high=1.5)
    if optimizer == "adam" and dtype == torch.float16:
        hyperparameters = {**hyperparameters, "eps": 1e-4}  # 1e-8 is 0 in float16: 0 / 0 where a gradient is 0
    members = [Member(seed, {"lr": 0.01, **hyperparameters}) for seed in range(5)]
    results = Stack(problem, OPTIMIZERS[optimizer], members, Plan(20, evaluate_at=(10,))).run()
    assert len(results) == 5
    for trajectory in results:
        w = trajectory.parameters["w"]
        assert w.dtype == dtype
        if name == "e12":
            continue  # may overflow in half precision: the features have no mean
        assert trajectory.status == "done"
        rounding = {"rel": 4 * torch.finfo(dtype).eps, "abs": 4 * torch.finfo(dtype).eps}
        assert trajectory.metrics["clarke_distance"] == pytest.approx(problem.clarke_distance(w).item(), **rounding)
        assert trajectory.metrics["train_loss"] == pytest.approx(problem.objective(w).item(), **rounding)
    initial = problem.initial_parameters_of(np.arange(5))["w"]
    moved = torch.stack([trajectory.parameters["w"] for trajectory in results]) != initial
    assert moved.any()


def test_every_closed_form_has_a_configuration_with_its_defaults():
    for name, make in CLOSED_FORMS.items():
        assert make.name == name
        options = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        assert options.pop("name") == name
        if name in ("e5", "e6"):
            assert options == {"data": "pair"}
            continue
        defaults = {}
        for base in reversed(make.__mro__):
            if base is not ClosedForm and "__init__" in vars(base) and base is not object:
                parameters = inspect.signature(base.__init__).parameters.values()
                defaults |= {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        if name == "e9":
            defaults.pop("form")  # chosen by `order`
        assert options == json.loads(json.dumps(defaults))  # tuples as lists


WRONG = [
    (lambda: E2(noise="uniforn"), r"problem\.noise=uniforn.*did you mean uniform"),
    (lambda: E9(order="zero"), r"problem\.order=zero.*one of"),
    (lambda: CLOSED_FORMS["e7"](noise="gauss"), r"problem\.noise=gauss.*normal, signs"),
    (lambda: E8(law="normall"), r"problem\.law=normall.*did you mean normal"),
    (lambda: E8(ratio=1.0), r"problem\.ratio=1\.0.*\]0, 1\["),
    (lambda: E8(values=(1.0, 0.0)), r"problem\.values=.*other than 0"),
    (lambda: E8(values="ab"), r"problem\.values=ab.*list"),
    (lambda: E10(bias="none"), r"problem\.bias=none.*random, zero"),
    (lambda: E10(zero_share=1.0), r"problem\.zero_share=1\.0"),
    (lambda: E10(target=-1.0), r"problem\.target=-1\.0.*> 0"),
    (lambda: E11(kind="detach"), r"problem\.kind=detach.*did you mean detached"),
    (lambda: E11(g=0.5), r"problem\.g=0\.5"),
    (lambda: E12(target=float("inf")), r"problem\.target=inf"),
    (lambda: E13(tails="paretto"), r"problem\.tails=paretto.*did you mean pareto"),
    (lambda: E13(index=1.0), r"problem\.index=1\.0.*> 1"),
    (lambda: E13(sigma=-1.0), r"problem\.sigma=-1\.0.*>= 0"),
    (lambda: E14(winding=0.5), r"problem\.winding=0\.5.*>= 1"),
    (lambda: E14(width=0.0), r"problem\.width=0\.0.*> 0"),
    (lambda: E14(wave=1.5), r"problem\.wave=1\.5.*\[0, 1\]"),
    (lambda: E15(oracle="clark"), r"problem\.oracle=clark.*did you mean clarke"),
    (lambda: E15(levels=10), r"problem\.levels=10.*0 to 9"),
    (
        lambda: E15(oracle="gradient", dtype=torch.float32),
        r"dtype=float32: allowed is float64 with problem\.oracle=gra",
    ),
    (lambda: E15(levels=5, dtype=torch.bfloat16), r"dtype=bfloat16: allowed is float64 with problem\.levels=5"),
    (lambda: Quadratic(curvature=(1.0, -1.0)), r"problem\.curvature=.*> 0"),
    (lambda: Quadratic(curvature=()), r"problem\.curvature=\(\)"),
    (lambda: Quadratic(noise="cantorr"), r"problem\.noise=cantorr.*did you mean cantor"),
    (lambda: Quadratic(sigma=-1.0), r"problem\.sigma=-1\.0.*>= 0"),
    (lambda: Quadratic(noise="finite", atoms=1), r"problem\.atoms=1.*>= 2"),
    (lambda: Quadratic(noise="finite", atoms=2.5), r"problem\.atoms=2\.5.*whole"),
    (lambda: Quadratic(curvature=(1.0, 2.0), init="point", value=(1.0, 2.0, 3.0)), r"init\.value=.*list of 2"),
    (lambda: MaxAffinePlane(slopes=((1, 0), (0, 1), (1, 1)), offsets=(0, 0, 0)), r"problem\.slopes=.*half plane"),
    (lambda: MaxAffinePlane(slopes=((1, 0), (0, 1)), offsets=(0, 0)), r"problem\.slopes=.*3 to 16"),
    (lambda: MaxAffinePlane(offsets=(0, 0)), r"problem\.offsets=.*5 finite numbers"),
    (
        lambda: MaxAffinePlane(slopes=((1, 0), (-1, 1), (-1, -1), (1, 0)), offsets=(0,) * 4),
        r"problem\.slopes=.*distinct",
    ),
    (lambda: E5(torch.ones(3, 2), torch.ones(3)), r"x=rank 1.*2 independent features"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_options_are_refused_with_one_line(make, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_wrong_initialisations_are_refused_by_every_problem(make):
    with pytest.raises(ConfigurationError, match=f"init=kaiming.*for problem={make.name}"):
        make(init="kaiming")
    with pytest.raises(ConfigurationError, match="relu_derivative=2"):
        make(relu_derivative=2)
