"""What the documents show is what the code does: code blocks run, printed numbers are those of the reference."""

import ast
import json
import re
from pathlib import Path

import polars as pl
import pytest
import torch

from bench.claims.expectations import expectations
from bench.leaderboard.document import leaderboard
from bench.leaderboard.text import markdown
from bench.plan.stored import stored_plan
from bench.store.environment import cpu_name
from bench.store.schema import CURVE_SCHEMA, ENSEMBLE_SCHEMA, MEMBER_SCHEMA, PLAN_SCHEMA
from bench.store.store import Store
from bench.suite.suite import load_suite
from shb.optimizers import OPTIMIZERS
from shb.problems import E1
from shb.training import Member, Plan, Stack, why_not

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "reference"


def python_blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def suite():
    return load_suite("default", ["device=cpu", f"results_dir={REFERENCE}"])


def test_the_training_loop_of_the_readme_trains():
    (loop,) = (block for block in python_blocks("README.md") if "import SHB" in block)
    torch.manual_seed(0)
    names = {}
    exec(loop, names)
    x, y, model = names["x"], names["y"], names["model"]
    assert torch.nn.functional.mse_loss(model(x), y) < 0.9 * y.var()


def test_the_optimizer_of_the_readme_runs_in_a_stack():
    (block,) = (block for block in python_blocks("README.md") if "SIGNSGD" in block)
    names = {}
    exec(block, names)
    assert "signsgd" not in OPTIMIZERS
    members = [Member(seed, {"lr": 2.0**-4}) for seed in range(3)]
    problem = E1(init="point", value=0.5)
    for trajectory in Stack(problem, names["SIGNSGD"], members, Plan(9)).run():
        w = 0.5
        for s in problem.sample(trajectory.member.seed, 0, 9).tolist():
            slope = w + (2 if w * s > 0 else 0)  # v(w, s) of E1 away from 0
            w -= 2.0**-4 * ((slope > 0) - (slope < 0))
        assert trajectory.parameters["w"].item() == w


def test_the_loss_of_the_documents_is_the_huber_loss():
    (block,) = (block for block in python_blocks("docs/extend.md") if "huber" in block)
    names = {"torch": torch, "LOSSES": {}}
    exec(block, names)
    output, y = torch.linspace(-3, 3, 14).view(7, 2), torch.linspace(1, -1, 14).view(7, 2)
    expected = torch.nn.functional.huber_loss(output, y, reduction="none").sum(-1)
    torch.testing.assert_close(names["LOSSES"]["huber"](output, y), expected)


def test_the_readme_shows_the_reference_leaderboard():
    """The tables of two problems without group, interquartile mean and coverage; the one across problems as it is."""
    tables = [line.strip("| ").split(" | ") for line in (REFERENCE / "leaderboard.md").read_text().splitlines()]
    reference = {" | ".join([*c[:2], c[3], *c[5:9], *c[10:]]) for c in tables if len(c) == 11}
    reference |= {" | ".join(cells) for cells in tables if len(cells) == 5}
    lines = [line.strip("| ").split(" | ") for line in (ROOT / "README.md").read_text().splitlines()]
    shown = [" | ".join(cells) for cells in lines if cells[0] in ("optimizer", "sgd", "shb", "nesterov", "adam")]
    assert len(shown) == 15
    assert set(shown) <= reference


