"""What `make speed` makes of its records, and that stacks, loops and JAX do the same training. Nothing is timed."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from bench.cell.cell import build_cell
from bench.command import make_console, run_command
from bench.execution.engine import kind
from bench.speed import __main__ as speed
from bench.speed import jax_work, scaling
from bench.speed.__main__ import make_document, make_rows, print_document, rates
from bench.speed.loop import Loop, Workers
from bench.speed.memory import needed_bytes, peak_bytes
from bench.speed.peak import E1_BYTES, member_step_flops
from bench.speed.scaling import LOOP, draw, engines
from bench.speed.work import WORKS, stacked_round
from shb.streams import BLOCK
from shb.training import why_not

MLP, _, CNN, _, E1 = WORKS
SMALL = [pytest.param(dataclasses.replace(w, members=3, steps=3), id=w.kind) for w in (MLP, CNN, E1)]
FIELDS = {
    *("work", "kind", "engine", "members", "width", "cost", "member_steps_per_second", "compile_seconds"),
    *("ratio_to_loop", "ratio_low", "ratio_high", "loop_steps_per_second", "loop", "ratio_to_jax", "share_of_peak"),
    *("rounds", "peak_bytes", "ratio_to_needed_memory", "ratio_to_jax_given_samples"),
}


def record(role, seconds, member_steps=100, **facts):
    """As pytest-benchmark writes one: the seconds of every round."""
    extra = {"role": role, "member_steps": member_steps, **facts}
    return {"extra_info": extra, "stats": {"data": list(seconds), "rounds": len(seconds)}}


def records_of(work, jax=()):
    """Eager 200, compiled 400 member-steps/s; loops of 10, 40 (20 + 20) and 25 steps/s."""
    name = {"work": work.name}
    return [
        record("eager", [0.4, 0.5, 0.8], width=8, compile_seconds=None, **name),
        record("compiled", [0.25, 0.25, 0.25], width=16, compile_seconds=7.0, **name),
        record("loop", [10.0, 10.0, 10.0], loop="1 process x 2 threads", **name),
        record("loop", [9.0, 9.0, 9.0], loop="2 processes x 1 thread", rates=[50.0, 40.0, 20.0], **name),
        record("loop", [4.0, 4.0, 4.0], loop="1 process x 1 thread", **name),
        *jax,
    ]


PEAKS = [record("product", [2.0], 10**12), record("native_product", [1.0], 10**12), record("copy", [0.5], 10**10)]
MILLION = record("million", [9.0], work="E1", members=5, member_steps_per_second=1.0, peak_gib=0.5)
MILLION["extra_info"] |= {"seconds": 2.0, "trapped": 0, "upper_bound": 0.1}


def test_ratios_are_to_the_best_loop():
    eager, compiled = make_rows([*PEAKS, *records_of(MLP)], [MLP])
    names = ("engine", "width", "compile_seconds")
    assert [eager[name] for name in names] == ["eager", 8, None]
    assert [compiled[name] for name in names] == ["compiled", 16, 7.0]
    for row, rate in (eager, 200), (compiled, 400):
        assert row["loop"] == "2 processes x 1 thread"
        assert row["loop_steps_per_second"] == 40
        assert row["member_steps_per_second"] == pytest.approx(rate)
        assert row["ratio_to_loop"] == pytest.approx(rate / 40)
        assert row["rounds"] == 3


def test_bounds_pair_slow_with_fast_quartiles():
    eager, *_ = make_rows([*PEAKS, *records_of(MLP)], [MLP])
    stack_slow, stack_fast = (125 + 200) / 2, (200 + 250) / 2
    loop_slow, loop_fast = (20 + 40) / 2, (40 + 50) / 2
    assert eager["ratio_low"] == pytest.approx(stack_slow / loop_fast)
    assert eager["ratio_high"] == pytest.approx(stack_fast / loop_slow)
    assert eager["ratio_low"] < eager["ratio_to_loop"] < eager["ratio_high"]


def test_rates_are_those_of_rounds_unless_workers_gave_them():
    assert rates(record("eager", [1.0, 2.0, 4.0], 8)) == (3, 4, 6)
    assert rates(record("loop", [1.0, 2.0, 4.0], 8, rates=[5.0])) == (5, 5, 5)


def test_shares_of_the_peak():
    """The product runs 5e11 FLOP/s, the copy moves 2e10 bytes/s."""
    rows = make_rows([*PEAKS, *records_of(MLP), *records_of(E1)], [MLP, E1])
    network, closed_form = rows[0], rows[2]
    assert network["share_of_peak"] == pytest.approx(200 * member_step_flops(MLP) / 5e11)
    assert network["share_of_bandwidth"] is None
    assert closed_form["share_of_peak"] is None
    assert closed_form["share_of_bandwidth"] == pytest.approx(200 * E1_BYTES / 2e10)


def test_floating_point_operations_of_a_member_step():
    """Forward, and backward for both factors of every product, but not for the data."""
    forward = 2 * 32 * np.array([64 * 64, 64 * 64, 64 * 10])
    assert member_step_flops(MLP) == 3 * forward.sum() - forward[0]
    convolutions = 2 * 32 * np.array([64 * 9 * 16, 16 * 9 * 16 * 32, 128 * 10])
    assert member_step_flops(CNN) == 3 * convolutions.sum() - convolutions[0]
    assert member_step_flops(E1) == 0


def test_jax_where_it_ran():
    assert [row["ratio_to_jax"] for row in make_rows([*PEAKS, *records_of(MLP)], [MLP])] == [None] * 2
    jax = record("jax", [1.0, 1.0], 50, work=MLP.name)
    rows = make_rows([*PEAKS, *records_of(MLP, [jax])], [MLP])
    assert [row["ratio_to_jax"] for row in rows] == pytest.approx([4, 8])
    drawing = record("jax, drawing", [1.0, 1.0], 25, work=MLP.name)
    rows = make_rows([*PEAKS, *records_of(MLP, [jax, drawing])], [MLP])
    assert [row["ratio_to_jax"] for row in rows] == pytest.approx([8, 16])
    assert [row["ratio_to_jax_given_samples"] for row in rows] == pytest.approx([4, 8])


def test_engines_that_did_not_run_have_no_row():
    eager_only = [r for r in records_of(MLP) if r["extra_info"]["role"] != "compiled"]
    assert [row["engine"] for row in make_rows([*PEAKS, *eager_only], [MLP])] == ["eager"]


@pytest.fixture(scope="module")
def document():
    measured = [*PEAKS, *(record for work in WORKS for record in records_of(work)), MILLION]
    for one in measured:
        if one["extra_info"].get("work") == E1.name and "width" in one["extra_info"]:
            one["extra_info"] |= {"member_steps": 40_000, "width": 250_000}  # as large as they get
    return json.loads(json.dumps(make_document(measured)))


def test_the_document_has_its_fields(document):
    assert document["schema_version"] == 5
    assert document["peak_gflops"] == pytest.approx(500)
    assert document["native_gflops"] == pytest.approx(1000)
    assert document["copy_gigabytes_per_second"] == pytest.approx(20)
    assert {"cpu", "threads", "torch"} <= document["machine"].keys()
    assert len(document["rows"]) == 2 * len(WORKS)
    for row in document["rows"]:
        assert row.keys() >= FIELDS
    assert [row["cost"] for row in document["rows"][::2]] == [work.cost for work in WORKS]
    assert document["million"]["trapped"] == 0


def test_the_table_says_all_of_it(document, capsys):
    document = {**document, "machine": {**document["machine"], "jax": None}}
    print_document(document, make_console())
    text = capsys.readouterr().out
    for word in (
        *(work.name for work in WORKS),
        "compiled",
        "native product 1000 GFLOP/s",
        " 5.0 [",
        " 10.0 [",
        " 2000 [",
        "2 processes x 1 thread",
        "GB/s",
    ):
        assert word in text
    assert "…" not in text
    assert "JAX: not installed (make speed JAX=1)" in text
    assert max(map(len, text.split("best loop of")[0].splitlines())) <= 120


def test_every_kind_of_a_cell_has_works(tiny_config):
    """bench.execution.engine looks for rows by kind."""
    kinds = {work.kind for work in WORKS}
    assert kinds == {"mlp", "cnn", "closed form"}
    assert kind(build_cell(tiny_config)) in kinds
    assert all(work.loop_steps <= BLOCK for work in WORKS)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("work", SMALL)
def test_loops_and_stacks_train_alike(work, engine):
    if engine == "compiled" and why_not() is not None:
        pytest.skip(f"nothing can be compiled here: {why_not()}")
    loop = Loop(work, range(work.members), work.steps)
    loop.run()
    expect_equal(work, loop.parameters(), engine)
    loop.run()
    loop.reset()
    loop.run()
    expect_equal(work, loop.parameters(), engine)


@pytest.mark.parametrize("work", SMALL)
@pytest.mark.skipif(not jax_work.INSTALLED, reason=f"JAX: {jax_work.NOT_INSTALLED}")
def test_jax_and_stacks_train_alike(work):
    trained = [torch.from_numpy(np.array(parameter)) for parameter in jax_work.jax_round(work)()]
    expect_equal(work, list(zip(*trained)))


@pytest.mark.parametrize("steps", [3, 32, 70])
@pytest.mark.skipif(not jax_work.INSTALLED, reason=f"JAX: {jax_work.NOT_INSTALLED}")
def test_jax_that_draws_takes_a_bit_of_a_word_for_each_step(steps, monkeypatch):
    work, seeds = dataclasses.replace(E1, members=5, steps=steps), np.arange(5)
    words = [np.array(jax_work.jax.random.bits(key, (-(-steps // 32),), "uint32")) for key in jax_work.keys(seeds)]
    bits = np.stack([np.unpackbits(word.view(np.uint8), bitorder="little")[:steps] for word in words], axis=1)
    signs = torch.from_numpy(2 * bits.astype(np.int8) - 1)
    (drawn,) = jax_work.jax_round(work, draws=True)()
    monkeypatch.setattr(type(work.problem), "samples_of", lambda self, seeds, start, stop: signs[start:stop])
    (given,) = jax_work.jax_round(work)()
    np.testing.assert_allclose(drawn, given, rtol=1e-12)
    assert 0.2 < bits.mean() < 0.8


def expect_equal(work, members, engine="eager"):
    """The parameters of each member are those of a stack after as many steps, to rounding, and have moved."""
    stack = work.stack(engine, work.members)
    state = stack.start()
    initial = [parameter.clone() for parameter in state["params"].values()]
    stack.advance(state, 0, work.steps)
    tolerance = 1e-12 if work.kind == "closed form" else 1e-6
    for row, parameters in enumerate(members):
        for parameter, stacked, first in zip(parameters, state["params"].values(), initial, strict=True):
            expected = stacked[row].reshape(parameter.shape)
            torch.testing.assert_close(parameter, expected, rtol=tolerance, atol=tolerance)
            assert (expected - first[row].reshape(parameter.shape)).abs().max() > 1e2 * tolerance


def test_a_round_advances_every_chunk_from_the_start(monkeypatch):
    work = dataclasses.replace(MLP, members=7, steps=2)
    stack, seen = work.stack("eager", 3), []
    monkeypatch.setattr(type(work), "stack", lambda self, engine, width: stack)
    advance = stack.advance

    def spy(state, start, stop):
        before = state["params"]["1.weight"].clone()
        advance(state, start, stop)
        seen.append((before, state["params"]["1.weight"], start, stop))

    stack.advance = spy
    stacked_round(work, "eager", 3)()
    assert [(start, stop) for _, _, start, stop in seen] == [(0, 2)] * 3
    for before, after, _, _ in seen:
        assert torch.equal(before, seen[0][0]) and torch.equal(after, seen[0][1]) and not torch.equal(before, after)


def test_the_memory_that_training_needs_is_counted_by_hand():
    """MLP: parameters, velocity, gradients; the batch, two hidden layers, log-softmax and classes."""
    parameters = 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    activations = 32 * (64 + 2 * 64 + 10) * 4 + 32 * 8
    assert needed_bytes(MLP, 1) == pytest.approx(12 * parameters + activations, abs=64)
    assert needed_bytes(MLP, 5) == 5 * needed_bytes(MLP, 1)


@pytest.mark.parametrize("engine", list(engines()))
def test_the_peak_holds_what_a_step_reads_and_makes(engine):
    parameters = 4 * (64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10)
    peak = peak_bytes(MLP, engine, 16)
    assert 16 * 4 * parameters < peak < 2.5 * needed_bytes(MLP, 16)


@pytest.mark.slow
def test_workers_run_until_closed():
    workers = Workers(2)
    workers.load(dataclasses.replace(MLP, members=2), 1, 1)
    rate = workers.run()
    alive = [process.is_alive() for process in workers.processes]
    workers.close()
    assert rate > 0 and alive == [True, True]
    assert not any(process.is_alive() for process in workers.processes)


def test_rates_of_workers_add_up(monkeypatch):
    workers = object.__new__(Workers)
    monkeypatch.setattr(Workers, "_ask", lambda self, message: [2.0, 3.0])
    assert workers.run() == 5


def test_the_scaling_figure_has_units_and_logarithmic_axes():
    curves = {"eager": ((1, 2, 4), (3e-4, 2e-4, 1e-4)), LOOP: ((1, 4), (5e-4, 5e-4))}
    figure = draw(curves, curves)
    assert len(figure.axes) == 2
    for axis in figure.axes:
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
        assert axis.get_xlabel()
        assert [line.get_ydata()[0] for line in axis.get_lines()] == pytest.approx([300, 500])
    assert figure.axes[0].get_ylabel().endswith("[µs]")


@pytest.mark.parametrize("main", [speed.main, scaling.main])
def test_there_is_nothing_to_set(main, capsys):
    for argument in ("engine=eager", "digits", "--fast"):
        assert run_command(main, [argument]) == 2
        error = capsys.readouterr().err
        assert argument.partition("=")[0] in error and "allowed is python -m bench.speed" in error
