"""Exit codes, and one line for every error."""

import os
import sys

import pytest

from bench.command import make_console, plan_and_store, run_command, split_suite
from bench.store.store import StoreWriteError
from bench.terminal.tables import print_table
from shb.errors import ConfigurationError


def raising(error):
    def main(arguments):
        raise error

    return main


@pytest.mark.parametrize("code", [0, 1])
def test_the_code_of_the_command(code, capsys):
    assert run_command(lambda arguments: code, []) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigurationError("seeds", 0, "a whole number >= 1"), 2, "error: seeds=0: allowed is a whole number >= 1"),
        (ConfigurationError("x", "[/red]", "[b]"), 2, "error: x=[/red]: allowed is [b]"),  # not taken for markup
        (ConfigurationError("x", "y" * 500, "z\nz"), 2, "y: allowed is z z"),
        (StoreWriteError("results: No space left on device"), 1, "make room and repeat the command to go on"),
        (KeyboardInterrupt(), 130, "repeat the command to go on"),
    ],
)
def test_an_error_is_one_line_and_a_code(error, code, text, capsys):
    assert run_command(raising(error), []) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and text in err


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()), [])


def test_a_closed_pipe_is_no_error(tmp_path, monkeypatch):
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run_command(raising(BrokenPipeError()), []) == 0
        os.write(stdout.fileno(), b"goes nowhere")
    assert (tmp_path / "stdout").read_text() == ""


def test_arguments_come_from_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "seeds=3"])
    seen = []
    assert run_command(lambda arguments: seen.append(arguments) or 0) == 0
    assert seen == [["seeds=3"]]


def test_the_suite_is_told_from_the_overrides():
    assert split_suite(["suite=smoke", "steps=3"]) == ("smoke", ["steps=3"])
    assert split_suite(["steps=3"], "default") == ("default", ["steps=3"])
    assert split_suite(["suite=smoke", "suite=full"]) == ("full", [])


def test_a_suite_with_its_store(tmp_path):
    plan, store = plan_and_store(["suite=smoke", "steps=3", f"results_dir={tmp_path}"])
    assert plan.suite == "smoke" and plan.changes == ("steps=3",) and store.folder == tmp_path
    assert plan_and_store([f"results_dir={tmp_path}"])[0].suite == "default"


def test_tables_are_wide_where_there_is_no_terminal(capsys):
    assert make_console().width == 120


def test_text_of_users_is_printed_as_it_stands(capsys):
    text = "results_dir=/a/[bold]/:fire:/[/]"
    console = make_console()
    console.print(text)
    print_table(console, text, ["name"], [[text]])
    assert capsys.readouterr().out.count(text) == 3

    def refused(arguments):
        raise ConfigurationError("results_dir", text, "another")

    assert run_command(refused, []) == 2
    assert repr(text) in (err := capsys.readouterr().err) or text in err
