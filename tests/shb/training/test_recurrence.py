"""Many steps of many small members as one compiled loop: the bits of the tape that it replaces."""

import logging

import numpy as np
import pytest
import torch

from shb.kernels import Recurrence, Unsupported, library
from shb.optimizers import OPTIMIZERS, Optimizer, expand
from shb.problems import E1
from shb.problems.closed_forms import CLOSED_FORMS
from shb.training import CompilationError, Member, Plan, Stack, stack, why_not
from shb.training.step import Step, forget_programs
from tests.shb.problems.tiny import mlp_problem, same_bits

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")

RULES = {"sgd": 0.1, "shb": 0.03, "nesterov": 0.03}
COUNT = 261  # more than the members that the loop takes together, and not a multiple of a vector
PLAN = Plan(130, schedule="power", evaluate_at=(0, 5, 40, 64))


def members_of(optimizer, count=COUNT, scale=1.0):
    rule = OPTIMIZERS[optimizer]
    numbers = [scale * RULES[optimizer] * (1 + i % 7) / 7 for i in range(count)]
    return [
        Member(i // 2, dict(rule.complete({"lr": lr}), **{"schedule.q": 0.6, "schedule.k0": 1.0}))
        for i, lr in enumerate(numbers)
    ]


def run(monkeypatch, problem, optimizer, members, together):
    """Trajectories, and how many calls advanced all steps at once."""
    calls = []
    inner = Step.many

    def many(self, *arguments):
        calls.append(inner(self, *arguments))
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Step, "many", many)
        patch.setattr(stack, "_MANY", 0 if together else 10**18)
        found = Stack(problem, OPTIMIZERS[optimizer], members, PLAN, engine="compiled").run()
    return found, sum(one is not None and not bool(one[1]) for one in calls)


@pytest.mark.parametrize(
    ("optimizer", "dtype"), [("shb", torch.float64), ("sgd", torch.float32), ("nesterov", torch.float32)]
)
def test_a_loop_over_the_steps_has_the_bits_of_single_steps(monkeypatch, optimizer, dtype):
    problem = E1(dtype=dtype, relu_derivative=0.25)
    singly, none = run(monkeypatch, problem, optimizer, members_of(optimizer), together=False)
    at_once, calls = run(monkeypatch, problem, optimizer, members_of(optimizer), together=True)
    assert (none, calls) == (0, 5)  # 0 .. 5, 40, 64, 128, 130
    assert len({t.parameters["w"].item() for t in singly}) > COUNT / 4
    for one, other in zip(singly, at_once, strict=True):
        assert same_bits(one, other)


def test_signs_are_taken_as_bits_and_samples_of_another_class_are_not(monkeypatch):
    """E1 needs no samples but those bits; a class that draws others than E1, and inherits its bits, gets its own."""

    class Biased(E1):
        def samples_of(self, seeds, start, stop):
            return super().samples_of(seeds, start, stop).abs()

    assert E1().sign_bits_of(np.arange(3), 5, 64).shape == (3,)
    assert E1().sign_bits_of(np.arange(3), 5, 65) is None and Biased().sign_bits_of(np.arange(3), 0, 64) is None
    for problem in (E1(), Biased()):
        singly, _ = run(monkeypatch, problem, "shb", members_of("shb", 9), together=False)
        if type(problem) is E1:
            monkeypatch.setattr(Stack, "_samples", lambda *_: pytest.fail("drawn"))
        at_once, calls = run(monkeypatch, problem, "shb", members_of("shb", 9), together=True)
        monkeypatch.undo()
        assert calls == 5
        assert all(same_bits(one, other) for one, other in zip(singly, at_once, strict=True))


@pytest.mark.parametrize("name", ["e2", "e10", "quadratic", "absolute"])
def test_other_closed_forms_have_the_same_bits_or_go_step_by_step(monkeypatch, name):
    problem = CLOSED_FORMS[name]()
    singly, _ = run(monkeypatch, problem, "shb", members_of("shb", 37), together=False)
    at_once, _ = run(monkeypatch, problem, "shb", members_of("shb", 37), together=True)
    for one, other in zip(singly, at_once, strict=True):
        assert same_bits(one, other)


