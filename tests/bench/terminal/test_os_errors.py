"""What the operating system refuses is one line with advice and exit code 1, in every command that writes."""

import errno
import os
from pathlib import Path

import pytest

from bench.archive import main as archive_main
from bench.command import run_command
from bench.leaderboard.__main__ import main as leaderboard_main
from bench.plan.plan import SuitePlan
from bench.published.publication import load_publication
from bench.published.table import write_published
from bench.report.__main__ import main as report_main
from bench.report.figures import main as figures_main
from bench.store.store import Store, StoreWriteError
from bench.terminal.os_errors import advice
from tests.bench.conftest import SUITE_SIZE

WRITERS = {
    "leaderboard": leaderboard_main,
    "report": report_main,
    "figures": figures_main,
    "archive": archive_main,
}
ERRORS = {
    errno.ENOSPC: "make room and repeat the command",
    errno.EDQUOT: "quota",
    errno.EROFS: "choose another results_dir",
    errno.EACCES: "choose another results_dir",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def failing(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


def one_line(capsys, *words):
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ")
    assert all(word in err for word in words), err


@pytest.mark.parametrize("number", ERRORS)
def test_an_error_is_one_line_with_advice(number, capsys):
    assert run_command(failing(number), []) == 1
    one_line(capsys, os.strerror(number), ERRORS[number])


def test_an_error_without_number_is_one_line_too(capsys):
    def fail(arguments):
        raise OSError("the server is gone")

    assert run_command(fail, []) == 1
    one_line(capsys, "the server is gone; repeat the command")


def test_the_advice_of_a_store_that_cannot_be_written_fits_the_error(capsys):
    def fail(arguments):
        raise StoreWriteError("results: Read-only file system", errno.EROFS)

    assert run_command(fail, []) == 1
    one_line(capsys, "nothing can be written there and repeat the command to go on")
    assert advice(None) == "repeat the command"


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name, finished_copy, contents, monkeypatch, capsys):
    before = contents(finished_copy)
    monkeypatch.setattr("shb.files.os.fsync", failing(errno.ENOSPC))
    command = ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]
    assert run_command(WRITERS[name], command) == 1
    one_line(capsys, "No space left on device", "make room")
    assert contents(finished_copy) == before


def test_a_full_disk_and_a_published_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shb.files.os.fsync", failing(errno.ENOSPC))

    def write(arguments):  # the command itself needs data sets
        write_published(load_publication("deepobs"), [], SuitePlan("published", 1, "", (), 0, 0, 0, 0), Store(tmp_path))

    assert run_command(write, []) == 1
    one_line(capsys, str(Path(tmp_path) / "published_"), "make room")


def test_a_board_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_command(leaderboard_main, ["suite=smoke", f"results_dir={tmp_path / 'file'}"]) == 2
    one_line(capsys, "this is a file")
