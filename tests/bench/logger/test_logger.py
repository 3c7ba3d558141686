"""Where a logger writes, what happens when it cannot, online or offline, and its settings."""

import signal
import socket

import pytest

import bench.run
from bench.cell.config import compose_config
from bench.cell.groups import LoggerConfig
from bench.command import run_command
from bench.leaderboard.document import COLUMNS
from bench.logger import wandb_logger
from bench.logger.logger import NoLogger, make_logger
from bench.logger.wandb_logger import resolve_mode, wandb
from bench.plan.plan import SuitePlan
from shb.errors import ConfigurationError
from tests.bench.logger.wandb_runs import CLASSES, REGRESSION, SETTINGS, log, no_init, read_runs

pytestmark = pytest.mark.usefixtures("wandb_home")


# Where it is written, and what happens when it cannot be


def test_nothing_is_printed_or_written_outside_the_folder(tmp_path, computed, wandb_home, fresh_wandb, capfd):
    before = {path for path in wandb_home.rglob("*") if path.is_file()}
    cell, store = computed(CLASSES)
    warnings = []
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path)}), warnings.append)
    logger.cell(cell, store.members(), store.curves(cell.ids), role="cell")
    logger.leaderboard(SuitePlan("smoke", 2, "", (), 4, 2, 4, 0), [dict.fromkeys(COLUMNS, 1.0)])
    logger.close()
    wandb.teardown()
    assert len(read_runs(tmp_path)) == 2 and warnings == []
    assert {path for path in wandb_home.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"wandb"}
    assert capfd.readouterr() == ("", "")


def test_a_failing_wandb_gives_one_warning_and_then_silence(tmp_path, computed, monkeypatch):
    calls = []

    def broken(*args, **kwargs):
        calls.append(kwargs)
        raise RuntimeError("disk full\nhint")

    monkeypatch.setattr(wandb, "init", broken)
    cell, store = computed(CLASSES)
    warnings = []
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path)}), warnings.append)
    for _ in range(3):
        logger.cell(cell, store.members(), store.curves(cell.ids), role="cell")
    logger.leaderboard(SuitePlan("smoke", 2, "", (), 4, 2, 4, 0), [])
    logger.close()
    assert warnings == ["logging stopped (RuntimeError: disk full); the results are in the store"]
    assert len(calls) == 1


@pytest.mark.parametrize("unusable", ["file", "file/below", "taken", "link", "/proc/none"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_compute(tmp_path, capsys, monkeypatch, unusable):
    """wandb would write to the system's temporary folder, and say nothing."""
    monkeypatch.setattr(bench.run, "run_cell", pytest.fail)
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "wandb").touch()
    (tmp_path / "link").symlink_to("nowhere/at all")
    folder = tmp_path / unusable  # /proc/none is absolute
    arguments = ["problem=e1", "seeds=2", "steps=2", "logger=wandb", f"logger.dir={folder}"]
    for more in ([], ["-m"]):
        assert run_command(bench.run.main, [*arguments, *more, f"results_dir={tmp_path / 'results'}"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert err.startswith(f"error: logger.dir={folder}: allowed is a writable folder (")


def test_a_folder_that_is_lost_during_a_run_is_a_warning(tmp_path, computed):
    warnings = []
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path / "runs")}), warnings.append)
    (tmp_path / "runs" / "wandb").rmdir()
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").touch()
    cell, store = computed(CLASSES)
    logger.cell(cell, store.members(), store.curves(cell.ids), role="cell")
    assert len(warnings) == 1 and "logging stopped" in warnings[0] and "runs" in warnings[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("at", ["_log_curve", "seed_summary", "end"])
def test_a_wandb_process_that_is_killed_or_hangs_is_one_warning(
    tmp_path, computed, fresh_wandb, monkeypatch, capfd, number, at
):
    for name in ("HANGING", "ENDING", "FINISH_TIMEOUT"):
        monkeypatch.setattr(wandb_logger, name, 1)
    process = []

    def hit() -> None:
        process.append(wandb_logger._service())
        process[0].send_signal(number)

    def hitting(*arguments):
        hit()
        return real(*arguments)

    if at != "end":
        real = getattr(wandb_logger, at)
        monkeypatch.setattr(wandb_logger, at, hitting)
    cell, store = computed(CLASSES)
    warnings = []
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path)}), warnings.append)
    logger.cell(cell, store.members(), store.curves(cell.ids), role="cell")
    if at == "end":
        hit()
    logger.close()
    assert len(warnings) == (at != "end")
    assert capfd.readouterr() == ("", "")
    assert process[0].wait(timeout=5) == -signal.SIGKILL
    assert wandb_logger._service() is None  # nothing of it is left for the end of this process


