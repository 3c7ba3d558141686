from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from shb.errors import ConfigurationError
from shb.models import mlp
from shb.problems import LearningProblem
from shb.problems.learning import check_loss
from shb.streams import BLOCK
from tests.shb.problems.tiny import mlp_problem, tiny_dataset

CLASSES, TARGETS = tiny_dataset(), tiny_dataset(task="regression")
SIZE = len(CLASSES.train)


def problem(dataset=CLASSES, **options):
    return LearningProblem(partial(mlp, hidden=[4]), dataset, **{"dtype": torch.float64, **options})


def params_and_rows(p, dataset):
    """Parameters of seed 0, rows 3..12 of the training part as the problem has them, and its raw data."""
    params, index = p.initial_parameters(0), torch.arange(3, 13)
    return params, p.batch(index), (dataset.train.x[index].double(), dataset.train.y[index])


def test_cross_entropy_is_that_of_torch():
    p = problem()
    params, batch, (x, y) = params_and_rows(p, CLASSES)
    output = torch.func.functional_call(p.module, params, (x,))
    torch.testing.assert_close(p.loss(params, *batch), F.cross_entropy(output, y), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dataset", [CLASSES, TARGETS], ids=["one-hot classes", "targets"])
def test_squared_loss_is_half_the_mean_squared_distance(dataset):
    p = problem(dataset, loss="squared")
    params, batch, (x, y) = params_and_rows(p, dataset)
    output = torch.func.functional_call(p.module, params, (x,))
    target = F.one_hot(y, 3) if dataset is CLASSES else y
    expected = sum(((o - t) ** 2).sum() / 2 for o, t in zip(output, target)) / len(x)
    torch.testing.assert_close(p.loss(params, *batch), expected, rtol=1e-13, atol=0)


def test_batch_brings_the_rows_of_every_member():
    p = problem(batch_size=5)
    index = torch.stack([p.sample(seed, 0, 1)[0] for seed in range(3)])
    x, y = p.batch(index)
    assert torch.equal(x, CLASSES.train.x[index].double())
    assert torch.equal(y.argmax(-1), CLASSES.train.y[index])


def test_iid_sampling_is_uniform_with_replacement():
    drawn = problem(batch_size=SIZE).sample(0, 0, 100)
    assert drawn.shape == (100, SIZE)
    counts = torch.bincount(drawn.flatten(), minlength=SIZE)
    low, high = binom.interval(1 - 1e-6, drawn.numel(), 1 / SIZE)
    assert len(counts) == SIZE
    assert low <= counts.min()
    assert counts.max() <= high
    assert len(drawn[0].unique()) < 0.8 * SIZE  # a permutation would have them all, iid has 63 % of them
    assert not torch.equal(drawn, problem(batch_size=SIZE).sample(1, 0, 100))


@pytest.mark.parametrize("batch_size", [1, 7, 25, SIZE - 1, SIZE])
def test_reshuffle_shows_every_sample_once_per_epoch(batch_size):
    steps = max(2 * BLOCK + 3, 5 * SIZE // batch_size)
    order = problem(batch_size=batch_size, sampling="reshuffle").sample(0, 0, steps).flatten()
    epochs = order[: len(order) // SIZE * SIZE].view(-1, SIZE)
    assert len(epochs) > 0
    assert (epochs.sort(1).values == torch.arange(SIZE)).all()
    assert len(epochs) == 1 or not torch.equal(epochs[0], epochs[1])
    rest = order[len(epochs) * SIZE :]
    assert len(rest.unique()) == len(rest)


def test_cyclic_keeps_the_order_of_the_data():
    order = problem(batch_size=3, sampling="cyclic").sample(1, 0, SIZE).flatten()
    assert torch.equal(order, torch.arange(SIZE).repeat(3))


@settings(max_examples=50)
@given(
    st.sampled_from(["iid", "reshuffle", "cyclic"]),
    st.integers(1, SIZE),
    st.lists(st.integers(0, 3 * BLOCK), min_size=2, max_size=5, unique=True),
)
def test_samples_do_not_depend_on_where_the_range_is_cut(sampling, batch_size, cuts):
    cuts = sorted(cuts)
    p = problem(batch_size=batch_size, sampling=sampling)
    whole = p.sample(2, 0, cuts[-1])[cuts[0] :]
    parts = torch.cat([p.sample(2, a, b) for a, b in pairwise(cuts)])
    assert parts.shape == (cuts[-1] - cuts[0], batch_size)
    assert torch.equal(parts, whole)


@pytest.mark.parametrize("batch_size", [0, -1, SIZE + 1])
def test_batch_size_out_of_range_is_refused(batch_size):
    with pytest.raises(ConfigurationError, match=f"batch_size={batch_size}: allowed is 1..{SIZE}, .* of tiny"):
        problem(batch_size=batch_size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "crossentropy"}, r"loss=crossentropy.*did you mean cross_entropy\?"),
        ({"sampling": "reshufle"}, r"sampling=reshufle.*did you mean reshuffle\?"),
        ({"init": "kaimin"}, r"init=kaimin"),
        ({"init": "normal", "std": 0.0}, "init.std=0.0"),
        ({"dataset": TARGETS}, "loss=cross_entropy: allowed is squared for regression data"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        problem(**options)


def test_check_loss_accepts_what_fits_the_task():
    assert check_loss("squared", "regression") == check_loss("squared", "classification") == "squared"
    assert check_loss("cross_entropy", "classification") == "cross_entropy"


@pytest.mark.parametrize("batch_size", [7, 40])  # evaluation batches of 64 and 80 rows
def test_evaluation_shows_every_sample_of_every_part_once(batch_size):
    p = problem(batch_size=batch_size)
    parts = {"train_": CLASSES.train, "val_": CLASSES.validation, "test_": CLASSES.test}
    for full in (False, True):
        batches = p.evaluation(full=full)
        assert {b.part for b in batches} == (set(parts) if full else {"val_"})
        for part in {b.part for b in batches}:
            mine = [b for b in batches if b.part == part]
            assert [b.weight for b in mine] == [len(b.tensors[0]) for b in mine]
            assert torch.equal(torch.cat([b.tensors[0] for b in mine]), parts[part].x.double())
            assert torch.equal(torch.cat([b.tensors[1] for b in mine]).argmax(-1), parts[part].y)


@pytest.mark.parametrize(("dataset", "loss"), [(CLASSES, "cross_entropy"), (CLASSES, "squared"), (TARGETS, "squared")])
def test_metric_sums_are_those_of_a_direct_computation(dataset, loss):
    p = problem(dataset, loss=loss)
    params = p.initial_parameters(0)
    for part, data in (("train_", dataset.train), ("val_", dataset.validation), ("test_", dataset.test)):
        sums = [p.metrics(params, *b.tensors) for b in p.evaluation(full=True) if b.part == part]
        output = torch.func.functional_call(p.module, params, (data.x.double(),))
        if loss == "cross_entropy":
            expected = F.cross_entropy(output, data.y, reduction="sum")
        else:
            target = F.one_hot(data.y, 3) if dataset is CLASSES else data.y
            expected = F.mse_loss(output, target.double(), reduction="sum") / 2
        torch.testing.assert_close(sum(s["loss"] for s in sums), expected, rtol=1e-12, atol=0)
        if dataset is CLASSES:
            correct = np.sum(output.argmax(1).numpy() == data.y.numpy())
            assert sum(s["accuracy"] for s in sums).item() == correct
        else:
            assert "accuracy" not in sums[0]


def test_initial_parameters_depend_on_the_seed_alone():
    a, b = problem(batch_size=3), problem(batch_size=50, sampling="reshuffle", loss="squared")
    assert list(a.initial_parameters(4)) == [name for name, _ in a.module.named_parameters()]
    for name, tensor in a.initial_parameters(4).items():
        assert torch.equal(tensor, b.initial_parameters(4)[name])
        assert not torch.equal(tensor, a.initial_parameters(5)[name])


@pytest.mark.parametrize("sampling", ["iid", "reshuffle", "cyclic"])
def test_many_seeds_at_once_have_the_bits_of_each_alone(sampling):
    p, seeds = problem(batch_size=9, sampling=sampling), np.array([5, 0, 12])
    parameters, samples = p.initial_parameters_of(seeds), p.samples_of(seeds, 60, 70)
    assert samples.shape == (10, 3, 9)
    assert list(parameters) == list(p.initial_parameters(0))
    for i, seed in enumerate(seeds):
        assert torch.equal(samples[:, i], p.sample(int(seed), 60, 70))
        assert all(torch.equal(t[i], p.initial_parameters(int(seed))[name]) for name, t in parameters.items())


def test_parameters_and_data_have_the_dtype_of_the_problem():
    p = mlp_problem(dtype=torch.bfloat16)
    assert {t.dtype for t in p.initial_parameters(0).values()} == {torch.bfloat16}
    assert {t.dtype for t in p.batch(torch.arange(3))} == {torch.bfloat16}
