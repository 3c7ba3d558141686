"""Citations name exactly the members used; CITATION.cff follows the schema of the citation file format 1.2.0."""

import hashlib
import re
import tomllib

import polars as pl
import pytest

from bench.cite import main
from bench.command import run_command
from bench.exchange.citation import citation_file, citation_of
from bench.leaderboard.document import leaderboard_rows
from bench.store.content_hash import content_hash
from bench.store.schema import MEMBER_SCHEMA, METRICS
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import ROOT, SUITE_SIZE
from tests.bench.planted import curve_of

REFERENCE = ROOT / "results" / "reference"


@pytest.fixture
def cite(capsys):
    def call(*arguments):
        code = run_command(main, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_the_reference_can_be_cited(cite):
    code, out, _ = cite(REFERENCE, "device=cpu")
    members = Store(REFERENCE).members()
    text, bibtex = out.split("\n\n")
    for part in (text, bibtex):
        assert "Suite default v2, 1,160 members" in part and content_hash(members) in part
        assert members["code_commit"][0] in part and members["torch"][0] in part and members["cpu"][0] in part
    assert code == 0 and "(2026)" in text and "year = {2026}" in bibtex
    key = re.match(r"@misc\{([^,\s]+),\n", bibtex).group(1)
    assert key == f"shb-bench-default-v2-{content_hash(members)[:8]}"


def test_braces_and_special_characters_of_bibtex_are_balanced(cite, finished):
    out = cite(finished, "suite=smoke", *SUITE_SIZE)[1]
    bibtex = out.split("\n\n")[1]
    assert "CHANGED by steps=4" in out  # a changed suite does not pass for the suite
    depth = 0
    for character in re.sub(r"\\.", "", bibtex):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0 and not re.search(r"(?<!\\)[_&%#$]", bibtex.split("\n", 1)[1])


def test_only_the_members_of_the_suite_are_cited(finished_copy):
    suite = load_suite("smoke", [*SUITE_SIZE, f"results_dir={finished_copy}"])
    before = citation_of(suite.plan(Store(finished_copy).members()), Store(finished_copy))
    assert before.complete and len(before.members) == before.planned == 72
    others = {"cpu": "zz", "torch": "0.4.1"}
    row = {**Store(finished_copy).members().row(0, named=True), **others, "member_id": "another"}
    Store(finished_copy).write([row], [])
    after = citation_of(suite.plan(Store(finished_copy).members()), Store(finished_copy))
    assert after.content_hash == before.content_hash and "0.4.1" not in after.text()
    rows = leaderboard_rows(suite.plan(Store(finished_copy).members()), Store(finished_copy))
    assert sum(r["n_seeds"] for r in rows if r["metric"] == "train_loss") == 4 * 6


def test_an_incomplete_suite_is_not_to_be_cited(cite, finished_copy):
    next((finished_copy / "members").glob("*")).unlink()
    code, out, err = cite(finished_copy, "suite=smoke", *SUITE_SIZE)
    assert code == 2 and not out and err.count("\n") == 1
    assert "members are missing" in err and "not to be cited" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "b"], "one folder"),
        (["suite=defualt"], "did you mean default"),
        (["results_dir=nowhere"], "members of suite default v2"),
        (["suite=none"], "smoke, default or full"),
    ],
)
def test_bad_input_is_one_line(cite, arguments, words):
    code, _, err = cite(*arguments)
    assert code == 2 and err.count("\n") == 1 and words in err


ROWS = [
    {"member_id": "b" * 16, "status": "done", "train_loss": 0.1, "val_accuracy": 1.0},
    {"member_id": "a" * 16, "status": "diverged", "diverged_step": 7},
    {"member_id": "c" * 16, "status": "done", "train_loss": -0.0, "trapped": 1.0},
]


def frame(rows):
    return pl.DataFrame(rows, schema=MEMBER_SCHEMA)


def test_the_content_hash_is_what_the_documents_say():
    """Written out by hand: anyone can compute it without this code."""
    lines = (
        "aaaaaaaaaaaaaaaa diverged 7\n"
        "bbbbbbbbbbbbbbbb done - train_loss=3fb999999999999a val_accuracy=3ff0000000000000\n"
        "cccccccccccccccc done - train_loss=8000000000000000 trapped=3ff0000000000000\n"
    )
    assert content_hash(frame(ROWS)) == hashlib.sha256(lines.encode()).hexdigest()


