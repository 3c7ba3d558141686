import pytest
import torch

from shb.training.gradient import gradient_program
from shb.training.program import Program
from tests.shb.problems.tiny import cnn_2d_problem, mlp_problem

N = 1000
X = torch.arange(N, dtype=torch.float64)


def test_a_program_computes_the_function_without_keeping_gradients():
    program = Program(lambda a, b: [a @ b, (a * 2).sum()], torch.randn(3, 4), torch.randn(4, 2))
    a, b = torch.randn(3, 4, requires_grad=True), torch.randn(4, 2)
    product, double = program(a, b)
    torch.testing.assert_close(product, a.detach() @ b)
    torch.testing.assert_close(double, 2 * a.detach().sum())
    assert not product.requires_grad


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda x: [x + 1], 1),
        (lambda x: [((x + 1) * 2).sin()], 2),  # a result and the one before it
        (lambda x: [x + 1, x + 2, x + 3], 3),  # all results are outputs
        (lambda x: [(x + 1) * (x + 2)], 3),
        (lambda x: [(x + 1).view(10, 100).t().exp()], 2),  # views need no memory
        (lambda x: [(x + 1).view(10, 100).t().exp().sum() + x.sum()], 2),
        (lambda x: [x.view(10, 100)], 0),
    ],
)
def test_peak_bytes_of_programs_counted_by_hand(function, arrays):
    assert Program(function, X).peak_bytes == pytest.approx(arrays * 8 * N, abs=64)  # 64: scalars


def test_a_view_keeps_its_source_alive():
    def function(x):
        view = (x + 1)[:10]
        y = x + 2
        return [y.sin() * 2, view.sum()]

    assert Program(function, X).peak_bytes == pytest.approx(3 * 8 * N, abs=200)


def test_dead_code_is_not_computed():
    assert Program(lambda x: [x + 1, (x.sin() * 0, x)[1]], X).peak_bytes == 8 * N


@pytest.mark.parametrize("make", [mlp_problem, cnn_2d_problem])
def test_peak_bytes_of_a_gradient_grow_linearly_with_the_width(make):
    problem = make()
    two, four, eight = (gradient_program(problem, width).peak_bytes for width in (2, 4, 8))
    assert four - two > 0
    assert eight - four == pytest.approx(2 * (four - two), rel=0.02)
    assert eight == pytest.approx(4 * two, rel=0.05)
    parameters = 4 * sum(p.numel() for p in problem.initial_parameters(0).values())
    assert two / 2 > parameters  # it returns the gradients at least


def test_equal_operations_are_done_once():
    def function(x):
        return [(x * 2).sin() + (x * 2).sin(), x * 3, x * 3.0, x.view(10, 100).sum(1), x.view(10, 100).sum(0)]

    program = Program(function, X)
    names = [str(node.target) for node in program.module.graph.nodes if node.op == "call_function"]
    assert names.count("aten.sin.default") == 1 and names.count("aten.view.default") == 1
    assert names.count("aten.mul.Tensor") == 3  # 3 is not 3.0
    for mine, theirs in zip(program(X), function(X)):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_draws_are_done_every_time():
    (found,) = Program(lambda x: [torch.rand_like(x) - torch.rand_like(x)], X)(X)
    assert (found != 0).all()


def test_copies_that_are_changed_stay_two():
    def function(x):
        return [x.clone().add_(1) + x.clone().mul_(2), x.clone()]

    for mine, theirs in zip(Program(function, X)(X), function(X)):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
