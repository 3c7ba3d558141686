"""A tape computes what the traced program does, for any number of members, and a member's bits are its own."""

import inspect
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shb.kernels import Unsupported, enumerations, load, record, use_native
from shb.kernels.recording import STRICT, Recorder
from shb.kernels.recording.table import FUNCTIONS, METHODS
from shb.training import why_not
from shb.training.program import note_values, trace

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")

TRACED = 3  # members of the program
f32, f64 = torch.float32, torch.float64


def tape_of(function, examples):
    load()
    module = trace(function, *examples, rounded=True)
    use_native(module.graph)
    note_values(module, *examples)
    return record(module, TRACED)


def check(function, *inputs, exact=False, rtol=2e-6):
    """`inputs`: for 7 members; `exact`: to the bit, else to within rtol of the largest element."""
    made = tape_of(function, [x[:TRACED] if x.ndim else x for x in inputs])
    expected, found = function(*inputs), made(*inputs)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        if exact or not theirs.is_floating_point():
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
        else:
            scale = float(theirs.nan_to_num(0, 0, 0).abs().max())
            torch.testing.assert_close(mine, theirs, rtol=rtol, atol=rtol * scale, equal_nan=True)
    for rows in ([4], [6, 2, 0, 4]):
        alone = made(*[x[rows] if x.ndim else x for x in inputs])
        for mine, whole in zip(alone, found):
            if whole.ndim:
                torch.testing.assert_close(mine, _rows(whole, rows), rtol=0, atol=0, equal_nan=True)
    return found


def _rows(x, rows):
    return x.unflatten(0, (7, -1))[rows].flatten(0, 1)


def numbers(*shape, dtype=f32, seed=0):
    """Random numbers with zeros, ties, infinities and not-a-number among them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, *shape, generator=generator, dtype=f64).to(dtype)
    flat = x.flatten()
    for i, special in enumerate((0.0, -0.0, 1.0, torch.inf, -torch.inf, torch.nan)):
        flat[i * 5 :: 61] = special
    return x


def ordinary(*shape, dtype=f32, seed=0):
    return torch.randn(7, *shape, generator=torch.Generator().manual_seed(seed), dtype=f64).to(dtype)


@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (130,), (33, 21), (700,)])
@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: [a + b, a - b, a * b, a / b, 3 - a, 2 * a, a / 7],
        lambda a, b: [-a, a.abs(), a.sign(), a.reciprocal(), a.relu(), a**2, a**1],
        lambda a, b: [torch.maximum(a, b), torch.minimum(a, b), torch.where(a > b, a, b), torch.where(a > 0, a, 0.0)],
        lambda a, b: [a == b, a != b, a < b, a <= b, a > b, a >= b, a == 1, a != torch.inf, ~(a > b)],
        lambda a, b: [(a > 0) & (b > 0), (a > 0) | (b > 0), (a > 0) ^ (b > 0), a.isfinite(), (a > 0).double()],
        lambda a, b: [a.double() + b, a.float() * b, torch.ones_like(a) * b, torch.zeros_like(a), a.isnan()],
    ],
    ids=["arithmetic", "of one", "choices", "comparisons", "logic", "types"],
)
def test_elementwise_operations_to_the_bit(function, shape, dtype):
    check(function, numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=1), exact=True)


@pytest.mark.parametrize("dtype", [f32, f64])
def test_roots_are_correctly_rounded(dtype):
    """Torch's are not."""
    x = numbers(700, dtype=dtype).abs()
    (found,) = tape_of(lambda x: [x.sqrt()], [x[:TRACED]])(x)
    exact = torch.from_numpy(np.sqrt(x.numpy()))
    torch.testing.assert_close(found, exact, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("sizes", [(4, 6), (32, 10), (3, 600), (130, 70)])
def test_broadcasting(sizes):
    rows, columns = sizes
    matrix, row, column, one = ordinary(rows, columns), ordinary(columns), ordinary(rows), ordinary()

    def function(matrix, row, column, one):
        per_row, per_column = column.unsqueeze(2), row.unsqueeze(1)
        single = one.view(-1, 1, 1)
        return [matrix + per_column, matrix * per_row, matrix * single, per_row * per_column, single + per_row * 2]

    check(function, matrix, row, column, one, exact=True)


def test_a_chain_of_many_operations_and_results_that_are_read_again():
    def function(a, b, lr):
        total = a
        for i in range(60):  # more than a loop holds
            total = (total + b) * 0.5 + i
        step = lr.float().view(-1, 1) * b
        return [total, a - step, step.sum(1), (a - step) * total]

    check(function, ordinary(600), ordinary(600, seed=1), ordinary(dtype=f64).abs(), rtol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x.permute(0, 2, 1, 3), x.transpose(2, 3) + 1, x.flatten(1), x.reshape(x.shape[0], 4, -1) * 2],
        lambda x: [x.flatten(0, 1), x.flatten(0, 1).relu(), (x.flatten(0, 1) * 2).view(x.shape)],
        lambda x: [x.select(1, 2), x.select(3, 1) * x.select(3, 0), x[:, 0, :, 1].sum(1), x.unsqueeze(1) - 1],
        lambda x: [x.permute(0, 3, 1, 2).reshape(x.shape[0], -1), x.transpose(1, 2).sum(3), torch.stack([x, x * 2], 2)],
        lambda x: [*x.unbind(2), x.unbind(3)[1] * x.unbind(3)[2]],
        lambda x: [x.sum(1, keepdim=True).expand(-1, 4, -1, -1), x.select(2, 1).unsqueeze(3)],
    ],
)
def test_views(function):
    check(function, ordinary(4, 3, 5), exact=False)