def test_the_content_hash_knows_neither_order_nor_shards_nor_machines(tmp_path):
    expected = content_hash(frame(ROWS))
    assert content_hash(frame(ROWS[::-1])) == expected
    for row in ROWS:
        changed = [row | {"created": "2026-01-01", "cpu": "other", "stack_seconds": 9.0}]
        Store(tmp_path).write(changed, curve_of(changed))
    assert content_hash(Store(tmp_path).members()) == expected


@pytest.mark.parametrize("name", ["member_id", "status", "diverged_step", *METRICS])
def test_the_content_hash_knows_every_result(name):
    row = ROWS[0] | dict.fromkeys(METRICS, 0.5) | {"diverged_step": 3}
    other = {"member_id": "d" * 16, "status": "diverged", "diverged_step": 4}.get(name, 0.5 + 2**-53)
    assert content_hash(frame([row])) != content_hash(frame([row | {name: other}]))
    if name in METRICS:
        assert content_hash(frame([row])) != content_hash(frame([row | {name: None}]))


def test_the_content_hash_of_the_reference():
    """Of the committed members: whoever cites them must get this."""
    lines = []
    for row in Store(REFERENCE).members().iter_rows(named=True):
        values = [
            f"{n}={pl.Series([row[n]]).to_numpy().astype('>f8').tobytes().hex()}"
            for n in sorted(METRICS)
            if row[n] is not None
        ]
        step = "-" if row["diverged_step"] is None else row["diverged_step"]
        lines.append(" ".join([row["member_id"], row["status"], str(step), *values]))
    digest = hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
    assert content_hash(Store(REFERENCE).members()) == digest


# -- CITATION.cff: the fields that it uses, as in https://citation-file-format.github.io/1.2.0/schema ----------------

TYPES = {"article", "book", "conference-paper", "data", "generic", "manual", "report", "software", "thesis", "website"}


def is_text(value):
    return isinstance(value, str) and value != ""


def is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_author(value):
    entity = set(value) == {"name"} and is_text(value["name"])
    person = set(value) <= {"family-names", "given-names", "orcid", "affiliation", "email"} and all(
        map(is_text, value.values())
    )
    return entity or person


def is_list_of(check):
    return lambda value: (
        isinstance(value, list) and value and all(check(v) for v in value) and len(value) == len(unique(value))
    )


def unique(values):
    return {repr(value) for value in values}


def is_identifier(value):
    return (
        set(value) <= {"type", "value", "description"}
        and value["type"] in {"doi", "url", "swh", "other"}
        and is_text(value["value"])
    )


REFERENCE_FIELDS = {
    "type": lambda value: value in TYPES,
    "title": is_text,
    "authors": is_list_of(is_author),
    "journal": is_text,
    **dict.fromkeys(("volume", "start", "end", "year"), is_whole),
    "identifiers": is_list_of(is_identifier),
}
FIELDS = {
    "cff-version": lambda value: value == "1.2.0",
    "message": is_text,
    "title": is_text,
    "authors": is_list_of(is_author),
    "type": lambda value: value in {"software", "dataset"},
    "version": is_text,
    "license": lambda value: value == "MIT",
    "keywords": is_list_of(is_text),
    "references": is_list_of(lambda value: is_valid(value, REFERENCE_FIELDS, {"authors", "title", "type"})),
}


def is_valid(value, fields, required):
    return required <= set(value) <= set(fields) and all(fields[name](item) for name, item in value.items())


def test_the_citation_file_follows_its_schema():
    assert is_valid(citation_file(), FIELDS, {"cff-version", "message", "title", "authors"})


@pytest.mark.parametrize(
    "change",
    [{"cff-version": 1.2}, {"authors": []}, {"keyword": ["x"]}, {"version": 1}, {"references": [{"type": "article"}]}],
)
def test_the_check_of_the_schema_can_fail(change):
    assert not is_valid({**citation_file(), **change}, FIELDS, {"cff-version", "message", "title", "authors"})


def test_the_citation_file_has_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation_file()["version"] == project["version"] and citation_file()["license"] == "MIT"
