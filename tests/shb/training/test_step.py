"""The traced step: rules that use k, rules that cannot be traced, what it carries."""

import dataclasses

import pytest
import torch

from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS, Optimizer
from shb.problems import E1
from shb.training import Member, Plan, Stack, check_optimizer, why_not
from shb.training.step import Step
from tests.shb.problems.tiny import mlp_problem, same_bits

SGD = OPTIMIZERS["sgd"]
can_compile = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")


def rule(update):
    return Optimizer("own", {"lr": None}, SGD.init, update)


def run(optimizer, problem=None, steps=4, **numbers):
    problem = problem or mlp_problem()
    (one,) = Stack(problem, optimizer, [Member(3, {"lr": 0.1, **numbers})], Plan(steps)).run()
    return one.parameters


def test_a_rule_may_depend_on_k():
    """lr / (k + 1), once in the rule and once as a schedule."""

    def update(params, grads, state, numbers, k):
        return SGD.update(params, grads, state, {"lr": numbers["lr"] / (k + 1)}, k)

    problem = mlp_problem()
    member = Member(3, {"lr": 0.1, "schedule.q": 1.0, "schedule.k0": 0.0})
    (scheduled,) = Stack(problem, SGD, [member], Plan(4, schedule="power")).run()
    torch.testing.assert_close(run(rule(update)), scheduled.parameters, rtol=1e-6, atol=1e-7)