def test_a_start_in_the_trap_stays_and_is_marked(monkeypatch):
    problem = E1(init="zeros")
    (trapped, *_), calls = run(monkeypatch, problem, "shb", members_of("shb", 3), together=True)
    assert calls == 5
    assert trapped.parameters["w"].item() == 0
    assert trapped.metrics["trapped"] == trapped.metrics["touched"] == 1


def test_divergence_is_found_at_its_step_and_leaves_neighbours_alone(monkeypatch):
    problem = E1(dtype=torch.float32)
    members = [*members_of("sgd", 5), *members_of("sgd", 3, scale=1e12)]  # non-finite before step 5
    singly, _ = run(monkeypatch, problem, "sgd", members, together=False)
    at_once, calls = run(monkeypatch, problem, "sgd", members, together=True)
    assert {t.status for t in singly[:5]} == {"done"}
    assert "diverged" in {t.status for t in singly[5:]}
    assert calls == 4  # in one of the five blocks members diverge
    for one, other in zip(singly, at_once, strict=True):
        assert (one.status, one.diverged_step) == (other.status, other.diverged_step)
        assert same_bits(one, other)


def test_members_of_more_than_one_number_go_step_by_step():
    step = Step(mlp_problem(), OPTIMIZERS["shb"], 3, ("lr", "momentum"), "compiled", taped=True)
    with pytest.raises(Unsupported, match="elementwise"):
        Recurrence(step.program, step._count)
    assert step.recurrence(signs=False) is None


def test_a_failing_compiler_is_noted_and_single_steps_go_on(monkeypatch, caplog):
    forget_programs()

    def fail(source, function):
        raise CompilationError("no compiler: broken on purpose")

    monkeypatch.setitem(Recurrence.__init__.__globals__, "build_source", fail)
    monkeypatch.setattr(logging.getLogger("shb.training.step"), "disabled", False)  # Hydra disables what is there
    with caplog.at_level(logging.INFO):
        found, calls = run(monkeypatch, E1(), "shb", members_of("shb", 3), together=True)
    forget_programs()
    assert calls == 0 and len(found) == 3
    assert "broken on purpose" in caplog.text


def test_a_source_that_does_not_compile_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CompilationError, match=r"failed: .*error") as caught:
        library.build_source("int advance(void) { return missing; }")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "shb" / "kernels").iterdir())


def test_inputs_of_another_dtype_or_kind_are_refused():
    step = Step(E1(), OPTIMIZERS["sgd"], 3, ("lr",), "compiled", taped=True)
    loop = Recurrence(step.program, step._count)
    carried = [torch.zeros(9, dtype=v.dtype) for v in step.program.inputs[: step._count]]
    rest = step.program.inputs[step._count :]
    varying = [torch.zeros((5,) if v.common else (5, 9), dtype=v.dtype) for v in rest]
    loop(carried, varying)
    for i in range(len(carried)):
        wrong = [c.short() if j == i else c for j, c in enumerate(carried)]
        with pytest.raises(RuntimeError, match=rf"input {i} of a recurrence is Short"):
            loop(wrong, varying)
    with pytest.raises(RuntimeError, match="of a recurrence is Short"):
        loop(carried, [v.short() for v in varying])
    with pytest.raises(RuntimeError, match="belongs"):
        loop(carried, [varying[0][:, 0], *varying[1:]])
    with pytest.raises(RuntimeError, match="inputs was given"):
        loop(carried, varying[1:])


def test_not_a_number_is_the_larger_and_the_smaller_there_too():
    """The text of these two stands in the loop as in the tape: not-a-number where either is."""

    def update(params, grads, state, numbers, k):
        lr = expand(numbers["lr"], params["w"])
        bound = torch.where(k == 2, lr * torch.nan, lr * 10)
        return {n: torch.minimum(torch.maximum(w - lr * grads[n], -bound), bound) for n, w in params.items()}, state

    own = Optimizer("own", {"lr": None}, OPTIMIZERS["sgd"].init, update)
    step = Step(E1(), own, 3, ("lr",), "compiled", taped=True)
    loop = Recurrence(step.program, step._count)
    carried = [torch.ones(9, dtype=v.dtype) for v in step.program.inputs[: step._count]]
    rest = step.program.inputs[step._count :]
    varying = [torch.ones((5,) if v.common else (5, 9), dtype=v.dtype) for v in rest]
    varying[-1] = torch.arange(5)
    new, not_finite = loop(carried, varying)
    assert new[0].isnan().all() and bool(not_finite)