@pytest.mark.parametrize("error", [SystemExit(1), KeyError("x")])
def test_an_error_in_the_middle_of_a_run_is_a_warning_too(tmp_path, computed, monkeypatch, capfd, error):
    def broken(*args):
        raise error

    monkeypatch.setattr(wandb_logger, "_log_curve", broken)
    cell, store = computed(CLASSES)
    (warning,) = log(tmp_path, cell, store)
    assert type(error).__name__ in warning
    assert wandb.setup().most_recent_active_run is None  # the run was finished
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_passes(tmp_path, computed, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(wandb, "init", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path, *computed(CLASSES))


def test_a_server_that_does_not_answer_means_offline_after_the_time_limit(
    tmp_path, computed, fresh_wandb, monkeypatch, capfd
):
    monkeypatch.setattr(wandb_logger, "INIT_TIMEOUT", 1)
    cell, store = computed(REGRESSION)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts and says nothing
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        (warning,) = log(tmp_path, cell, store, mode="auto")
    assert "online" in warning and str(tmp_path / "wandb") in warning and "in the store" in warning
    assert len(read_runs(tmp_path)) == 2
    assert capfd.readouterr() == ("", "")


def test_after_falling_back_it_stays_offline_and_a_later_failure_is_silent(tmp_path, computed, monkeypatch):
    real, modes = wandb.init, []

    def init(**kwargs):
        modes.append(kwargs["mode"])
        if kwargs["mode"] == "online" or len(modes) > 3:
            raise RuntimeError("no")
        return real(**kwargs)

    monkeypatch.setattr(wandb, "init", init)
    cell, store = computed(CLASSES)
    warnings = []
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path), "mode": "online"}), warnings.append)
    for _ in range(4):
        logger.cell(cell, store.members(), store.curves(cell.ids), role="cell")
    assert modes == ["online", "offline", "offline", "offline"]
    assert len(warnings) == 1 and "wandb sync" in warnings[0]


# Online or offline


def test_auto_is_online_exactly_if_there_are_credentials(fresh_wandb, monkeypatch, tmp_path):
    monkeypatch.setattr(wandb, "init", no_init)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # a network call would fail
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_mode("auto") == "online"
    assert (resolve_mode("offline"), resolve_mode("online")) == ("offline", "online")


def test_auto_finds_the_key_that_wandb_login_writes(fresh_wandb, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {'0' * 40}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert resolve_mode("auto") == "online"


def test_without_credentials_online_is_as_asked(fresh_wandb):
    assert resolve_mode("online") == "online"


@pytest.mark.parametrize("mode", ["auto", "online", "offline"])
def test_wandb_mode_wins(fresh_wandb, monkeypatch, mode):
    for forced in ("online", "offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", forced)
        assert resolve_mode(mode) == forced


def test_disabled_writes_nothing(fresh_wandb, monkeypatch, tmp_path, computed):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert log(tmp_path, *computed(CLASSES), mode="online") == []
    assert not list(tmp_path.rglob("*.wandb"))


# Settings


@pytest.mark.parametrize(
    ("change", "field", "allowed"),
    [
        ({"name": "wandbb"}, "logger", "none, wandb (did you mean wandb?)"),
        ({"mode": "ofline"}, "logger.mode", "did you mean offline?"),
        ({"per_seed": "yes"}, "logger.per_seed", "true or false"),
        ({"tuning": 1}, "logger.tuning", "true or false"),
        ({"project": "a/b"}, "logger.project", "without /"),
        ({"project": None}, "logger.project", "characters"),
        ({"entity": ""}, "logger.entity", "or null"),
        ({"dir": None}, "logger.dir", "a folder"),
        ({"perseed": True}, "logger.perseed", "logger.per_seed"),
    ],
)
def test_wrong_settings_fail_at_once(change, field, allowed):
    with pytest.raises(ConfigurationError) as caught:
        LoggerConfig.of({**SETTINGS, "dir": "results", **change})
    assert caught.value.field == field and allowed in str(caught.value)


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigurationError, match=r"logger\.dir"):
        LoggerConfig.of(SETTINGS)


def test_the_composed_configuration_is_accepted_and_none_logs_nothing(computed, monkeypatch):
    monkeypatch.setattr(wandb, "init", no_init)
    logger = make_logger(compose_config(["logger=wandb"]).logger, pytest.fail)
    logger.close()  # unused: nothing was started
    logger = make_logger(compose_config([]).logger, pytest.fail)
    assert isinstance(logger, NoLogger)
    cell, store = computed(CLASSES)
    logger.cell(cell, store.members(), store.curves(cell.ids), role="cell")
    logger.leaderboard(SuitePlan("smoke", 2, "", (), 4, 2, 4, 0), [])
    logger.close()
