import pytest
import torch

from shb.optimizers import OPTIMIZERS
from shb.problems import E1
from shb.training import (
    ENGINES,
    Checkpoint,
    Member,
    Plan,
    Stack,
    chunk_width,
    default_budget,
    minimal_width,
    run_chunked,
)
from shb.training.gradient import gradient_program, metrics_program
from tests.shb.problems.tiny import cnn_2d_problem, mlp_problem, same_bits

PLAN = Plan(70, evaluate_at=(0, 20))
MEMBERS = [Member(seed, {"lr": 0.05, "momentum": 0.9}) for seed in range(19)]
SHB = OPTIMIZERS["shb"]
run_stack = Stack.run


@pytest.fixture(scope="module")
def problem():
    return E1()


@pytest.fixture(scope="module")
def expected(problem):
    return Stack(problem, SHB, MEMBERS, PLAN).run()


def flat(chunks):
    return [trajectory for chunk in chunks for trajectory in chunk]


def fail_above(monkeypatch, width, error, widths):
    """Stacks wider than `width` fail after 20 steps; the width of every stack that runs is noted in `widths`."""

    def run(self, *, progress=None, checkpoint=None):
        widths.append(self.width)
        if self.width <= width:
            return run_stack(self, progress=progress, checkpoint=checkpoint)

        def then_fail(steps):
            if progress:
                progress(steps)
            raise error

        return run_stack(self, progress=then_fail, checkpoint=checkpoint)

    monkeypatch.setattr(Stack, "run", run)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_width_and_nothing_is_lost(problem, expected, monkeypatch, error):
    widths, done = [], []
    fail_above(monkeypatch, 5, error, widths)
    chunks = list(run_chunked(problem, SHB, MEMBERS, PLAN, progress=done.append))
    assert widths == [19, 9, 4, 4, 4, 4, 4]
    assert [len(chunk) for chunk in chunks] == [4, 4, 4, 4, 3]
    assert all(map(same_bits, flat(chunks), expected))
    assert sum(done) == 70 * 19
    assert min(done) < 0  # what a failed stack had counted was taken back
    counted = [sum(done[: i + 1]) for i in range(len(done))]
    assert max(counted) <= 70 * 19


def test_out_of_memory_once_in_a_later_chunk(problem, expected, monkeypatch):
    calls = []

    def run(self, **options):
        calls.append(self.width)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("once")
        return run_stack(self, **options)

    monkeypatch.setattr(Stack, "run", run)
    budget = 10 * Stack(problem, SHB, MEMBERS[:2], PLAN).bytes_per_member()
    done = []
    chunks = list(run_chunked(problem, SHB, MEMBERS, PLAN, budget=budget, progress=done.append))
    assert calls == [10, 10, 5, 5]
    assert [len(chunk) for chunk in chunks] == [10, 5, 4]
    assert all(map(same_bits, flat(chunks), expected))
    assert sum(done) == 70 * 19


def test_without_progress_callback_out_of_memory_is_handled_too(problem, expected, monkeypatch):
    fail_above(monkeypatch, 9, MemoryError(), [])
    assert all(map(same_bits, flat(run_chunked(problem, SHB, MEMBERS, PLAN)), expected))


def test_a_stack_of_minimal_width_that_fails_raises(problem, monkeypatch):
    widths = []
    fail_above(monkeypatch, 0, torch.OutOfMemoryError("always"), widths)
    with pytest.raises(torch.OutOfMemoryError, match="always"):
        list(run_chunked(problem, SHB, MEMBERS, PLAN))
    assert widths == [19, 9, 4, 2]


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), ValueError("something else"), KeyboardInterrupt("by hand")]
)
def test_other_errors_pass_through_at_once(problem, monkeypatch, error):
    widths = []
    fail_above(monkeypatch, 0, error, widths)
    with pytest.raises(type(error), match=str(error)):
        list(run_chunked(problem, SHB, MEMBERS, PLAN))
    assert widths == [19]


def test_chunks_are_equal_and_within_the_budget():
    problem = mlp_problem()
    per_member = Stack(problem, SHB, MEMBERS[:2], PLAN).bytes_per_member()
    for affordable, width in ((1000, 19), (19, 19), (18, 10), (10, 10), (9, 7), (7, 7), (6, 5), (3, 3), (1, 2), (0, 2)):
        budget = affordable * per_member + per_member // 2
        assert chunk_width(problem, SHB, MEMBERS, PLAN, budget) == width
    assert chunk_width(problem, SHB, MEMBERS[:1], PLAN, 1 << 30) == minimal_width()


def test_memory_per_member_grows_with_the_model_the_batch_and_the_optimizer():
    def per_member(problem, optimizer="sgd"):
        hyperparameters = OPTIMIZERS[optimizer].complete({"lr": 0.1})
        return Stack(problem, OPTIMIZERS[optimizer], [Member(0, hyperparameters)], PLAN).bytes_per_member()

    small = mlp_problem()
    parameters = 4 * sum(p.numel() for p in small.initial_parameters(0).values())
    assert per_member(small) > 3 * parameters  # gradients, parameters, new parameters
    assert per_member(small, "adam") - per_member(small) == pytest.approx(2 * parameters, rel=0.02)
    assert per_member(mlp_problem((130, 65))) > 2 * per_member(small)
    steps = [gradient_program(cnn_2d_problem(batch_size=size), 2).peak_bytes for size in (7, 40)]
    assert steps[1] > 4 * steps[0]


def test_memory_per_member_covers_an_evaluation_batch():
    """With one sample per step, the 64 samples of an evaluation batch need far more than the step."""
    problem = cnn_2d_problem(batch_size=1)
    evaluation = metrics_program(problem, 2, 64)[0].peak_bytes // 2
    assert evaluation > 10 * gradient_program(problem, 2).peak_bytes // 2
    assert Stack(problem, SHB, MEMBERS[:2], PLAN).bytes_per_member() > evaluation


def test_the_default_budget_of_a_cpu_is_what_a_cache_holds():
    assert [default_budget(torch.device("cpu"), engine) >> 20 for engine in ENGINES] == [24, 6]


def test_every_chunk_gets_its_own_checkpoint(problem, expected, tmp_path):
    asked = []

    def checkpoint(chunk):
        asked.append([m.seed for m in chunk])
        return Checkpoint(tmp_path / f"{chunk[0].seed}", str(asked[-1]), interval=0)

    budget = 7 * Stack(problem, SHB, MEMBERS[:2], PLAN).bytes_per_member()
    for _ in range(2):  # the second time every chunk resumes at step 20
        chunks = list(run_chunked(problem, SHB, MEMBERS, PLAN, budget=budget, checkpoint=checkpoint))
        assert all(map(same_bits, flat(chunks), expected))
    assert asked == 2 * [list(range(7)), list(range(7, 14)), list(range(14, 19))]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "14", "7"]