@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize("shape", [(3, 5), (32, 10), (16, 64), (300, 17), (5, 1100), (2, 5000), (1, 1)])
def test_reductions(shape, dtype):
    rtol = 2e-6 if dtype == f32 else 1e-14

    def function(x):
        return [x.sum(1), x.sum(2), x.mean(2), x.sum((1, 2)), x.mean(1, keepdim=True), x.transpose(1, 2).sum(1)]

    check(function, ordinary(*shape, dtype=dtype), rtol=rtol)
    check(lambda x: [x.argmax(2), x.sum(2)], numbers(*shape, dtype=dtype), rtol=rtol)


def test_sums_of_many_terms_are_as_exact_as_torch():
    x = torch.rand(7, 200_000, generator=torch.Generator().manual_seed(0)) + 1
    (found,) = check(lambda x: [x.sum(1)], x)
    exact = x.double().sum(1)
    assert float(((found - exact).abs() / exact).max()) < 1e-6


@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize("shape", [(3, 10), (32, 10), (64, 16), (5, 17), (2, 1500), (1, 1), (500, 3)])
@pytest.mark.parametrize("scale", [1, 50])
def test_log_softmax_and_its_gradient(shape, dtype, scale):
    x, upstream = scale * ordinary(*shape, dtype=dtype), ordinary(*shape, dtype=dtype, seed=1)
    rtol = 4e-6 if dtype == f32 else 1e-14

    def function(x, upstream):
        y, back = torch.func.vjp(lambda x: F.log_softmax(x, 2), x)
        return [y, back(upstream)[0]]

    found = check(function, x, upstream, rtol=rtol)
    exact = function(x.double(), upstream.double())
    for mine, true in zip(found, exact):
        torch.testing.assert_close(mine.double(), true, rtol=rtol, atol=rtol * float(true.abs().max()))


def test_log_softmax_of_numbers_that_are_none():
    x = ordinary(4, 10)
    x[1, 2, 3], x[2, 0, 0], x[3, 1, 1] = torch.nan, torch.inf, -torch.inf
    check(lambda x: [F.log_softmax(x, 2)], x)


@pytest.mark.parametrize("sizes", [(32, 64, 64), (1, 1, 1), (37, 19, 10), (130, 70, 33), (5, 300, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_products(sizes, bias):
    m, k, n = sizes
    a, b, row = ordinary(m, k), ordinary(n, k, seed=1), ordinary(n, seed=2)

    def function(a, b, row):
        y = torch.bmm(a, b.transpose(1, 2))
        y = y + row.unsqueeze(1) if bias else y
        return [y.relu(), torch.bmm(y.transpose(1, 2), a), torch.bmm(y, b)]

    found = check(function, a, b, row, rtol=1e-5)
    exact = function(a.double(), b.double(), row.double())
    for mine, true in zip(found, exact):
        torch.testing.assert_close(mine.double(), true, rtol=1e-5, atol=1e-5 * float(true.abs().max()))


def test_a_product_that_is_read_with_and_without_its_bias():
    def function(a, b, row):
        y = torch.bmm(a, b)
        return [y + row.unsqueeze(1), y * 2]

    check(function, ordinary(4, 5), ordinary(5, 6), ordinary(6), rtol=1e-5)


def test_rows_of_a_table():
    table = torch.randn(11, 3, 4)
    index = torch.randint(0, 11, (7, 6))
    check(lambda i: [table.index_select(0, i.flatten()).unflatten(0, i.shape) * 2], index, exact=True)


@pytest.mark.parametrize("place", [-1, 11])
def test_a_row_that_a_table_lacks_is_refused(place):
    table, index = torch.randn(11, 3), torch.zeros(7, 6, dtype=torch.int64)
    made = tape_of(lambda i: [table.index_select(0, i.flatten())], [index[:TRACED]])
    index[3, 4] = place
    with pytest.raises(IndexError, match=f"row {place} of a table of 11 rows"):
        made(index)


def test_a_program_that_is_recorded_again_is_the_same_tape_number_by_number():
    x = ordinary(5)

    def chain(a):
        doubled = a + a
        return [(doubled * a - a.abs()) * doubled, (doubled - a.sqrt()) * (a - doubled.abs())]

    made = [tape_of(chain, [x[:TRACED]]) for _ in range(8)]
    assert all(tape.code == made[0].code for tape in made)


def test_what_is_the_same_for_all_members():
    shared = torch.randn(1, 4).expand(7, 4)
    k = torch.tensor(3)
    check(lambda x, y, k: [x * y, torch.where(k == 3, x, y), x], ordinary(4), shared, k, exact=True)


def test_any_over_the_members():
    made = tape_of(lambda x: [(x > 2).any(), x + 1], [torch.zeros(TRACED)])
    for members in (1, 5, 5000):
        x = torch.zeros(members)
        assert not made(x)[0]
        x[members // 2] = 3
        assert made(x)[0] and made(x)[0].shape == ()


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: [x.exp()], (4,)),
        (lambda x: [x.sum(0)], (4,)),
        (lambda x: [x.flatten(0, 1).sum(0)], (4,)),
        (lambda x: [x.transpose(0, 1) + 1], (4,)),
        (lambda x: [torch.bmm(x.double(), x.double())], (4, 4)),
        (lambda x: [x**3], (4,)),
        (lambda x: [torch.zeros(4)], (4,)),
        (lambda x: [(x > 0).to(torch.int64).abs()], (4,)),
        (lambda x: [(x > 0).all(dim=1)], (4,)),  # a helper of the recorder once had the name of this operation
        (lambda x: [x.amax(1), x.var(1)], (4,)),
        (lambda x: [torch.div(x, 2, rounding_mode="floor")], (4,)),
        (lambda x: [torch.add(x, x, alpha=2)], (4,)),
    ],
)
def test_what_a_tape_cannot_hold_is_said(function, shape):
    with pytest.raises(Unsupported):
        tape_of(function, [ordinary(*shape)[:TRACED]])


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(lambda a, b: [torch.bmm(a, b).relu().sum(1)], ordinary(70, 40), ordinary(40, 20), rtol=1e-5)
        check(lambda a: [a * 2 + a.sign()], ordinary(), exact=True)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [f32, f64])
