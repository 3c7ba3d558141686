"""Paths and names of a user are taken as they stand; fields that an entry does not declare are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.cell.matrix import jobs_of
from bench.run import literal
from shb.errors import ConfigurationError

TEXTS = [
    "結果",
    "résumé",
    "a#b",
    "/a b",
    "a,b",
    "it's",
    'a"b',
    "a=b",
    "{a}",
    "[a]",
    "$HOME",
    "a${b}c",
    "a(b)",
    "a\\",
    "a:b",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_path_is_taken_literally_with_and_without_a_matrix(text: str) -> None:
    assert compose_config([f"results_dir={text}"]).results_dir == text
    assert compose_config([f"data_root={text}"]).data_root == text
    (job,) = jobs_of([literal(f"results_dir={text}")])
    assert compose_config(job).results_dir == text


def test_no_path_is_no_folder() -> None:
    with pytest.raises(ConfigurationError, match="results_dir=: allowed is a folder"):
        compose_config(["results_dir="])


def test_a_tilde_is_the_home_folder_and_null_stays_null() -> None:
    assert compose_config(["results_dir=~/x"]).results_dir == os.path.expanduser("~/x")
    assert compose_config(["data_root=null"]).data_root is None


@pytest.mark.parametrize("sign", ["+", "++"])
def test_a_field_that_the_entry_lacks_is_refused(sign: str) -> None:
    with pytest.raises(ConfigurationError, match=r"optimizer.momentum=0.9: allowed is optimizer.lr"):
        compose_config(["optimizer=sgd", f"{sign}optimizer.momentum=0.9"])


@pytest.mark.parametrize("one", ["seed_offset=9223372036854775807", "seeds=100000000000", "steps=9223372036854775808"])
def test_a_number_that_the_store_or_the_memory_cannot_hold_is_refused(one: str) -> None:
    with pytest.raises(ConfigurationError, match=one.split("=")[0]):
        build_cell(compose_config(["problem=e1", "seeds=2", one]))


def test_a_list_without_a_matrix_mentions_it() -> None:
    with pytest.raises(ConfigurationError, match=r"optimizer=sgd,shb: allowed is .*-m"):
        compose_config(["optimizer=sgd,shb"])


ODD = ["/a b", "it's", 'a"b', "a$b", "$(x)", "${y}", "#c", "a;b&c|d", "*", "~/結果", "-m", "`id`", "%", "a\\", "a  b "]
VARIABLES = {  # of make -> target, and the word that the command gets
    "SUITE": ("bench leaderboard report figures status cite archive", "suite={}"),
    "LEVEL": ("claims", "level={}"),
    "RESULTS": (
        "bench claims leaderboard report figures status verify published cite archive",
        "results_dir={}",
    ),
    "N": ("verify", "n={}"),
    "SEED": ("verify", "seed={}"),
    "ARCHIVE": ("verify", "archive={}"),
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_make_hands_one_word_to_every_command(variable: str) -> None:
    targets, word = VARIABLES[variable]
    for number, text in enumerate(ODD):
        shown = targets.split() if number == 0 else targets.split()[number % len(targets.split())].split()
        done = subprocess.run(
            ["make", "-n", "-o", ".venv/ready", *shown, f"{variable}={text}"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        said = done.stdout.replace(".venv/bin/python", "printf '%s\\n'")
        words = subprocess.run(["sh", "-c", said], capture_output=True, text=True)
        assert words.stdout.splitlines().count(word.format(text)) == len(shown), (text, done.stdout, words.stderr)


def test_an_interrupt_while_modules_are_imported_is_one_line() -> None:
    program = "import sys, os, signal; sys.argv[0] = '-m'; import bench; os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)


def test_an_interrupt_in_generated_code_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    """Python would end by the signal: `exec` of a text takes a KeyboardInterrupt that leaves it for unhandled."""
    (tmp_path / "command.py").write_text(
        "import sys; sys.argv[0] = '-m'\n"
        "import atexit\n"
        "from bench.command import run_command\n"
        "atexit.register(print, 'cleaned up')\n"
        "sys.exit(run_command(lambda arguments: exec('raise KeyboardInterrupt')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "command"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (130, 1, "cleaned up\n")
