"""What a stack computes, against plain torch loops and scalar recursions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS
from shb.problems import E1, E2, E3, E6, LearningProblem
from shb.streams import stream
from shb.training import Checkpoint, Member, Plan, Stack, run_chunked
from tests.shb.problems.tiny import cnn_1d_problem, cnn_2d_problem, mlp_problem, same_bits, tiny_dataset
from tests.shb.training.interruption import Interrupted, interrupt_after

STEPS = 200
CLOSED_FORM_METRICS = {"train_loss", "clarke_distance", "artificial_distance", "touched", "trapped"}


def plain_mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 33), nn.ReLU(), nn.Linear(33, 17), nn.ReLU(), nn.Linear(17, 3))


def plain_cnn_2d():
    convolution = [nn.Conv2d(3, 17, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    convolution += [nn.Conv2d(17, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolution, nn.Flatten(), nn.Linear(5 * 2 * 1, 3))  # 9 x 7 -> 4 x 3 -> 2 x 1


def plain_cnn_1d():
    convolution = [nn.Conv1d(2, 17, 3, stride=2, padding=1), nn.ReLU()]
    convolution += [nn.Conv1d(17, 5, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*convolution, nn.Flatten(), nn.Linear(5 * 5, 3))  # 19 -> 10 -> 5


NETWORKS = {
    "mlp": (mlp_problem, plain_mlp, (5,)),
    "cnn 2-D, max-pooling": (cnn_2d_problem, plain_cnn_2d, (3, 9, 7)),
    "cnn 1-D, stride": (cnn_1d_problem, plain_cnn_1d, (2, 19)),
}
RULES = {
    "sgd": ({"lr": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1)),
    "shb": ({"lr": 0.03, "momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9)),
    "nesterov": (
        {"lr": 0.03, "momentum": 0.9},
        lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True),
    ),
    "adam": (
        {"lr": 0.003, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        lambda p: torch.optim.Adam(p, lr=0.003, betas=(0.9, 0.999), eps=1e-8),
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    make_problem, plain, shape = NETWORKS[request.param]
    return make_problem(dtype=torch.float64), plain, tiny_dataset(shape)


@pytest.mark.parametrize("rule", RULES)
def test_a_member_of_a_stack_is_the_plain_torch_loop(network, rule):
    problem, plain, dataset = network
    hyperparameters, make_optimizer = RULES[rule]
    members = [Member(seed, hyperparameters) for seed in range(5)]
    trajectories = Stack(problem, OPTIMIZERS[rule], members, Plan(STEPS)).run()
    for seed in (0, 3):
        model = plain().double()
        for p, initial in zip(model.parameters(), problem.initial_parameters(seed).values()):
            p.data.copy_(initial)
        optimizer = make_optimizer(model.parameters())
        x, y = dataset.train.x.double(), dataset.train.y
        for index in problem.sample(seed, 0, STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
        moved = 0.0
        for p, initial, stacked in zip(
            model.parameters(), problem.initial_parameters(seed).values(), trajectories[seed].parameters.values()
        ):
            torch.testing.assert_close(stacked, p.detach(), rtol=0, atol=1e-9)
            moved = max(moved, (p - initial).abs().max().item())
        assert moved > 0.1
        with torch.no_grad():
            for part, data in (("train", dataset.train), ("val", dataset.validation), ("test", dataset.test)):
                output, metrics = model(data.x.double()), trajectories[seed].metrics
                assert metrics[f"{part}_loss"] == pytest.approx(F.cross_entropy(output, data.y).item(), abs=1e-9)
                accuracy = (output.argmax(1) == data.y).double().mean().item()
                assert metrics[f"{part}_accuracy"] == pytest.approx(accuracy, abs=1e-12)


class Recorded(LearningProblem):
    """A learning problem that keeps the samples of every batch that a stack asks for."""

    def batch(self, samples):
        self.__dict__.setdefault("seen", []).append(samples.clone())
        return super().batch(samples)


def test_a_seed_gives_every_optimizer_the_same_start_and_the_same_batches():
    seen, starts = [], []
    for name, (hyperparameters, _) in RULES.items():
        problem = mlp_problem()
        problem.__class__ = Recorded
        members = [Member(seed, {**hyperparameters, "lr": lr}) for seed, lr in ((0, 0.0), (0, 0.1), (1, 0.0))]
        stack = Stack(problem, OPTIMIZERS[name], members, Plan(70))
        problem.seen = []
        still, _, other = stack.run()
        seen.append(torch.stack(problem.seen[-70:]))
        starts.append(still.parameters)
        for parameter, initial in problem.initial_parameters(0).items():
            assert torch.equal(still.parameters[parameter], initial)
            assert not torch.equal(other.parameters[parameter], initial)
    for samples, start in zip(seen, starts):
        assert samples.shape == (70, 3, 7)
        assert torch.equal(samples, seen[0])
        assert all(torch.equal(start[n], starts[0][n]) for n in start)
        assert torch.equal(samples[:, 0], samples[:, 1])  # same seed, another lr
        assert not torch.equal(samples[:, 0], samples[:, 2])


def e2_loop(w, lr, momentum, steps, velocity=0.0, trace=None):
    """Scalar heavy ball on E2 with s = 1: gradient 1 + w away from 0; lr and momentum are functions of k."""
    for k in range(steps):
        if trace is not None:
            trace.append(w + w * w / 2)
        velocity = momentum(k) * velocity - lr(k) * (1 + w)
        w += velocity
    return w


def run_e2(plan, members, optimizer="shb", value=3.3):
    return Stack(E2(init="point", value=value), OPTIMIZERS[optimizer], members, plan).run()


def test_members_with_different_schedules_in_one_stack_are_those_of_lone_runs():
    numbers = [(0.2, 0.5, 0.0), (0.2, 0.9, 3.0), (0.1, 0.75, 10.0), (0.3, 0.0, 1.0)]
    members = [Member(0, {"lr": lr, "momentum": 0.5, "schedule.q": q, "schedule.k0": k0}) for lr, q, k0 in numbers]
    plan = Plan(150, schedule="power", evaluate_at=(10, 70))
    for member, trajectory, (lr, q, k0) in zip(members, run_e2(plan, members), numbers):
        assert same_bits(trajectory, run_e2(plan, [member])[0])
        expected = e2_loop(3.3, lambda k: lr / (k + 1 + k0) ** q, lambda k: 0.5, 150)  # noqa: B023
        assert trajectory.parameters["w"].item() == pytest.approx(expected, abs=1e-10)


def test_a_momentum_schedule_has_its_own_parameters():
    member = Member(0, {"lr": 0.1, "momentum": 0.9, "schedule.q": 0.5, "momentum_schedule.final": 0.2})
    plan = Plan(150, schedule="power", momentum_schedule="cosine")
    expected = e2_loop(
        3.3,
        lambda k: 0.1 / (k + 11) ** 0.5,
        lambda k: 0.9 * (0.2 + 0.8 * (1 + math.cos(math.pi * k / 150)) / 2),
        150,
    )
    assert run_e2(plan, [member])[0].parameters["w"].item() == pytest.approx(expected, abs=1e-10)


def test_second_order_momentum_matches_its_recursion():
    """beta_k = (gamma_k / gamma_{k-1}) (1 - r gamma_k) with gamma_{-1} = gamma_0, over block boundaries."""
    members = [
        Member(0, {"lr": lr, "momentum": 0.0, "schedule.q": 0.75, "momentum_schedule.r": r})
        for lr, r in ((0.5, 1.0), (0.3, 0.5), (0.3, 0.0))
    ]
    plan = Plan(150, schedule="power", momentum_schedule="second_order", evaluate_at=(1, 2, 64, 65))
    for member, trajectory in zip(members, run_e2(plan, members)):
        h = member.hyperparameters

        def gamma(k):
            return math.sqrt(h["lr"] / (max(k, 0) + 11) ** 0.75)  # noqa: B023

        expected = e2_loop(
            3.3,
            lambda k: gamma(k) ** 2,
            lambda k: gamma(k) / gamma(k - 1) * (1 - h["momentum_schedule.r"] * gamma(k)),  # noqa: B023
            150,
        )
        assert trajectory.parameters["w"].item() == pytest.approx(expected, abs=1e-10)


def test_random_initial_velocity_of_the_heavy_ball():
    plan = Plan(10, velocity_std=0.3)
    members = [Member(seed, {"lr": 0.1, "momentum": 0.5}) for seed in range(300)]
    velocities = []
    for trajectory in run_e2(plan, members):
        velocity = 0.3 * stream(trajectory.member.seed, "velocity").standard_normal()
        velocities.append(velocity)
        expected = e2_loop(3.3, lambda k: 0.1, lambda k: 0.5, 10, velocity)
        assert trajectory.parameters["w"].item() == pytest.approx(expected, abs=1e-10)
    assert torch.tensor(velocities).std().item() == pytest.approx(0.3, rel=0.17)  # 4 standard errors
    assert abs(e2_loop(3.3, lambda k: 0.1, lambda k: 0.5, 10) - expected) > 1e-3  # the velocity matters


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"shb"}))
def test_other_rules_refuse_an_initial_velocity(name):
    member = Member(0, OPTIMIZERS[name].complete({"lr": 0.1}))
    with pytest.raises(ConfigurationError, match=f"initial velocity of optimizer {name}.*only shb"):
        run_e2(Plan(3, velocity_std=0.3), [member], name)


def test_the_curve_has_the_mean_batch_loss_since_the_row_before():
    plan = Plan(130, evaluate_at=(0, 10, 100, 130))
    (trajectory,) = run_e2(plan, [Member(0, {"lr": 0.02})], "sgd")
    trace = []
    last = e2_loop(3.3, lambda k: 0.02, lambda k: 0.0, 130, trace=trace)
    curve = trajectory.curve
    assert curve["step"] == [0, 10, 100, 130]
    means = [sum(trace[a:b]) / (b - a) for a, b in ((0, 10), (10, 100), (100, 130))]
    assert curve["batch_loss"] == [None, *(pytest.approx(mean, rel=1e-10) for mean in means)]
    assert curve["train_loss"] == pytest.approx([trace[0], trace[10], trace[100], last + last * last / 2])
    assert trajectory.metrics.keys() == CLOSED_FORM_METRICS
    assert trajectory.metrics["train_loss"] == curve["train_loss"][-1]


def test_only_the_end_of_a_run_has_a_full_evaluation():
    plan = Plan(12, evaluate_at=(4, 8))
    (trajectory,) = Stack(mlp_problem(), OPTIMIZERS["sgd"], [Member(0, {"lr": 0.1})], plan).run()
    assert trajectory.curve["step"] == [0, 4, 8, 12]
    assert None not in trajectory.curve["val_loss"]
    for column in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert [value is None for value in trajectory.curve[column]] == [True, True, True, False]
        assert trajectory.metrics[column] == trajectory.curve[column][-1]


def test_progress_counts_every_step_of_every_member_once():
    done = []
    members = [Member(seed, {"lr": 0.1}) for seed in range(5)]
    Stack(E1(), OPTIMIZERS["sgd"], members, Plan(150, evaluate_at=(3, 100)), width=9).run(progress=done.append)
    assert sum(done) == 5 * 150
    assert min(done) > 0


def test_plans():
    assert Plan.with_evaluations(100, 4).evaluate_at == (0, 25, 50, 75, 100)
    assert Plan.with_evaluations(3, 50).evaluate_at == (0, 1, 2, 3)
    assert Plan.with_evaluations(10, 0).evaluate_at == (0, 10)
    assert Plan.with_evaluations(10, 2, schedule="cosine").schedule == "cosine"
    for steps in (0, -5):
        with pytest.raises(ConfigurationError, match=f"steps={steps}: allowed is a whole number >= 1"):
            Plan(steps)


def test_what_a_stack_cannot_run_is_refused():
    sgd, shb = OPTIMIZERS["sgd"], OPTIMIZERS["shb"]
    mixed = [Member(0, {"lr": 0.1}), Member(1, {"lr": 0.1, "schedule.q": 0.5})]
    with pytest.raises(ConfigurationError, match="names of its stack"):
        Stack(E1(), sgd, mixed, Plan(3, schedule="power"))
    with pytest.raises(ConfigurationError, match=r"all of \['lr', 'momentum'\]"):
        Stack(E1(), shb, [Member(0, {"lr": 0.1})], Plan(3, momentum_schedule="second_order"))
    with pytest.raises(ConfigurationError, match="momentum_schedule=power"):
        Stack(E1(), sgd, [Member(0, {"lr": 0.1})], Plan(3, momentum_schedule="power"))
    with pytest.raises(ConfigurationError, match="steps from 0 to 3"):
        Plan(3, evaluate_at=(5,))


def test_large_but_finite_parameters_are_not_a_divergence():
    """Their sum overflows float32, they do not, and neither does the loss."""
    problem = E6(1e-30 * torch.eye(20), torch.ones(20), init="point", value=1e38, dtype=torch.float32)
    start = problem.initial_parameters(0)["w"]
    assert not start.sum().isfinite() and start.isfinite().all()
    (trajectory,) = Stack(problem, OPTIMIZERS["sgd"], [Member(0, {"lr": 0.1})], Plan(3)).run()
    assert (trajectory.status, trajectory.diverged_step) == ("done", None)


TRAPS = {  # rule: hyperparameters; with a step size of 1 both meet the kink of E1 exactly
    "sgd": {"lr": 1.0},
    "shb": {"lr": 1.0, "momentum": 0.5},
}


def e1_loop(w, samples, lr, momentum=0.0, t=0.0):
    """Scalar heavy ball on E1: (w_K, some w_k was 0, the last two were)."""
    iterates, velocity = [w], 0.0
    for s in samples:
        velocity = momentum * velocity - lr * (w + (2 if s * w > 0 else 2 * t if w == 0 else 0))
        w += velocity
        iterates.append(w)
    return w, 0 in iterates, iterates[-2:] == [0, 0]


def flags(trajectory):
    return trajectory.metrics["touched"], trajectory.metrics["trapped"]


@pytest.mark.parametrize("rule", TRAPS)
@pytest.mark.parametrize("steps", [1, 2, 3, 67])
def test_touching_the_trap_and_staying_in_it_are_told_apart(rule, steps):
    """From w_0 = 0.75 the first step of size 1 ends at 0 if s = -1: a trap without momentum, which carries w on."""
    problem = E1(init="point", value=0.75)
    members = [Member(seed, TRAPS[rule]) for seed in range(40)]
    found = Stack(problem, OPTIMIZERS[rule], members, Plan(steps)).run()
    for seed, trajectory in enumerate(found):
        expected = e1_loop(0.75, problem.sample(seed, 0, steps).tolist(), **TRAPS[rule])
        assert (trajectory.parameters["w"].item(), *flags(trajectory)) == expected
        assert trajectory.metrics["artificial_distance"] == abs(expected[0])
    touched, trapped = (sum(column) for column in zip(*map(flags, found)))
    first = [problem.sample(seed, 0, 1).item() for seed in range(40)]
    assert touched >= first.count(-1.0) > 0
    if rule == "sgd":
        assert (trapped == 0) if steps == 1 else (0 < trapped <= touched)
        assert steps < 67 or trapped == touched == 40  # each has had 67 chances of one half
    else:
        assert trapped == 0


@pytest.mark.parametrize("rule", TRAPS)
@pytest.mark.parametrize("t", [0.0, 0.5])
def test_started_in_the_trap(rule, t):
    (trajectory,) = Stack(
        E1(init="zeros", relu_derivative=t), OPTIMIZERS[rule], [Member(0, TRAPS[rule])], Plan(9, evaluate_at=(1,))
    ).run()
    assert trajectory.curve["touched"] == [1, 1, 1]
    assert trajectory.curve["trapped"] == ([0, 1, 1] if t == 0 else [0, 0, 0])  # one iterate alone is no trap
    assert (trajectory.metrics["artificial_distance"] == 0) == (t == 0)


def test_the_trap_is_a_set_not_its_point():
    (trajectory,) = Stack(
        E3(init="point", value=(0.0, 3.0)), OPTIMIZERS["sgd"], [Member(0, {"lr": 0.1})], Plan(5)
    ).run()
    assert flags(trajectory) == (1, 1)
    assert trajectory.metrics["artificial_distance"] == pytest.approx(2 * 0.9**5)


def test_a_network_has_no_trap():
    (trajectory,) = Stack(mlp_problem(), OPTIMIZERS["sgd"], [Member(0, {"lr": 0.1})], Plan(3)).run()
    assert not {"touched", "trapped", "clarke_distance", "artificial_distance"} & trajectory.metrics.keys()


CLOSED_FORMS = {
    "e1": lambda: E1(init="point", value=0.75),
    "e2": lambda: E2(noise="uniform"),
    "e3": lambda: E3(init="point", value=(0.75, 2.0)),
    "e6": lambda: E6(torch.eye(3, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0]), dtype=torch.float32),
}


@pytest.mark.parametrize("rule", TRAPS)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_closed_form_keeps_its_bits_alone_in_chunks_and_after_a_resume(name, rule, tmp_path):
    """Metrics and curves, and so touched and trapped, count as bits."""
    problem, optimizer = CLOSED_FORMS[name](), OPTIMIZERS[rule]
    plan = Plan(67, evaluate_at=(0, 1, 5, 40, 64))
    members = [Member(i // 2, {**TRAPS[rule], "lr": 1.0 if i % 2 else 0.5}) for i in range(33)]
    whole = Stack(problem, optimizer, members, plan).run()
    assert {t.status for t in whole} == {"done"}
    if name in ("e1", "e3"):
        assert {t.metrics["touched"] for t in whole} == {0, 1}
    for rows in ([0], [1], [32], range(32, -1, -1), (20, 3, 3, 31, 3, 0, 8)):
        again = Stack(problem, optimizer, [members[i] for i in rows], plan).run()
        assert all(map(same_bits, again, [whole[i] for i in rows]))
    budget = 7 * Stack(problem, optimizer, members[:2], plan).bytes_per_member()
    chunks = list(run_chunked(problem, optimizer, members, plan, budget=budget))
    assert len(chunks) > 1
    assert all(map(same_bits, [t for chunk in chunks for t in chunk], whole))
    for calls, reached in ((2, 1), (3, 5), (4, 40), (5, 64)):
        path = tmp_path / f"{calls}"
        stack = Stack(problem, optimizer, members, plan)
        with pytest.raises(Interrupted):
            stack.run(progress=interrupt_after(calls), checkpoint=Checkpoint(path, "", interval=0))
        checkpoint = Checkpoint(path, "", interval=0)
        resumed = Stack(problem, optimizer, members, plan).run(checkpoint=checkpoint)
        assert checkpoint.resumed_at == reached
        assert all(map(same_bits, resumed, whole))


def test_observe_sees_every_update_once():
    problem = E1(init="point", value=0.75)
    members = [Member(seed, {"lr": lr, "momentum": 0.5, "schedule.q": 0.5}) for seed, lr in ((0, 0.5), (3, 0.25))]
    stack = Stack(problem, OPTIMIZERS["shb"], members, Plan(130, schedule="power"))
    seen, state = [], stack.start()
    for start, stop in ((0, 64), (64, 128), (128, 130)):
        stack.advance(state, start, stop, observe=seen.append)
    assert [step.k for step in seen] == list(range(130))
    samples = [problem.sample(member.seed, 0, 130) for member in members]
    w, previous = torch.full((2,), 0.75, dtype=torch.float64), torch.full((2,), 0.75, dtype=torch.float64)
    for step in seen:
        s = torch.stack([column[step.k] for column in samples])
        lr = torch.tensor([0.5, 0.25], dtype=torch.float64) / (step.k + 11) ** 0.5
        assert torch.equal(step.params["w"][:, 0], w)
        torch.testing.assert_close(step.grads["w"][:, 0], w + 2 * (s * w > 0), rtol=0, atol=1e-14)
        torch.testing.assert_close(step.hyperparameters["lr"], lr, rtol=1e-14, atol=0)
        assert step.hyperparameters["momentum"].tolist() == [0.5, 0.5]
        expected = w - lr * step.grads["w"][:, 0] + 0.5 * (w - previous)
        torch.testing.assert_close(step.new_params["w"][:, 0], expected, rtol=0, atol=1e-13)
        previous, w = w, step.new_params["w"][:, 0]
    assert torch.equal(state["params"]["w"][:, 0], w)
    unobserved = Stack(problem, OPTIMIZERS["shb"], members, Plan(130, schedule="power")).run()
    assert [t.parameters["w"].item() for t in unobserved] == w.tolist()  # looking changes nothing


def test_a_run_that_is_evaluated_only_at_its_end_is_resumed_where_it_was(tmp_path):
    problem, plan = mlp_problem(), Plan(200, evaluate_at=(0, 200))
    members = [Member(seed, {"lr": 0.03, "momentum": 0.9}) for seed in range(3)]
    with pytest.raises(Interrupted):
        checkpoint = Checkpoint(tmp_path / "stack", "x", interval=0)
        Stack(problem, OPTIMIZERS["shb"], members, plan).run(progress=interrupt_after(3), checkpoint=checkpoint)
    checkpoint = Checkpoint(tmp_path / "stack", "x")
    resumed = Stack(problem, OPTIMIZERS["shb"], members, plan).run(checkpoint=checkpoint)
    assert checkpoint.resumed_at == 128
    expected = Stack(problem, OPTIMIZERS["shb"], members, plan).run()
    assert all(same_bits(one, other) for one, other in zip(expected, resumed, strict=True))
