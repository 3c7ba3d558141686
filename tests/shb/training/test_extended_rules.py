"""Rules with weight decay and clipping in both engines: the bit rule, tapes, and loops over many steps."""

from functools import partial

import pytest
import torch

from shb.errors import ConfigurationError
from shb.models import mlp
from shb.optimizers import OPTIMIZERS, descend, get_optimizer, with_clipping, with_weight_decay
from shb.problems import E1, LearningProblem
from shb.training import Checkpoint, Member, Plan, Stack, stack, why_not
from shb.training.step import Step, step_of
from tests.shb.problems.tiny import cnn_2d_problem, mlp_problem, same_bits, tiny_dataset
from tests.shb.training.interruption import Interrupted, interrupt_after

LR = {"sgd": 0.1, "shb": 0.03, "nesterov": 0.03, "adam": 0.003}
PLAN = Plan(67, schedule="power", evaluate_at=(0, 5, 40, 64))
ENGINES = [
    "eager",
    pytest.param("compiled", marks=pytest.mark.skipif(why_not() is not None, reason=f"not compiled: {why_not()}")),
]
CASES = [  # problem, rule, decoupled, clip
    (mlp_problem, "shb", True, "norm"),
    (mlp_problem, "adam", False, "value"),
    pytest.param(cnn_2d_problem, "nesterov", False, "norm", marks=pytest.mark.slow),
    (E1, "sgd", True, "norm"),
    (E1, "shb", False, "value"),
]


def extended(name, decoupled, clip):
    return with_clipping(with_weight_decay(get_optimizer(name), decoupled), clip)


