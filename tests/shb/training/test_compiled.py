"""The compiled engine: the bit rule of test_bit_rule.py, and the numbers of the eager engine in float64."""

import pytest
import torch

from shb.kernels import Tape, Unsupported
from shb.optimizers import OPTIMIZERS
from shb.problems import E1
from shb.training import (
    ENGINES,
    Checkpoint,
    CompilationError,
    Member,
    Plan,
    Stack,
    compiler,
    gradient,
    run_chunked,
    step,
    why_not,
)
from shb.training.gradient import metrics_program
from shb.training.step import Step, forget_programs, step_of
from tests.shb.problems.tiny import cnn_1d_problem, cnn_2d_problem, mlp_problem, same_bits
from tests.shb.training.interruption import Interrupted, interrupt_after

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")

PROBLEMS = {
    "mlp": mlp_problem,
    "cnn 2-D": cnn_2d_problem,
    "cnn 1-D": lambda **options: cnn_1d_problem(sampling="reshuffle", **options),
    "e1": E1,
}
RULES = {"sgd": 0.1, "shb": 0.03, "nesterov": 0.03, "adam": 0.003}
CASES = [("mlp", "shb"), ("mlp", "adam"), ("cnn 2-D", "nesterov"), ("e1", "shb")]
PLAN = Plan(67, schedule="power", evaluate_at=(0, 5, 40, 64))


def members_of(optimizer, count):
    rule = OPTIMIZERS[optimizer]
    lr = RULES[optimizer]
    return [
        Member(i // 2, dict(rule.complete({"lr": lr * (1 + i) / 10}), **{"schedule.q": 0.6, "schedule.k0": 1.0}))
        for i in range(count)
    ]


def run(problem, optimizer, members, plan=PLAN, engine="compiled", **options):
    return Stack(problem, OPTIMIZERS[optimizer], members, plan, engine=engine, **options).run()


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def case(request):
    """Problem, name of the optimizer, and 33 trajectories of one compiled stack."""
    name, optimizer = request.param
    problem = PROBLEMS[name]()
    return problem, optimizer, run(problem, optimizer, members_of(optimizer, 33))


@pytest.mark.parametrize("rows", [[0], [32], range(7), range(32, -1, -1)], ids=["first", "last", "seven", "reversed"])
def test_a_member_has_the_same_bits_alone_in_other_stacks_and_in_any_order(case, rows):
    problem, optimizer, expected = case
    found = run(problem, optimizer, [expected[i].member for i in rows])
    assert all(same_bits(one, expected[i]) for i, one in zip(rows, found))
    assert not same_bits(expected[0], expected[31])


def test_a_member_has_the_same_bits_in_padded_chunks(case):
    problem, optimizer, expected = case
    members = [one.member for one in expected]
    narrow = Stack(problem, OPTIMIZERS[optimizer], members[:2], PLAN, engine="compiled")
    options = {"engine": "compiled", "budget": 9 * narrow.bytes_per_member()}
    chunks = list(run_chunked(problem, OPTIMIZERS[optimizer], members, PLAN, **options))
    assert [len(chunk) for chunk in chunks] == [9, 9, 9, 6]
    assert all(map(same_bits, [one for chunk in chunks for one in chunk], expected))


def test_a_member_has_the_same_bits_after_a_resume(case, tmp_path):
    problem, optimizer, expected = case
    members = [one.member for one in expected[:7]]
    stack = Stack(problem, OPTIMIZERS[optimizer], members, PLAN, engine="compiled")
    path = tmp_path / "stack.safetensors"
    with pytest.raises(Interrupted):
        stack.run(progress=interrupt_after(3), checkpoint=Checkpoint(path, "x", interval=0))
    assert int(Checkpoint(path, "x").load()["k"]) == 40
    assert all(map(same_bits, stack.run(checkpoint=Checkpoint(path, "x", interval=0)), expected))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_rule_holds_for_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        problem = mlp_problem((130, 65), (19,), batch_size=37)
        expected = run(problem, "shb", members_of("shb", 20), Plan(3, schedule="power"))
        for rows in ([19], range(19, 1, -1)):
            found = run(problem, "shb", [expected[i].member for i in rows], Plan(3, schedule="power"))
            assert all(same_bits(one, expected[i]) for i, one in zip(rows, found))
    finally:
        torch.set_num_threads(before)


def test_neighbours_of_a_diverged_member_keep_their_bits():
    problem = mlp_problem()
    calm = members_of("shb", 8)
    wild = Member(99, {**calm[0].hyperparameters, "lr": 1e20})
    expected = run(problem, "shb", calm)
    found = run(problem, "shb", [*calm[:3], wild, *calm[3:]])
    assert found[3].status == "diverged" and found[3].diverged_step < 10
    assert all(p.isfinite().all() for p in found[3].parameters.values())
    assert all(map(same_bits, found[:3] + found[4:], expected))


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [pytest.param("cnn 1-D", "shb", marks=pytest.mark.slow), *(("mlp", optimizer) for optimizer in RULES)],
)
def test_one_step_agrees_with_eager_float64(name, optimizer):
    """On fresh random parameters: an error in a kernel is no rounding."""
    updates = {}
    for dtype, engine in ((torch.float64, "eager"), (torch.float32, "compiled"), (torch.float32, "eager")):
        problem = PROBLEMS[name](dtype=dtype)
        trajectories = run(problem, optimizer, members_of(optimizer, 6), Plan(1, schedule="power"), engine)
        starts = [PROBLEMS[name](dtype=torch.float32).initial_parameters(one.member.seed) for one in trajectories]
        updates[dtype, engine] = [
            {k: p.double() - start[k].double() for k, p in one.parameters.items()}
            for one, start in zip(trajectories, starts)
        ]
    exact = updates[torch.float64, "eager"]

    def error(found):
        return max(
            float((a[k] - b[k]).abs().max() / b[k].abs().max().clamp(min=1e-12))
            for a, b in zip(found, exact)
            for k in b
        )

    compiled, eager = (error(updates[torch.float32, engine]) for engine in ("compiled", "eager"))
    assert compiled < 2 * eager + 1e-6
    assert eager < 0.02


