import numpy as np
import pytest
import torch
from scipy.stats import binom

from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS
from shb.problems import CLOSED_FORMS, E1, E2, E3, E6
from shb.training import Member, Plan, Stack

ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RULES = [("sgd", {}), ("shb", {"momentum": 0.9}), ("adam", ADAM)]


def run(problem, optimizer, members, steps, lr, schedule="constant", **hyperparameters):
    """Trajectories of seeds 0..members-1 with one set of hyperparameters."""
    stack = [Member(seed, {"lr": lr, **hyperparameters}) for seed in range(members)]
    return Stack(problem, OPTIMIZERS[optimizer], stack, Plan(steps, schedule)).run()


def trapped(trajectories):
    return sum(t.metrics["at_artificial"] == 1 for t in trajectories)


def oracle(problem, w, *sample):
    return torch.func.grad(lambda w: problem.loss({"w": w}, *sample))(w)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def regression_pairs():
    """Arguments x [20, 3] and y [20] of E6: no least-squares coefficient is 0."""
    random = np.random.RandomState(0)
    x = random.randn(20, 3)
    return torch.from_numpy(x), torch.from_numpy(x @ [1.0, -2.0, 0.5] + 0.1 * random.randn(20))


GRID = torch.linspace(-3, 3, 25, dtype=torch.float64)  # holds 0


@pytest.mark.parametrize(
    ("problem", "samples"),
    [
        (E1(), [-1.0, 1.0]),
        (E2(), [1.0]),
        (E2(noise="uniform"), [0.5, 1.5]),  # f is affine in s, so two symmetric points have the mean
    ],
)
def test_objective_is_the_mean_of_the_sample_losses(problem, samples):
    for w in GRID[:, None]:
        mean = sum(problem.loss({"w": w}, scalar(s)) for s in samples) / len(samples)
        torch.testing.assert_close(problem.objective(w), mean, rtol=0, atol=1e-14)
        assert problem.objective(w).item() == pytest.approx(w.item() + w.item() ** 2 / 2, abs=1e-14)


def test_objective_of_e3_is_the_mean_of_the_sample_losses():
    problem = E3(b=0.7)
    for w1 in GRID[::4]:
        for w2 in GRID[::4]:
            w = torch.stack([w1, w2])
            mean = sum(problem.loss({"w": w}, scalar(s)) for s in (-1.0, 1.0)) / 2
            torch.testing.assert_close(problem.objective(w), mean, rtol=0, atol=1e-14)


def test_e6_identity_and_its_control():
    x, y = regression_pairs()
    problem = E6(x, y)
    sample_x, sample_y = problem.batch(torch.arange(40))
    half = []  # relative error of the formula without the mirrored half of the data, the control
    for w in torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        losses = torch.stack([problem.loss({"w": w}, a, b) for a, b in zip(sample_x, sample_y)])
        assert problem.objective(w).item() == pytest.approx(losses.mean().item(), rel=1e-12)
        half.append(abs(losses[:20].mean() / problem.objective(w) - 1).item())
    assert np.median(half) > 0.05
    w = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    formula = ((x @ w - y) ** 2).mean() / 4 + (y**2).mean() / 4
    assert problem.objective(w).item() == pytest.approx(formula.item(), rel=1e-12)


@pytest.mark.parametrize("problem", [E1(), E2(), E2(noise="uniform"), E3(b=0.7), E6(), E6(*regression_pairs())])
def test_clarke_point_is_critical_and_artificial_point_is_not(problem):
    gradient = torch.func.grad(problem.objective)
    assert gradient(problem.clarke_point).norm() < 1e-12
    assert gradient(problem.artificial_point).norm() > 0.1
    metrics = problem.metrics({"w": problem.artificial_point})
    assert metrics["at_artificial"] == 1
    assert metrics["distance_to_clarke"] == (problem.artificial_point - problem.clarke_point).norm()
    assert metrics["train_loss"] == problem.objective(problem.artificial_point)
    assert problem.metrics({"w": problem.clarke_point})["at_artificial"] == 0
    assert problem.metrics({"w": problem.artificial_point + 1e-300})["at_artificial"] == 0