def test_not_a_number_in_either_place(dtype):
    """torch's maximum and minimum are not-a-number if one of both is; a tape once dropped the second."""
    values = torch.tensor([torch.nan, 1.0, 2.0, torch.inf, -torch.inf, 0.0, torch.nan], dtype=dtype)
    for shift in range(7):
        check(lambda a, b: [torch.maximum(a, b), torch.minimum(a, b)], values, values.roll(shift), exact=True)


def test_the_operations_in_the_table_are_methods_that_record():
    for name in set(METHODS.values()):
        first, second, *_ = inspect.signature(getattr(Recorder, name)).parameters
        assert (first, second) == ("self", "node")
    assert set(FUNCTIONS.values()) <= set(enumerations.FUNCTIONS) and not set(FUNCTIONS) & set(METHODS)


def test_an_error_of_the_recorder_is_raised_here_and_a_warning_elsewhere(monkeypatch, caplog):
    def broken(self, node, x):
        raise ZeroDivisionError("broken on purpose")

    monkeypatch.setattr(Recorder, "_isnan", broken)
    with pytest.raises(ZeroDivisionError):
        tape_of(lambda x: [x.isnan()], [ordinary(4)[:TRACED]])
    monkeypatch.delenv(STRICT)
    monkeypatch.setattr(logging.getLogger("shb.kernels.recording"), "disabled", False)  # Hydra disables what is there
    with pytest.raises(Unsupported, match=r"error of the recorder.*broken on purpose"):
        tape_of(lambda x: [x.isnan()], [ordinary(4)[:TRACED]])
    assert "broken on purpose" in caplog.text and caplog.records[0].levelname == "WARNING"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, y, k: (x.double(), y, k), "input 0 of a tape is Double, not Float"),
        (lambda x, y, k: (x, y.half(), k), "input 1 of a tape is Half, not Float"),
        (lambda x, y, k: (x, y[:, :3], k), r"input 1 of a tape has \[7, 3\], not 7 x 4 numbers"),
        (lambda x, y, k: (x, y[:5], k), "for 7 members"),
        (lambda x, y, k: (x, y, k.int()), "input 2 of a tape is Int, not Long"),
        (lambda x, y, k: (x, y, k.expand(2)), r"input 2 of a tape has \[2\], not 1 x 1 numbers"),
        (lambda x, y, k: (x, y.to("meta"), k), "input 1 of a tape is on meta"),
        (lambda x, y, k: (x, y), "a tape of 3 inputs was given 2"),
    ],
)
def test_inputs_of_another_dtype_size_or_device_are_refused(wrong, message):
    """What is given decides nothing: a tape reads what it was recorded for."""
    inputs = ordinary(4), ordinary(4), torch.tensor(3)
    made = tape_of(lambda x, y, k: [x * y, torch.where(k == 3, x, y)], [ordinary(4)[:3], ordinary(4)[:3], inputs[2]])
    made(*inputs)
    with pytest.raises(RuntimeError, match=message):
        made(*wrong(*inputs))


@pytest.mark.parametrize(("first", "second"), [(torch.bool, torch.int64), (f32, f64), (torch.int64, f32)])
def test_a_stack_of_several_dtypes_has_the_widest(first, second):
    """The narrower one was read as if it were as wide, past its end."""
    a, b = ordinary(5).to(first), (3 * ordinary(5, seed=1)).to(second)
    check(lambda a, b: [torch.stack([a, b], 1), torch.stack([b, a], 2)], a, b, exact=True)