def leaves(value, path=()):
    """Everything in a JSON document that is not a list or an object: path -> value."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, inner in items for key, leaf in leaves(inner, (*path, name)).items()}
    return {path: value}


def test_the_reference_leaderboard_follows_from_the_reference_members(suite):
    stored = json.loads((REFERENCE / "leaderboard.json").read_text())
    store = Store(REFERENCE)
    plan = stored_plan(store, "default")
    assert plan == suite.plan(store.members())  # what was run is what the code plans today
    board = leaderboard(plan, store)
    assert stored["complete"]
    expected, found = leaves(stored), leaves(json.loads(json.dumps(board)))
    assert expected.keys() == found.keys()
    for path, value in expected.items():
        same = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value  # logarithms differ in last bits
        assert found[path] == same, path
    assert markdown(plan, board) == (REFERENCE / "leaderboard.md").read_text()


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
def test_reference_members_can_be_computed_again(suite):
    """Bit for bit on the same kind of CPU, thread count and torch; to rounding that training amplifies elsewhere."""
    rows = Store(REFERENCE).members().filter(pl.col("problem") == "diabetes/mlp", pl.col("status") == "done")
    for optimizer in ("sgd", "shb", "adam"):
        cell = suite.tuning_cell("diabetes/mlp", optimizer)
        (row,) = rows.filter(pl.col("member_id") == cell.ids[0]).iter_rows(named=True)
        assert cell.engine == row["engine"]
        before = torch.get_num_threads()
        torch.set_num_threads(row["threads"])
        (again,) = Stack(cell.problem(), cell.optimizer, cell.members[:1], cell.plan, engine=cell.engine).run()
        torch.set_num_threads(before)
        same = (row["cpu"], row["torch"]) == (cpu_name(), torch.__version__)
        for metric in ("train_loss", "val_loss", "test_loss"):
            assert again.metrics[metric] == (row[metric] if same else pytest.approx(row[metric], rel=1e-3))


@pytest.mark.parametrize(
    "schema",
    [MEMBER_SCHEMA, CURVE_SCHEMA, ENSEMBLE_SCHEMA, PLAN_SCHEMA],
    ids=["members", "curves", "ensembles", "plans"],
)
def test_every_column_is_explained(schema):
    text = (ROOT / "docs" / "results.md").read_text()
    named = set(re.findall(r"`(\w+)`", text))
    families = ("schedule_", "momentum_schedule_")  # the table names two of each
    assert {column for column in schema if column not in named and not column.startswith(families)} == set()


def claims_of(path):
    """Rows of a table of claims: id -> cells, without the source, which the README leaves out."""
    rows = {}
    for line in path.read_text().splitlines():
        cells = line.strip("| ").split(" | ")
        if re.fullmatch(r"CL\d+[a-z]?", cells[0]) and len(cells) in (6, 7):
            rows[cells[0]] = cells if len(cells) == 6 else [*cells[:2], *cells[3:]]
    return rows


def test_the_readme_shows_the_reference_claims():
    shown, reference = claims_of(ROOT / "README.md"), claims_of(REFERENCE / "claims" / "claims.md")
    assert len(shown) == 10
    assert shown == {part: reference[part] for part in shown}
    document = json.loads((REFERENCE / "claims" / "claims.json").read_text())
    entries, counts = document["claims"], document["counts"]
    text = (ROOT / "README.md").read_text()
    assert f"Of the {len(entries)} parts" in text and f"{counts['experiments']} different experiments" in text
    for verdict, count in counts["verdicts"].items():
        assert f"{count} {verdict}" in text or f"{count} are {verdict}" in text, (verdict, count)
    assert all(entry["expected"] and entry["control_fired"] for entry in entries if entry["verdict"] != "OUT-OF-SCOPE")
    assert set(reference) == {entry["id"] for entry in entries}


def test_the_documents_say_how_many_parts_depend_on_the_processor():
    count = sum(bool(expected.elsewhere) for expected in expectations().values())
    for page in (ROOT / "README.md", ROOT / "docs" / "claims.md"):
        assert re.search(r"(\w+) parts may (?:differ|have another)", page.read_text()).group(1) == str(count), page.name


def test_members_that_the_readme_names_are_in_the_reference():
    named = re.findall(r"bench\.reproduce ([0-9a-f]+)", (ROOT / "README.md").read_text())
    assert named and set(named) <= set(Store(REFERENCE).members()["member_id"])


def test_the_readme_shows_the_reference_speed():
    """Every row of results/reference/speed.json: rate, best loop, ratio, as `make speed` rounds them."""
    document = json.loads((REFERENCE / "speed.json").read_text())
    text = (ROOT / "README.md").read_text()
    for row in document["rows"]:
        start = f"| {row['work']} | {row['engine']} | {row['member_steps_per_second']:,.0f} | "
        loop = f"{row['loop_steps_per_second']:,.0f} ({row['loop']}) | "
        assert start + loop in text
        ratio = re.search(re.escape(start + loop) + r"([\d.,]+)x", text).group(1)
        assert float(ratio.replace(",", "")) == pytest.approx(row["ratio_to_loop"], rel=0.05)
    assert document["machine"]["torch"].split("+")[0] in text


def test_the_reference_claims_are_those_of_the_catalogue():
    from bench.claims.catalogue import CLAIMS

    entries = json.loads((REFERENCE / "claims" / "claims.json").read_text())["claims"]
    assert {entry["claim"] for entry in entries} == set(CLAIMS)
    for family in {claim.family for claim in CLAIMS.values()}:
        assert (REFERENCE / "claims" / "figures" / f"{family}.png").exists()


def defined(path):
    """Names that a module defines at its top level."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        for target in [*getattr(node, "targets", []), *([node.target] if isinstance(node, ast.AnnAssign) else [])]:
            yield getattr(target, "id", None)


def test_every_word_of_the_glossary_is_where_it_says():
    """A table per kind, words in order, two sentences each at most (and one in brackets), every name in its file."""
    text = (ROOT / "docs" / "glossary.md").read_text()
    tables = [
        re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([^`]+)`: `([^`]+)` \|$", part, re.M) for part in text.split("\n## ")
    ]
    rows = [row for table in tables for row in table]
    headers = len(tables) - 1
    assert len(rows) == sum(line.startswith("| ") for line in text.splitlines()) - headers  # none is left unread
    for table in tables:
        assert [word for word, *_ in table] == sorted(word for word, *_ in table)
    assert len({word for word, *_ in rows}) == len(rows) >= 25
    for word, meaning, path, name in rows:
        assert name in defined(ROOT / path), f"{word}: {name} in {path}"
        assert len(re.findall(r"[.)](?: |$)", meaning)) <= 3 and len(meaning.split()) <= 40, word
