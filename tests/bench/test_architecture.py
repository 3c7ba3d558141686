"""Arrows point one way, and every configuration field is explained where it is set."""

import ast
import sys
from pathlib import Path

import pytest

from bench.cell.config import CONF
from tests.bench.conftest import ROOT

SHB = sorted((ROOT / "shb").rglob("*.py"))
FOREIGN_TO_SHB = {"bench", "hydra", "omegaconf", "wandb", "polars"}
INNER = [path for path in SHB if path.relative_to(ROOT / "shb").parts[0] in ("nonsmooth", "optimizers")]


def imports(path):
    """Full names of the modules that a file imports anywhere, functions included."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names) if module in ("shb", "bench") else (module,)


def name_of(path):
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check():
    assert len(SHB) > 20 and len(INNER) > 8
    assert "torch" in {name for path in SHB for name in imports(path)}


@pytest.mark.parametrize("path", SHB, ids=name_of)
def test_the_library_knows_nothing_of_the_benchmark(path):
    assert not {name.split(".")[0] for name in imports(path)} & FOREIGN_TO_SHB


@pytest.mark.parametrize("path", INNER, ids=name_of)
def test_rules_know_torch_and_streams_only(path):
    own = f"shb.{path.relative_to(ROOT / 'shb').parts[0]}"
    for name in imports(path):
        top = name.split(".")[0]
        inside = name in ("shb.errors", "shb.streams") or name == own or name.startswith(f"{own}.")
        assert inside or top in ("torch", "numpy") or top in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("*.py")), ids=name_of)
def test_the_benchmark_knows_nothing_of_the_tests(path):
    assert "tests" not in {name.split(".")[0] for name in imports(path)}


def bare_fields(path: Path) -> set[str]:
    """Top-level fields with no comment on their line, nor, if the value goes on below, on the line above."""
    lines = path.read_text().splitlines()
    bare = set()
    for number, line in enumerate(lines):
        if not line[:1].isalpha():
            continue
        goes_on = number + 1 < len(lines) and lines[number + 1][:1] == " "
        above = goes_on and number > 0 and lines[number - 1].lstrip().startswith("#")
        if "  # " not in line and not above:
            bare.add(line.split(":")[0])
    return bare


FIELDS = sorted(set(CONF.rglob("*.yaml")) - {CONF / "expectations.yaml"})  # which has a `why` in every entry


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: str(path.relative_to(CONF)))
def test_every_field_is_explained(path):
    assert not bare_fields(path)


def test_every_option_has_the_name_of_its_file():
    for path in CONF.rglob("*.yaml"):
        if path.parent != CONF:
            assert path.read_text().startswith(f"name: {path.stem}  # "), path


ALLOWED = {  # room -> rooms that it imports; all of these stand above it, so that there is no circle
    "plotting": [],
    "statistics": [],
    "store": [],
    "terminal": [],
    "cell": ["store"],
    "plan": ["statistics", "store", "terminal"],
    "execution": ["cell", "statistics", "store", "terminal"],
    "leaderboard.ranking": ["statistics"],
    "reproduction": ["cell", "statistics", "store", "terminal", "execution"],
    "suite": ["cell", "statistics", "store", "terminal", "plan", "execution"],
    "command": ["cell", "store", "terminal", "plan", "execution", "suite"],
    "check": ["cell", "reproduction", "command"],
    "claims": ["plotting", "cell", "statistics", "store", "terminal", "execution", "command"],
    "leaderboard": ["statistics", "store", "terminal", "plan", "leaderboard.ranking", "command"],
    "published": ["statistics", "store", "terminal", "plan", "command"],
    "reproduce": ["cell", "store", "reproduction", "command"],
    "status": ["plan", "command"],
    "exchange": ["cell", "statistics", "store", "plan", "leaderboard"],
    "logger": ["cell", "statistics", "store", "terminal", "plan", "leaderboard"],
    "archive": ["command", "exchange"],
    "cite": ["command", "exchange"],
    "compare": ["statistics", "store", "terminal", "command", "exchange"],
    "merge": ["terminal", "command", "exchange"],
    "report": ["plotting", "statistics", "store", "plan", "command", "claims", "leaderboard", "exchange"],
    "run": ["cell", "store", "terminal", "plan", "execution", "suite", "command", "leaderboard", "logger"],
    "verify": ["cell", "store", "reproduction", "command", "exchange"],
    "speed": [
        *("plotting", "cell", "statistics", "store", "terminal", "execution", "reproduction", "suite", "command"),
        *("claims", "run"),
    ],
}
NESTED = {"leaderboard.ranking"}  # folders that are rooms inside a room


def rooms_of(name):
    """The room of a module "bench.a.b": a folder, or a command of one file; none for `bench` itself."""
    parts = name.split(".")[1:]
    return [".".join(parts[:2])] if ".".join(parts[:2]) in NESTED else parts[:1]


def rooms():
    """Every room with the rooms that its files import, functions and types included."""
    found = {}
    for path in sorted((ROOT / "bench").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in rooms_of(name.removesuffix(".__init__")):
            inside = (imported for imported in imports(path) if imported.split(".")[0] == "bench")
            others = {other for imported in inside for other in rooms_of(imported)}
            found.setdefault(room, set()).update(others - {room})
    return found


def test_a_room_imports_the_rooms_that_it_may():
    found = rooms()
    assert found == {room: set(imported) for room, imported in ALLOWED.items()}  # none more, none for nothing


def test_no_room_imports_one_below_it():
    known = list(ALLOWED)
    for place, room in enumerate(known):
        assert not set(ALLOWED[room]) - set(known[:place]), room


def test_the_numbers_of_the_record_are_those_of_the_house():
    floors = {}
    for room, above in ALLOWED.items():
        floors[room] = 1 + max((floors[other] for other in above), default=0)
    arrows = sum(map(len, ALLOWED.values()))
    text = (ROOT / "docs" / "decisions" / "rooms.md").read_text()
    assert f"{len(ALLOWED)} rooms on {max(floors.values())} floors, {arrows} imports between rooms" in text


READERS = ("plan", "leaderboard", "leaderboard.ranking", "published", "status", "archive", "cite")


def test_who_reads_results_composes_nothing():
    """`command` does, in a function, where a store has no plan; `exchange` checks a stranger's archive."""
    for room in (*READERS, "report"):
        assert not {"cell", "suite", "execution"} & set(ALLOWED[room]), room


def test_every_room_is_in_the_document():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for room in ALLOWED:
        path = f"bench/{room.replace('.', '/')}"
        name = f"`{room.replace('.', '/')}/`" if (ROOT / path).is_dir() else f"`{room}.py`"
        assert name in text, name


def test_rates_and_resamples_are_set_once_and_no_interval_is_made_by_hand():
    """Under a name of module level: CONFIDENCE, ALPHA, RESAMPLES in bench/statistics, LEVEL nowhere (two meanings)."""
    homes, by_hand = {}, []
    for path in sorted((ROOT / "bench").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for target in (t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets):
            if isinstance(target, ast.Name) and target.id in ("CONFIDENCE", "ALPHA", "RESAMPLES", "LEVEL"):
                homes.setdefault(target.id, []).append(name_of(path))
        inside = path.parent.name == "statistics"
        numbers = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        if not inside and (1.96 in numbers or 1.645 in numbers or "scipy.special.stdtrit" in imports(path)):
            by_hand.append(name_of(path))
    statistics = {"CONFIDENCE": "estimates", "ALPHA": "inference", "RESAMPLES": "resampling"}
    assert homes == {name: [f"bench/statistics/{file}.py"] for name, file in statistics.items()}
    assert not by_hand