def test_the_first_step_of_torch_momentum_is_not_dampened_in_a_stack():
    numbers = {"momentum": 0.9, "dampening": 0.5}
    problem = mlp_problem()
    found = run(OPTIMIZERS["torch_momentum"], problem, **numbers)
    params = {name: p.clone().requires_grad_() for name, p in problem.initial_parameters(3).items()}
    optimizer = torch.optim.SGD(params.values(), lr=0.1, momentum=0.9, dampening=0.5)
    for sample in problem.sample(3, 0, 4):
        optimizer.zero_grad()
        problem.loss(params, *(part[0] for part in problem.batch(sample[None]))).backward()
        optimizer.step()
    torch.testing.assert_close(found, {n: p.detach() for n, p in params.items()}, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("branch", [lambda k, w: k == 0, lambda k, w: w.sum() > 0], ids=["k", "values"])
def test_a_rule_that_branches_is_refused_with_what_to_do(branch):
    def update(params, grads, state, numbers, k):
        if branch(k, params[next(iter(params))]):
            return params, state
        return SGD.update(params, grads, state, numbers, k)

    with pytest.raises(ConfigurationError, match=r"optimizer=own: .*traced once.*torch\.where"):
        run(rule(update))


def test_what_a_step_carries_comes_back_as_it_was():
    problem = E1()
    step = Step(problem, OPTIMIZERS["shb"], 3, ["lr", "momentum"])
    state = Stack(problem, OPTIMIZERS["shb"], [Member(i, {"lr": 0.1, "momentum": 0.5}) for i in range(3)], Plan(1))
    state = state.start()
    flags = {name: state[name] for name in ("batch_loss", "alive", "inside", "touched", "trapped")}
    carried = {"params": state["params"], "optimizer": state["optimizer"], "flags": flags}
    again = step.unflatten(step.flatten(carried))
    assert again.keys() == carried.keys() and list(again["flags"]) == list(flags)
    with pytest.raises(ValueError, match="carries"):
        step.flatten({**carried, "optimizer": {}})


def test_rules_with_equal_fields_are_different_rules():
    """A step is cached by its rule: a copy must not find the step of the original."""
    assert dataclasses.replace(SGD) != SGD and len({SGD, dataclasses.replace(SGD)}) == 2


def without_a_cast(params, grads, state, numbers, k):
    """Hyperparameters are float64: so is the velocity that they are multiplied with."""
    lr, momentum = (numbers[n].unsqueeze(1) for n in ("lr", "momentum"))
    v = {n: momentum * state["v"][n] - lr * grads[n] for n in params}
    return {n: (w + v[n]).to(w.dtype) for n, w in params.items()}, {"v": v}


def narrower(params, grads, state, numbers, k):
    return params, {"v": {n: v.half() for n, v in state["v"].items()}}


def shorter(params, grads, state, numbers, k):
    return {n: w[:1] for n, w in params.items()}, state


def in_another_dtype(params, grads, state, numbers, k):
    return {n: w.double() for n, w in params.items()}, state


def without_its_state(params, grads, state, numbers, k):
    return params, {}


def with_another_state(params, grads, state, numbers, k):
    return params, {**state, "new": numbers["lr"]}


def without_a_parameter(params, grads, state, numbers, k):
    return {}, state


def written_into_what_it_was_given(params, grads, state, numbers, k):
    for n in params:
        params[n] = params[n].double()
    return params, state


def in_place(params, grads, state, numbers, k):
    for n, w in params.items():
        w.sub_(0.1 * grads[n])
    return params, state


def of_hyperparameters_in_place(params, grads, state, numbers, k):
    numbers["lr"] *= 0.5
    return params, state


def parameters_only(params, grads, state, numbers, k):
    return params


def raising(params, grads, state, numbers, k):
    raise KeyError("first line\nsecond line")


def a_velocity(params, numbers, velocity=None):
    """Doubled, if one is given."""
    return {"v": dict(params) if velocity is None else {n: v.double() for n, v in velocity.items()}}


WRONG = {
    without_a_cast: r"optimizer own: dtype of state v\.w=torch\.float64: .*torch\.float32.*expand\(lr, w\)",
    narrower: r"optimizer own: dtype of state v\.w=torch\.float16: .*torch\.float32",
    shorter: r"optimizer own: shape of params w=\[1, 1\]: .*\[2, 1\].*expand\(lr, w\)",
    in_another_dtype: r"optimizer own: dtype of params w=torch\.float64: .*torch\.float32",
    without_its_state: r"optimizer own: state v\.w=missing: .*torch\.float32 \[2, 1\].*every leaf",
    with_another_state: r"optimizer own: state new=torch\.float64 \[2\]: .*no such leaf.*every leaf",
    without_a_parameter: r"optimizer own: params w=missing: .*torch\.float32 \[2, 1\].*every leaf",
    written_into_what_it_was_given: r"optimizer own: dtype of params w=torch\.float64",
    in_place: r"optimizer own: params w=changed in place: .*new tensors",
    of_hyperparameters_in_place: r"optimizer own: hyperparameters lr=changed in place: .*new tensors",
    parameters_only: r"optimizer own: what update returns=dict: .*\(params, state\)",
    raising: r"optimizer=own: .*KeyError.*first line.*second line",
}


def own_rule(update, **options):
    return Optimizer("own", {"lr": None, "momentum": 0.9}, lambda p, *_: {"v": dict(p)}, update, **options)


@pytest.mark.parametrize("engine", ["eager", pytest.param("compiled", marks=can_compile)])
@pytest.mark.parametrize("update", WRONG, ids=lambda one: one.__name__)
def test_a_rule_that_gives_back_other_leaves_is_refused(engine, update):
    """A tape took the bits of one dtype for another, and read past the end of a narrower leaf."""
    member = Member(3, {"lr": 0.1, "momentum": 0.9})
    with pytest.raises(ConfigurationError, match=WRONG[update]) as caught:
        Stack(E1(dtype=torch.float32), own_rule(update), [member, member], Plan(4), engine=engine).run()
    assert "\n" not in str(caught.value)


def test_a_velocity_of_another_dtype_than_the_state_without_one_is_refused():
    rule = dataclasses.replace(own_rule(lambda p, g, s, n, k: (p, s), takes_velocity=True), init=a_velocity)
    with pytest.raises(ConfigurationError, match=r"optimizer own: dtype of state v\.w=torch\.float64"):
        check_optimizer(rule, E1(dtype=torch.float32))


@pytest.mark.parametrize("engine", ["eager", pytest.param("compiled", marks=can_compile)])
def test_leaves_may_come_back_in_another_order(engine):
    """They are told apart by their names: two leaves of one dtype and shape are not exchanged."""
    right = OPTIMIZERS["adam"]

    def reversed_leaves(*given):
        turn = lambda tree: {n: tree[n] for n in reversed(tree)}  # noqa: E731
        params, state = right.update(*given)
        return turn(params), turn({n: turn(one) if isinstance(one, dict) else one for n, one in state.items()})

    other = dataclasses.replace(right, update=reversed_leaves)
    member = Member(3, {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8})
    problem = mlp_problem((3,))
    (one,), (two,) = (Stack(problem, rule, [member], Plan(4), engine=engine).run() for rule in (right, other))
    assert same_bits(one, two)
