"""Two stores compared: planted differences are found, noise and last bits of another machine are none."""

import json

import numpy as np
import polars as pl
import pytest

from bench.command import run_command
from bench.compare import main
from bench.exchange.comparison import compare
from bench.store.identity import canonical, identity
from bench.store.schema import MEMBER_SCHEMA
from bench.store.store import Store
from tests.bench.planted import curve_of

HERE = {"cpu": "A", "torch": "2.14", "threads": 1, "device_name": "cpu", "device": "cpu", "code_commit": "aaa111"}
THERE = {**HERE, "cpu": "B", "code_commit": "bbb222"}
DAY = "2026-01-01T00:00:00+00:00"


def member(seed, loss, *, lr=0.1, machine=HERE, numerics=1, engine="eager", device="cpu", **values):
    settings = json.dumps({"lr": lr})
    spec = {"numerics": numerics, "engine": engine, "seed": seed, "lr": lr, "problem": {"name": "p", "device": device}}
    row = {
        "problem": "p",
        "optimizer": "sgd",
        "status": "done",
        "hyperparameters": settings,
        "engine": engine,
        "seed": seed,
    }
    losses = {"train_loss": loss, "test_loss": None if loss is None else 2 * loss}
    return {"member_id": identity(spec), "spec": canonical(spec), "created": DAY, **row, **losses, **machine, **values}


def diverged(seed, step=5, **options):
    return member(seed, None, status="diverged", diverged_step=step, **options)


def frame(rows):
    return pl.DataFrame(rows, schema=MEMBER_SCHEMA)


def losses(rng, count, spread=0.1):
    return 1.0 + spread * rng.standard_normal(count)


def test_a_store_is_equal_to_itself():
    rows = [member(seed, 1.0 + seed) for seed in range(3)] + [diverged(9)]
    found = compare(frame(rows), frame(rows))
    assert found.equal and len(found.pairs) == 4 and not found.broken
    assert all(test.p == 1 and test.difference == 0 for test in found.tests)


def test_one_bit_on_the_same_machine_is_a_difference():
    found = compare(frame([member(0, 1.0)]), frame([member(0, 1.0 + 2**-52)]))
    assert not found.equal and [pair.changed for pair in found.broken] == ["train_loss"]


@pytest.mark.parametrize("name", ["cpu", "torch", "threads"])
def test_bits_are_tied_to(name):
    other = {**HERE, name: 2 if name == "threads" else "other"}
    found = compare(frame([member(0, 1.0)]), frame([member(0, 1.0 + 2**-52, machine=other)]))
    assert found.equal and not found.broken and found.pairs[0].changed


def test_rounding_that_prefers_one_side_is_no_difference():
    a = [member(seed, 1.0 + seed) for seed in range(10)]
    b = [member(seed, (1.0 + seed) * (1 + 1e-7), machine=THERE) for seed in range(10)]
    assert compare(frame(a), frame(b)).equal


@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_a_shift_beyond_the_noise_is_found(shift):
    """40 cells of which one is shifted by four of the standard deviations of its differences."""
    rng = np.random.default_rng(0)
    a, b = [], []
    for cell in range(40):
        plain, noise = losses(rng, 10), 0.005 * rng.standard_normal(10)
        a += [member(seed, loss, lr=cell) for seed, loss in enumerate(plain)]
        other = plain + noise + (shift if cell == 7 else 0.0)
        b += [member(seed, loss, lr=cell, machine=THERE) for seed, loss in enumerate(other)]
    found = compare(frame(a), frame(b))
    assert {json.loads(test.hyperparameters)["lr"] for test in found.differing} == ({7} if shift else set())
    assert found.equal == (not shift)
    if shift:
        assert found.differing[0].difference == pytest.approx(0.02, rel=0.3)