def test_the_closed_form_agrees_with_eager_to_rounding():
    members = members_of("shb", 20)
    compiled, eager = (run(E1(), "shb", members, engine=engine) for engine in ("compiled", "eager"))
    for one, other in zip(compiled, eager):
        torch.testing.assert_close(one.parameters, other.parameters, rtol=1e-12, atol=1e-12)
        assert one.metrics["touched"] == other.metrics["touched"]


def test_a_step_says_which_engines_there_are():
    with pytest.raises(ValueError, match="engine"):
        Step(E1(), OPTIMIZERS["sgd"], 2, ["lr"], "jit")


def test_what_cannot_be_compiled_is_one_error(monkeypatch):
    import torch._inductor

    def broken(*arguments, **options):
        raise RuntimeError("no\ncompiler")

    monkeypatch.setattr(torch._inductor, "standalone_compile", broken)
    with pytest.raises(CompilationError, match="RuntimeError: no compiler"):
        compiler.compile_module(torch.fx.symbolic_trace(lambda a: (a + 1,)), [torch.zeros(2)])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mlp", "cnn 2-D", "e1"])
def test_steps_and_evaluations_of_the_suite_are_tapes(name, optimizer):
    problem, rule = PROBLEMS[name](), OPTIMIZERS[optimizer]
    for observed in (False, True):
        assert step_of(problem, rule, 5, tuple(rule.hyperparameters), "compiled", observed).taped
    for batch in problem.evaluation(full=True):
        assert isinstance(metrics_program(problem, 5, batch.weight, "compiled")[0], Tape)


def test_convolutions_with_strides_are_no_tape():
    problem, rule = PROBLEMS["cnn 1-D"](), OPTIMIZERS["shb"]
    assert not step_of(problem, rule, 5, tuple(rule.hyperparameters), "compiled", False).taped


@pytest.mark.parametrize("name", ["mlp", pytest.param("cnn 2-D", marks=pytest.mark.slow)])
def test_what_is_no_tape_runs_operation_by_operation_with_the_same_rule(name, monkeypatch):
    def refuse(*arguments):
        raise Unsupported("nothing")

    problem, members = PROBLEMS[name](), members_of("shb", 7)
    taped, eager = (run(problem, "shb", members, engine=engine) for engine in ENGINES[::-1])
    for module in (step, gradient):
        monkeypatch.setattr(module, "record", refuse)
    forget_programs()
    expected = run(problem, "shb", members)
    assert all(map(same_bits, run(problem, "shb", members[:1:-1]), expected[:1:-1]))
    assert not any(map(same_bits, expected, eager)) and not any(map(same_bits, expected, taped))
    for one, other in zip(expected, eager):
        for key, p in one.parameters.items():
            torch.testing.assert_close(p, other.parameters[key], rtol=1e-2, atol=1e-3)
    forget_programs()
