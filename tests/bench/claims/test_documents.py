"""docs/claims.md, docs/theory.md and docs/practice.md: every claim is there, every link and claim id exists."""

import re
from pathlib import Path

import pytest
import torch

from bench.claims import overview
from bench.claims.catalogue import CLAIMS
from bench.claims.document import read_claims
from bench.claims.expectations import expectations
from bench.claims.figures.examples import EXAMPLES
from shb.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = ("claims.md", "theory.md", "practice.md")
COLUMNS = 8
ROUNDING = 1e-15  # least squares of E6 is 1 up to the last bit


def text(page):
    return (DOCS / page).read_text()


def rows():
    """Claim -> its cells in docs/claims.md."""
    found = [line for line in text("claims.md").splitlines() if line.startswith("| **CL")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in found]
    assert [len(one) for one in cells] == [COLUMNS] * len(cells)
    table = {one[0].strip(" *"): [cell.strip() for cell in one[1:]] for one in cells}
    assert len(table) == len(cells), "a claim has two entries"
    return table


def test_every_claim_has_one_entry_with_its_statement_and_file():
    table = rows()
    assert set(table) == set(CLAIMS)
    for claim in CLAIMS.values():
        statement, source, prediction, controls, evidence, sizes, parts = table[claim.id]
        assert statement.replace("\\|", "|") == claim.title
        assert all((source, prediction, controls, parts))
        file = claim.statements.__module__.replace(".", "/") + ".py"
        assert evidence.endswith(f"(../{file})"), claim.id
        assert sizes == f"[{claim.id}](../conf/claim/{claim.id}.yaml)"


def test_the_tables_are_those_of_the_claims_and_of_the_reference():
    """A change is written by `python -m bench.claims.overview`."""
    report = read_claims(overview.REPORT)
    assert overview.page(text("claims.md"), report["claims"]) == text("claims.md")
    changed = [{**report["claims"][0], "predicted": "something else"}, *report["claims"][1:]]
    assert overview.page(text("claims.md"), changed) != text("claims.md")


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ConfigurationError, match="a mark is missing"):
        overview.page("# Claims", [])


def test_the_parts_of_every_claim_are_those_of_the_expectation_file():
    """Those of the reference at level quick; level full may have more."""
    known = expectations()
    reference = {entry["id"] for entry in read_claims(overview.REPORT)["claims"]}
    for claim, cells in rows().items():
        # the entry without a letter stands for the whole claim where that is out of scope
        letters = sorted(part.removeprefix(claim) for part in known if re.fullmatch(rf"{claim}[a-z]", part))
        assert letters == [chr(97 + i) for i in range(len(letters))]
        assert letters or claim in known
        shown = [letter for letter in letters if f"{claim}{letter}" in reference]
        assert shown == letters[: len(shown)]
        span = f"{shown[0]}-{shown[-1]}" if len(shown) > 1 else "".join(shown)
        assert cells[-1] == claim + span


@pytest.mark.parametrize("page", PAGES)
def test_named_files_and_sections_exist(page):
    content = text(page)
    titles = re.findall(r"^#+ (.+)$", content, re.M)
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", content):
        path, _, anchor = target.partition("#")
        if path:
            assert (DOCS / path).resolve().exists(), target
        else:
            assert anchor in headings, target
    for file in re.findall(r"`((?:shb|bench|conf|tests)/[\w./]+)`", content):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("page", PAGES)
def test_named_claims_and_parts_exist(page):
    parts = expectations()
    for name in set(re.findall(r"\bCL\d+[a-z]?\b", text(page))):
        claim = name.rstrip("abcdefghijklmnopqrstuvwxyz")
        assert claim in {*CLAIMS, "CL44", "CL45"}, name
        assert name == claim or name in parts, name


def test_the_theory_has_the_sections_and_labels_that_the_code_refers_to():
    content = text("theory.md")
    sections = re.findall(r"^#+ ((?:\d)(?:\.\d)?) ", content, re.M)
    assert sections == [
        *("0", "1", "2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "3", "4"),
        *("5", "5.0", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.9", "6"),
    ]
    assert re.findall(r"^\| \*\*(CL\d+)\*\*", content, re.M) == list(CLAIMS)
    assert re.findall(r"^\*\*(L\d)", content, re.M) == [f"L{i}" for i in range(1, 10)]
    assert re.findall(r"^### (E\d+):", content, re.M) == [f"E{i}" for i in range(1, 17)]
    assert set(re.findall(r"\]\(examples/(e\d+)\.svg\)", content)) == set(EXAMPLES)


def test_the_pictures_mark_points_that_are_what_they_are_called():
    for name, example in EXAMPLES.items():
        problem = example.make()
        for point in example.clarke:
            assert problem.clarke_distance(torch.tensor(point, dtype=torch.float64)) < ROUNDING, (name, point)
        for point in example.artificial:
            w = torch.tensor(point, dtype=torch.float64)
            assert problem.artificial_distance(w) == 0 < problem.clarke_distance(w), (name, point)


def test_the_torch_code_for_practice_runs():
    blocks = re.findall(r"```python\n(.*?)```", text("practice.md"), re.DOTALL)
    assert blocks
    for block in blocks:
        names = {}
        exec(block, names)
        optimizer, model = names["optimizer"], names["model"]
        before = [w.detach().clone() for w in model.parameters()]
        (0 * model(torch.ones(1, 3))).sum().backward()
        optimizer.step()  # zero gradients: what moves the weights is the random velocity
        assert all((w != old).all() for w, old in zip(model.parameters(), before))
