"""What runs on the host only, read here: workflows, hooks and forms are YAML, and what they name exists."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"})
TARGETS = set(re.findall(r"^([\w./-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHELL = {"python", "make", "touch"}  # what a step may call, beside what make .venv/ready makes


def name_of(path):
    return path.name


def load(path):
    return yaml.safe_load(path.read_text())


def jobs(path):
    return load(path)["jobs"].values()


def commands(path):
    """Every command of a workflow as words; an expression of the host is one word."""
    for job in jobs(path):
        for step in job["steps"]:
            for line in step.get("run", "").splitlines():
                yield shlex.split(re.sub(r"\$\{\{.*?\}\}", "EXPRESSION", line))


def make_targets(words):
    """What `make` is asked for, and what -o names."""
    return [word for word in words[1:] if word != "-o" and "=" not in word]


def test_there_is_something_to_check():
    assert {path.name for path in WORKFLOWS} == {"checks.yml", "weekly.yml"}
    assert {path.name for path in FORMS} == {"bug.yml", "claim.yml", "optimizer.yml"}
    named = {
        target for path in WORKFLOWS for words in commands(path) if words[0] == "make" for target in make_targets(words)
    }
    assert named == {"docs", "lint", "test", "test-slow", "verify", ".venv/ready"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_what_a_workflow_names_exists(path):
    for words in commands(path):
        assert words[0] in SHELL or words[0].startswith(".venv/bin/"), words
        if words[0] == "make":
            assert set(make_targets(words)) <= TARGETS, words
        for word in words:
            inside = "/" in word and not word.startswith((".venv/", "/"))
            assert not inside or (ROOT / word).exists(), word
    for job in jobs(path):
        for step in job["steps"]:
            for key, value in step.get("with", {}).items():
                assert not key.endswith("path") or (ROOT / value).is_file(), value


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_workflow_reads_only_ends_and_uses_a_fixed_version(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow.get(True)  # YAML reads `on` so
    for job in jobs(path):
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "uses" not in step or re.fullmatch(r"[\w/-]+@v\d+", step["uses"])


def test_the_matrix_has_the_oldest_and_the_newest_that_the_project_allows():
    matrix = load(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert f">={matrix['python'][0]}" == PROJECT["requires-python"]
    oldest, newest = matrix["torch"]
    lower = dict(item.split(">=") for item in PROJECT["dependencies"] if item.startswith("torch"))
    assert dict(item.removesuffix(".*").split("==") for item in oldest.split()) == lower
    assert newest.split() == list(lower)
    compilers = [entry.get("compiler") for entry in matrix["include"]]
    assert matrix["compiler"] == [""] and not Path(compilers[0]).exists()  # another value: a run of its own
    assert any(entry["os"].startswith("macos") for entry in matrix["include"])


def test_hooks_have_fixed_versions_and_the_ruff_of_the_lock():
    repositories = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repository["rev"]) for repository in repositories)
    (ruff,) = (repository["rev"] for repository in repositories if "ruff" in repository["repo"])
    assert f"ruff=={ruff.removeprefix('v')}" in (ROOT / "requirements.lock").read_text().splitlines()


@pytest.mark.parametrize("path", FORMS, ids=name_of)
def test_a_form_has_what_the_host_asks_for(path):
    form = load(path)
    assert form["name"] and form["description"] and form["labels"]
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    for field in form["body"]:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes") and field["attributes"]["label"]
        assert field["type"] in ("textarea", "input") or field["attributes"]["options"]
        assert all(
            isinstance(option, str) for option in field["attributes"].get("options", []) if field["type"] == "dropdown"
        )
    assert any(field.get("validations", {}).get("required") for field in form["body"])