def test_metrics_of_e3_need_both_coordinates_for_the_artificial_point():
    problem = E3(b=0.7)
    assert problem.metrics({"w": torch.tensor([0.0, 0.5]).double()})["at_artificial"] == 0
    assert problem.metrics({"w": torch.tensor([0.5, 0.7]).double()})["at_artificial"] == 0


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_oracle_at_the_artificial_point_vanishes_only_for_t_zero(t):
    zero = torch.zeros(1, dtype=torch.float64)
    for s in (-1.0, 1.0):
        assert oracle(E1(relu_at_zero=t), zero, scalar(s)).item() == 2 * t
        e3 = E3(b=0.7, relu_at_zero=t)
        assert oracle(e3, e3.artificial_point, scalar(s)).tolist() == [2 * t, 0.0]
    for s in (0.5, 1.0, 1.5):
        assert oracle(E2(noise="uniform", relu_at_zero=t), zero, scalar(s)).item() == 2 * t * s
    e6 = E6(*regression_pairs(), relu_at_zero=t)
    for x, y in zip(*e6.batch(torch.arange(40))):
        expected = t * (0 - y) * x  # chain rule: residual times t times x
        torch.testing.assert_close(oracle(e6, e6.artificial_point, x, y), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("problem", [E1(), E2(), E2(noise="uniform")])
def test_oracle_away_from_zero_does_not_depend_on_t_and_has_mean_one_plus_w(problem):
    samples = {"e1": [-1.0, 1.0], "e2": [0.5, 1.5] if getattr(problem, "noise", "") == "uniform" else [1.0]}
    for w in (-2.0, -0.3, 0.4, 3.0):
        gradients = [oracle(problem, torch.tensor([w]).double(), scalar(s)) for s in samples[problem.name]]
        assert (sum(gradients) / len(gradients)).item() == pytest.approx(1 + torch.tensor(w).item(), rel=1e-6)


def test_sampling_laws():
    signs = E1().sample(0, 0, 4000)
    assert set(signs.tolist()) == {-1.0, 1.0}
    low, high = binom.interval(0.9999, 4000, 0.5)
    assert low <= (signs > 0).sum().item() <= high
    assert E2().sample(5, 0, 3).tolist() == [1.0, 1.0, 1.0]
    uniform = E2(noise="uniform").sample(0, 0, 4000)
    assert 0.5 <= uniform.min() < 0.505
    assert 1.495 < uniform.max() <= 1.5
    assert uniform.mean().item() == pytest.approx(1, abs=0.02)  # 4.4 standard errors
    counts = torch.bincount(E6(*regression_pairs()).sample(0, 0, 4000), minlength=40)
    low, high = binom.interval(1 - 1e-6, 4000, 1 / 40)
    assert len(counts) == 40
    assert low <= counts.min()
    assert counts.max() <= high
    assert not torch.equal(E1().sample(0, 0, 64), E1().sample(1, 0, 64))


@pytest.mark.parametrize("problem", [E1(), E2(noise="uniform"), E3(), E6(*regression_pairs())])
def test_samples_do_not_depend_on_where_the_range_is_cut(problem):
    whole = problem.sample(3, 0, 200)
    for a, b in [(0, 64), (63, 65), (1, 199), (128, 129)]:
        assert torch.equal(problem.sample(3, a, b), whole[a:b])


@pytest.mark.parametrize(("optimizer", "hyperparameters"), RULES)
@pytest.mark.parametrize("make", [E1, E2, E3, E6])
def test_started_at_the_artificial_point_it_stays_for_ever_iff_t_is_zero(make, optimizer, hyperparameters):
    options = {"b": 0.0} if make is E3 else {}  # init=zeros is the artificial point (0, b)
    frozen = run(make(init="zeros", **options), optimizer, 3, 200, 0.1, **hyperparameters)
    for trajectory in frozen:
        assert trajectory.status == "done"
        assert not trajectory.parameters["w"].any()
        assert trajectory.metrics["at_artificial"] == 1
    control = run(make(init="zeros", relu_at_zero=0.5, **options), optimizer, 3, 200, 0.1, **hyperparameters)
    for trajectory in control:
        assert trajectory.metrics["at_artificial"] == 0
        assert trajectory.metrics["train_loss"] < frozen[0].metrics["train_loss"] - 0.05


def test_gradient_descent_on_e2_is_trapped_from_the_predicted_points_only():
    """alpha = 1/2: trapped from (1 - alpha)^-n - 1, exactly in floats; one ulp beside, never."""
    for value in (1.0, 3.0, 7.0):
        assert trapped(run(E2(init="constant", value=value), "sgd", 1, 10, 0.5)) == 1
        assert trapped(run(E2(init="constant", value=value), "shb", 1, 100, 0.5, momentum=0.9)) == 0
    for value in (np.nextafter(7.0, 8.0), np.nextafter(7.0, 6.0), 5.0, -3.0):
        (escaped,) = run(E2(init="constant", value=value), "sgd", 1, 200, 0.5)
        assert escaped.metrics["at_artificial"] == 0
        assert escaped.metrics["distance_to_clarke"] < 1e-12


STARTS = 400


def test_sgd_falls_into_e1_half_of_the_time_if_the_first_step_size_is_one():
    """alpha_k = 1/(k+1): P(trap) = 1/2. 99.99 % binomial interval for 400 starts: 161 to 239."""
    options = {"schedule": "power", "schedule.q": 1.0, "schedule.k0": 0.0}
    low, high = binom.interval(0.9999, STARTS, 0.5)
    assert (low, high) == (161, 239)
    assert low <= trapped(run(E1(), "sgd", STARTS, 50, 1.0, **options)) <= high
    # the controls: heavy ball, where 0 trapped bounds the probability by 0.0075 (95 %), and another step size
    assert trapped(run(E1(), "shb", STARTS, 50, 1.0, momentum=0.5, **options)) == 0
    assert trapped(run(E1(), "sgd", STARTS, 50, 0.999, **options)) == 0


def test_sgd_is_trapped_at_the_neuron_of_e6_where_the_heavy_ball_is_not():
    """theory.md E6: data (1, 1), (-1, -1), alpha = 1/2, w_0 = 1 - 2^n: SGD trapped with probability one."""
    problem = E6(init="constant", value=-7.0)
    assert trapped(run(problem, "sgd", 50, 200, 0.5)) == 50
    assert trapped(run(problem, "shb", 50, 200, 0.5, momentum=0.5)) == 0


@pytest.mark.parametrize(("optimizer", "hyperparameters"), [("sgd", {}), ("shb", {"momentum": 0.9})])
def test_e3_started_on_the_trap_line_converges_to_the_artificial_point(optimizer, hyperparameters):
    for trajectory in run(E3(b=1.0, init="zeros"), optimizer, 5, 1000, 0.1, **hyperparameters):
        w1, w2 = trajectory.parameters["w"].tolist()
        assert w1 == 0
        assert trajectory.curve["train_loss"][0] - trajectory.metrics["train_loss"] > 0  # it moved along the line
        assert w2 == pytest.approx(1, abs=1e-12)
        assert trajectory.metrics["train_loss"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("optimizer", "hyperparameters", "lr"), [("sgd", {}, 1.0), ("shb", {"momentum": 0.9}, 0.1)])
@pytest.mark.parametrize("make", [E1, E2, E3, E6])
def test_generic_starts_reach_the_clarke_point(make, optimizer, hyperparameters, lr):
    """The last effective step is about 1/2000^0.75 = 0.0033, so w has a standard deviation of about 0.04 (L3)."""
    options = {"schedule": "power", **hyperparameters}
    for trajectory in run(make(), optimizer, 50, 2000, lr, **options):
        assert trajectory.metrics["distance_to_clarke"] < 0.2
        assert trajectory.metrics["at_artificial"] == 0


def test_least_squares_solution_of_e6_is_reached_from_random_starts():
    x, y = regression_pairs()
    problem = E6(x, y)
    assert problem.clarke_point.tolist() == pytest.approx(torch.linalg.lstsq(x, y[:, None]).solution[:, 0].tolist())
    for trajectory in run(problem, "shb", 20, 3000, 0.1, "power", momentum=0.9):
        assert trajectory.metrics["distance_to_clarke"] < 0.3
        assert trajectory.curve["distance_to_clarke"][0] > trajectory.metrics["distance_to_clarke"]


def test_wrong_options_are_refused():
    assert set(CLOSED_FORMS) == {"e1", "e2", "e3", "e6"}
    for name, problem in CLOSED_FORMS.items():
        assert problem.name == name
        with pytest.raises(ConfigurationError, match=f"init=kaiming.*for problem={name}"):
            problem(init="kaiming")
        with pytest.raises(ConfigurationError, match="relu_at_zero=2"):
            problem(relu_at_zero=2)
    with pytest.raises(ConfigurationError, match=r"problem\.noise=uniforn.*did you mean uniform"):
        E2(noise="uniforn")