@pytest.mark.slow
def test_equal_stores_but_for_noise_rarely_differ():
    """Family-wise error over 300 comparisons of 20 cells of 3 seeds each: at most 5 % plus its own error."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(300):
        plain = losses(rng, 60)
        other = plain + 0.01 * rng.standard_t(3, 60)  # some seeds differ much more than others
        sides = []
        for values, machine in ((plain, HERE), (other, THERE)):
            sides.append([TEMPLATE[i] | {"train_loss": x, "test_loss": None} | machine for i, x in enumerate(values)])
        wrong += not compare(*map(frame, sides)).equal
    assert wrong <= 15 + 2 * np.sqrt(300 * 0.05 * 0.95)


TEMPLATE = [member(i % 3, 1.0, lr=float(i // 3)) for i in range(60)]


def test_pairs_use_that_seeds_are_the_same():
    """Seeds differ a hundred times more than the shift; other seeds on one side, and it is not found."""
    rng = np.random.default_rng(2)
    plain = losses(rng, 10, 1.0)
    a = frame([member(seed, loss) for seed, loss in enumerate(plain)])
    shifted = plain + 0.01 + 0.001 * rng.standard_normal(10)
    paired = compare(a, frame([member(seed, loss, machine=THERE) for seed, loss in enumerate(shifted)]))
    unpaired = compare(a, frame([member(seed + 50, loss, machine=THERE) for seed, loss in enumerate(shifted)]))
    assert paired.differing and not unpaired.differing
    assert len(unpaired.only_a) == len(unpaired.only_b) == 10 and len(unpaired.tests) == 2


def test_unpaired_cells_are_tested_by_welch():
    rng = np.random.default_rng(3)
    a = frame([member(seed, loss) for seed, loss in enumerate(losses(rng, 10))])
    b = frame([member(seed + 50, loss + 1.0) for seed, loss in enumerate(losses(rng, 10))])
    assert {test.what for test in compare(a, b).differing} == {"train_loss", "test_loss"}


def test_a_cell_whose_seeds_all_diverge_now_differs():
    a = frame([member(seed, 1.0 + seed) for seed in range(3)])
    b = frame([diverged(seed, machine=THERE) for seed in range(3)])
    (test,) = compare(a, b).differing
    assert test.what == "diverged" and test.difference == 1.0


def test_more_diverged_seeds_are_found_and_few_are_noise():
    def side(count, machine):
        return frame([(diverged if seed < count else member)(seed, 1.0 + seed, machine=machine) for seed in range(40)])

    def diverged(seed, loss, machine):
        return member(seed, None, status="diverged", diverged_step=3, machine=machine)

    assert compare(side(2, HERE), side(4, THERE)).equal
    assert [test.what for test in compare(side(2, HERE), side(25, THERE)).differing] == ["diverged"]


def test_one_seed_has_no_noise():
    found = compare(frame([member(0, 1.0)]), frame([member(0, 2.0, machine=THERE)]))
    assert found.untested == 1 and not found.tests and found.equal


def test_engines_numerics_and_devices_answer_the_same_question():
    a = [member(seed, 1.0 + seed) for seed in range(4)]
    for options in ({"engine": "compiled"}, {"numerics": 2}, {"device": "cuda"}):
        found = compare(frame(a), frame([member(seed, 1.0 + seed, **options) for seed in range(4)]))
        assert found.equal and len(found.pairs) == 4 and not any(pair.same_id for pair in found.pairs)
    both = a + [member(seed, 9.0, engine="compiled") for seed in range(4)]
    assert all(pair.same_id for pair in compare(frame(both), frame(a)).pairs)


def test_what_one_side_lacks():
    a, b = [member(seed, 1.0) for seed in range(3)], [member(seed, 1.0) for seed in range(1, 5)]
    found = compare(frame(a), frame(b))
    assert [row["seed"] for row in found.only_a] == [0] and [row["seed"] for row in found.only_b] == [3, 4]
    assert not found.equal


def test_failed_members_do_not_count():
    a = [member(0, 1.0), member(1, 1.0), member(2, None, status="failed")]
    found = compare(frame(a), frame(a[:2]))
    assert found.equal and len(found.pairs) == 2


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Writes named stores in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**named):
        for name, rows in named.items():
            Store(name).write(rows, curve_of(rows))

    return write


@pytest.fixture
def command(capsys):
    def call(*arguments):
        code = run_command(main, arguments)
        return code, *capsys.readouterr()

    return call


def test_two_folders(stores, command):
    rows = [member(seed, 1.0 + seed / 10) for seed in range(4)]
    stores(a=rows, b=rows, c=[*rows[:3], member(3, 1.4)], d=rows[:3])
    code, out, _ = command("a", "b")
    assert code == 0 and out.rstrip().endswith("equal") and "0 beyond noise" in out
    code, out, _ = command("a", "c")
    assert code == 1 and f"{rows[3]['member_id']} p sgd seed 3: train_loss 1.3 and 1.4 (SAME machine)" in out
    code, out, _ = command("a", "d")
    assert code == 1 and "only in A: 1 members: 1 of p sgd" in out and out.rstrip().endswith("different")
    assert command("a", "d", "common=true")[0] == 0


def test_one_folder_at_two_code_versions(stores, command):
    """Newer numerics give other ids: what was asked for is compared."""
    rng = np.random.default_rng(4)
    plain = losses(rng, 6)
    old = [member(seed, loss, machine=HERE) for seed, loss in enumerate(plain)]
    new = [member(seed, loss + 0.5, numerics=2, machine=THERE) for seed, loss in enumerate(plain)]
    stores(a=old + new)
    code, out, _ = command("a", "code_commit=aaa", "code_commit=bbb")
    assert code == 1 and "Cells that differ beyond their noise" in out and "+0.5" in out
    assert "A: a code_commit=aaa (6 members)" in out and "6" in out
    assert command("a", "code_commit=aaa", "code_commit=aaa1")[0] == 0


def test_the_same_member_at_two_code_versions(stores, command):
    """A member that was computed twice has two rows in a folder; each version has its own."""
    stores(a=[member(0, 1.0, machine=HERE)])
    Store("a").write([member(0, 1.5, machine={**HERE, "code_commit": "ccc333"})], [])
    code, out, _ = command("a", "code_commit=aaa", "code_commit=ccc")
    assert code == 1 and "train_loss 1.0 and 1.5 (SAME machine)" in out


def test_a_filter_given_once_selects_on_both_sides(stores, command):
    rows = [member(0, 1.0), member(1, 1.0)]
    stores(a=rows, b=[rows[0], member(1, 5.0, optimizer="adam")])
    assert command("a", "b")[0] == 1
    assert command("a", "b", "optimizer=sgd", "common=true")[0] == 0


def test_long_lists_are_cut_and_say_so(stores, command):
    stores(a=[member(seed, 1.0) for seed in range(30)], b=[member(seed, 2.0, machine=THERE) for seed in range(30)])
    out = command("a", "b", "show=5")[1]
    assert "and 25 more members with other bits (show=30 lists them)" in out.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "python -m bench.compare"),
        (["a"], "a column given twice"),
        (["a", "nowhere"], "results folder"),
        (["a", "b", "c"], "python -m bench.compare"),
        (["a", "code_commit=a", "code_commit=b", "code_commit=c"], "once, or twice"),
        (["a", "code_commit=a", "code_commit=zzz"], "with members"),
        (["a", "b", "common=yes"], "true or false"),
        (["a", "b", "shown=3"], "did you mean show"),
        (["a", "b", "seed=3"], "one of"),
    ],
)
def test_bad_input_is_one_line(stores, command, arguments, words):
    stores(a=[member(0, 1.0)], b=[member(0, 1.0)])
    code, _, err = command(*arguments)
    assert code == 2 and err.count("\n") == 1 and words in err