def members_of(rule, count, seeds=2):
    """Every member has another lr, decay and level; every third has no decay."""
    numbers = [
        {"lr": LR[rule.name] * (1 + i) / 10, "weight_decay": 0.01 * (i % 3), "clip.at": 0.02 * (1 + i)}
        for i in range(count)
    ]
    schedule = {"schedule.q": 0.6, "schedule.k0": 1.0}
    return [Member(i // seeds, dict(rule.complete(own), **schedule)) for i, own in enumerate(numbers)]


def learning(model):
    return LearningProblem(model, tiny_dataset(), batch_size=7, dtype=torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_sixteen_bits_train_with_decay_and_normalisation(norm, engine):
    """Under engine=compiled in torch's operations: a tape has none of 16 bits."""
    problem, rule = learning(partial(mlp, hidden=(9, 5), norm=norm)), extended("shb", True, "norm")
    members = members_of(rule, 9)
    expected = run(problem, rule, members, engine)
    assert all(t.status == "done" and t.parameters["1.weight"].dtype == torch.bfloat16 for t in expected)
    for rows in ([4], [8, 1, 0]):
        found = run(problem, rule, [members[i] for i in rows], engine)
        assert all(same_bits(one, expected[i]) for i, one in zip(rows, found))


@pytest.mark.parametrize(
    ("name", "number", "allowed"),
    [
        ("clip.at", -1.0, "a number > 0"),
        ("clip.at", 0.0, "a number > 0"),
        ("clip.at", float("nan"), "a number > 0"),
        ("weight_decay", -0.1, "a number >= 0"),
        ("lr", float("nan"), "a number >= 0"),
        ("lr", -0.1, "a number >= 0"),
        ("beta2", 1.0, r"a number in \[0, 1\)"),
        ("eps", -1e-8, "a number >= 0"),
    ],
)
def test_a_number_out_of_its_range_is_refused_before_any_compute(name, number, allowed):
    rule = extended("adam", False, "value")
    members = members_of(rule, 3)
    numbers = {**members[1].hyperparameters, name: number}
    members[1] = Member(0, numbers)
    with pytest.raises(ConfigurationError, match=f"{name}={number}: allowed is {allowed}"):
        Stack(E1(), rule, members, PLAN)
    own = {n: v for n, v in numbers.items() if n in rule.hyperparameters}
    with pytest.raises(ConfigurationError, match=f"{name}={number}: allowed is {allowed}"):
        descend(rule, lambda w: w, 1.0, 1, **own)


def without(name, members):
    return [Member(m.seed, {n: v for n, v in m.hyperparameters.items() if n != name}) for m in members]


def run(problem, rule, members, engine, plan=PLAN):
    return Stack(problem, rule, members, plan, engine=engine).run()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "name", "decoupled", "clip"), CASES)
def test_a_member_has_its_bits_alone_in_other_stacks_and_after_a_resume(make, name, decoupled, clip, engine, tmp_path):
    problem, rule = make(), extended(name, decoupled, clip)
    members = members_of(rule, 33)
    expected = run(problem, rule, members, engine)
    for rows in ([0], [32], range(7), range(32, -1, -1)):
        found = run(problem, rule, [members[i] for i in rows], engine)
        assert all(same_bits(one, expected[i]) for i, one in zip(rows, found))
    assert not same_bits(expected[0], expected[31])
    seven, path = Stack(problem, rule, members[:7], PLAN, engine=engine), tmp_path / "stack.safetensors"
    with pytest.raises(Interrupted):
        seven.run(progress=interrupt_after(3), checkpoint=Checkpoint(path, "x", interval=0))
    assert int(Checkpoint(path, "x").load()["k"]) == 40
    assert all(map(same_bits, seven.run(checkpoint=Checkpoint(path, "x", interval=0)), expected))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_rule_holds_for_any_number_of_threads(threads, engine):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        problem, rule = mlp_problem((130, 65), (19,), batch_size=37), extended("shb", False, "norm")
        members, plan = members_of(rule, 20), Plan(3, schedule="power")
        expected = run(problem, rule, members, engine, plan)
        for rows in ([19], range(19, 1, -1)):
            found = run(problem, rule, [members[i] for i in rows], engine, plan)
            assert all(same_bits(one, expected[i]) for i, one in zip(rows, found))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("decoupled", [False, True])
def test_a_member_without_decay_has_the_bits_of_the_rule_alone(engine, decoupled):
    rule = with_weight_decay(get_optimizer("shb"), decoupled)
    members = without("clip.at", members_of(extended("shb", decoupled, "norm"), 9))
    bare = without("weight_decay", members)
    found, plain = run(mlp_problem(), rule, members, engine), run(mlp_problem(), OPTIMIZERS["shb"], bare, engine)
    alike = [
        all(torch.equal(a.parameters[n].view(torch.int32), b.parameters[n].view(torch.int32)) for n in a.parameters)
        for a, b in zip(found, plain)
    ]
    assert alike == [member.hyperparameters["weight_decay"] == 0 for member in members]


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
@pytest.mark.parametrize("clip", ["norm", "value"])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(
    "name", ["shb", "adam", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "nesterov"))]
)
def test_steps_are_tapes(name, decoupled, clip):
    rule = extended(name, decoupled, clip)
    for problem in (mlp_problem(), cnn_2d_problem(), E1()):
        assert step_of(problem, rule, 5, tuple(rule.hyperparameters), "compiled", False).taped


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
@pytest.mark.parametrize("clip", ["norm", "value"])
def test_compiled_agrees_with_eager_in_float64(clip):
    for rule in (extended("shb", True, clip), extended("adam", False, clip)):
        members = members_of(rule, 6)
        pairs = zip(*(run(E1(), rule, members, engine) for engine in ("eager", "compiled")))
        for eager, compiled in pairs:
            torch.testing.assert_close(compiled.parameters, eager.parameters, rtol=1e-11, atol=1e-12)


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
@pytest.mark.parametrize(("decoupled", "clip"), [(False, "norm"), (True, "value")])
def test_a_loop_over_the_steps_has_the_bits_of_single_steps(decoupled, clip, monkeypatch):
    rule, calls, inner = extended("shb", decoupled, clip), [], Step.many
    members = members_of(rule, 261)

    def many(self, *arguments):
        calls.append(inner(self, *arguments))
        return calls[-1]

    monkeypatch.setattr(Step, "many", many)
    ends = []
    for threshold in (10**18, 0):
        monkeypatch.setattr(stack, "_MANY", threshold)
        ends.append(run(E1(), rule, members, "compiled"))
    assert calls and all(one is not None for one in calls)
    assert all(map(same_bits, *ends))
