"""Weights & Biases: one group per cell, one run per setting with the quantiles of its curves over seeds.

A seed that has no finite value where others have one (it diverged) counts as the worst value, as on the
leaderboard; a quantile that this makes infinite is not logged, so a line ends where too many seeds diverged.
Run ids are hashes of the members: a repeated command replaces its runs in W&B and does not double them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's telemetry can hold up the exit for 20 s
import wandb
from wandb.sdk import wandb_setup

from bench.cell.cell import Cell
from bench.leaderboard.document import COLUMNS, is_complete
from bench.logger.logger import check_writable, one_line
from bench.plan.plan import SuitePlan
from bench.statistics.metric import Metric
from bench.statistics.quantiles import quantile_bands
from bench.store.schema import CURVE_METRICS, METRICS
from bench.store.store import member_spec, rows_of

INIT_TIMEOUT, FINISH_TIMEOUT = 20, 60  # seconds that starting and finishing one run may take online
HANGING = 100  # seconds after which wandb's process is killed, because not every call has a limit
ENDING = 10  # seconds that its end may take
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}  # over seeds
ENVIRONMENT = ("code_commit", "code_dirty", "python", "torch", "platform", "cpu", "device_name", "threads")


class WandbLogger:
    """Logs through the wandb library; each run is finished before the call returns.

    Args: the fields of conf/logger/wandb.yaml, and
        warn: gets one line if W&B cannot be reached, after which runs are written offline.

    Raises (all methods): whatever wandb raises; `bench.logger.logger.SafeLogger` makes it a warning.
    """

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        mode: str,
        per_seed: bool,
        tuning: bool,
        dir: str,
        warn: Callable[[str], None],
    ) -> None:
        self.project, self.entity, self.per_seed, self.tuning = project, entity, per_seed, tuning
        self.folder = Path(dir).absolute()
        self.warn = warn
        self._asked_mode, self._mode = mode, None  # resolved at the first run

    def cell(self, cell: Cell, members: pl.DataFrame, curves: pl.DataFrame, *, role: str) -> None:
        """One run per setting (`job_type` is the role), with `per_seed` also one per seed (`job_type` "seed")."""
        if role == "tuning" and not self.tuning:
            return
        group = f"{cell.label}/{cell.optimizer.name}"
        computed = members.filter(pl.col("status") != "failed")
        for seeds in computed.partition_by("hyperparameters", maintain_order=True):
            seeds = seeds.sort("seed")
            self._log_setting(group, role, seeds, curves)
            if self.per_seed:
                for row in seeds.iter_rows(named=True):
                    self._log_seed(group, row, curves)

    def leaderboard(self, plan: SuitePlan, rows: Sequence[dict]) -> None:
        """One run with the leaderboard as a table; columns COLUMNS, hyperparameters as JSON."""
        data = [[json.dumps(row[c]) if c == "hyperparameters" else row[c] for c in COLUMNS] for row in rows]
        config = {"suite": plan.suite, "suite_version": plan.version, "complete": is_complete(rows)}
        config["overrides"] = list(plan.changes)
        name = f"leaderboard {plan.title}"
        identity = [name, json.dumps(data)]
        with self._run("leaderboard", "leaderboard", name, config, identity) as run:
            run.log({"leaderboard": wandb.Table(columns=list(COLUMNS), data=data)})

    def close(self) -> None:
        """End wandb's process."""
        end_service()

    def _log_setting(self, group: str, role: str, members: pl.DataFrame, curves: pl.DataFrame) -> None:
        config = _config(members, role)
        with self._run(group, role, _name(members), config, members["member_id"].to_list()) as run:
            rows = seed_quantiles(rows_of(curves, members["member_id"]))
            _log_curve(run, rows, [f"{metric}/*" for metric in CURVE_METRICS])
            run.summary.update(seed_summary(members))

    def _log_seed(self, group: str, member: dict, curves: pl.DataFrame) -> None:
        members = pl.DataFrame([member])
        config = {**member_spec(member), **_config(members, "seed"), "member_id": member["member_id"]}
        name = f"{_name(members)} seed={member['seed']}"
        with self._run(group, "seed", name, config, [member["member_id"]]) as run:
            curve = curves.filter(pl.col("member_id") == member["member_id"]).sort("step")
            rows = curve.select("step", *CURVE_METRICS).iter_rows(named=True)
            _log_curve(run, [_finite(row) for row in rows], CURVE_METRICS)
            run.summary.update(_finite({metric: member[metric] for metric in METRICS}))
            run.summary.update({"status": member["status"], "diverged_step": member["diverged_step"]})

    @contextlib.contextmanager
    def _run(
        self, group: str, job_type: str, name: str, config: dict[str, Any], identity: Sequence[str]
    ) -> Iterator[wandb.Run]:
        """An open run; finished at the end, also after an error.

        `with run` would print the error, which is told once and in one line elsewhere.
        """
        check_writable(self.folder)  # wandb would take another folder, and say nothing
        with _inside(self.folder / "wandb"), _killed_after(HANGING):
            _hushed()
            if self._mode is None:
                self._mode = resolve_mode(self._asked_mode)
            text = json.dumps([group, job_type, *sorted(identity)])
            options = {
                "group": group,
                "job_type": job_type,
                "name": name,
                "config": config,
                "id": hashlib.sha256(text.encode()).hexdigest()[:16],
            }
            run = self._start(options)
            try:
                yield run
            except (Exception, SystemExit):
                with contextlib.suppress(Exception, SystemExit):
                    run.finish(exit_code=1)
                raise
            run.finish()

    def _start(self, options: dict[str, Any]) -> wandb.Run:
        """`wandb.init`; if W&B cannot be reached, this run and those after it are offline."""

        def init() -> wandb.Run:
            fixed = {"project": self.project, "entity": self.entity, "dir": str(self.folder), "mode": self._mode}
            return wandb.init(**fixed, **options, settings=_settings())

        try:
            return init()
        except Exception as error:
            if self._mode == "offline":
                raise
            end_service()  # with what the failed attempt left there: it holds the run's id
            self._mode = "offline"
            run = init()
            self.warn(
                f"W&B cannot be used online ({one_line(error)}); its runs are written to "
                f"{self.folder / 'wandb'} (wandb sync uploads them); the results are in the store"
            )
            return run


def end_service() -> None:
    """End wandb's process, which may be dead or hang. Nothing is printed, also not at the end of this process, where
    wandb would try it again.
    """
    with contextlib.suppress(Exception, SystemExit), _killed_after(ENDING):
        wandb.teardown()


@contextlib.contextmanager
def _killed_after(seconds: float) -> Iterator[None]:
    """Kill wandb's process if the block takes longer: whatever waits for an answer of it then gets an error."""
    service = _service()  # which ending it forgets; a start has none yet
    timer = threading.Timer(seconds, lambda: _kill(service or _service()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill(service: subprocess.Popen | None) -> None:
    if service is not None:
        service.kill()


def _service() -> subprocess.Popen | None:
    """wandb's process, for which it has no public name; None if there is none."""
    connection = getattr(wandb_setup._singleton, "_connection", None)
    return getattr(getattr(connection, "_proc", None), "_process", None)


def resolve_mode(mode: str) -> str:
    """The mode of `wandb.init` for auto, online, offline; no network, no prompt.

    The environment variable WANDB_MODE wins. auto is online if wandb finds credentials (WANDB_API_KEY, netrc,
    its settings files) and `wandb offline` has not been called, else offline.
    """
    if forced := os.environ.get("WANDB_MODE"):
        return forced
    if mode != "auto":
        return mode
    _hushed()
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _hushed() -> None:
    """Have wandb set up without a word: what is to be said of it, the logger says."""
    wandb.setup(wandb.Settings(silent=True, show_errors=False, show_warnings=False, console="off"))


def seed_quantiles(curves: pl.DataFrame) -> list[dict[str, float]]:
    """Quantiles over the seeds of one setting, one dict per step: "step" and "{metric}/{quantile}", finite ones only.

    Args:
        curves: rows of CURVE_SCHEMA, for all seeds of the setting.
    """
    long = curves.unpivot(list(CURVE_METRICS), index=["member_id", "step"], variable_name="metric")
    values, worst = long.drop_nulls().drop_nans(), {name: Metric(name).worst for name in CURVE_METRICS}
    complete = (
        values.select("step", "metric")
        .unique()
        .join(curves.select("member_id").unique(), how="cross")
        .join(values, on=["member_id", "step", "metric"], how="left")
        .with_columns(pl.col("value").fill_null(pl.col("metric").replace_strict(worst, return_dtype=pl.Float64)))
        .sort("metric", "step")
    )
    seeds, rows = curves["member_id"].n_unique(), {}
    for (metric,), values in complete.group_by("metric", maintain_order=True):
        bands = quantile_bands(values["value"].to_numpy().reshape(-1, seeds).T, list(QUANTILES.values()))
        for step, band in zip(values["step"].unique(maintain_order=True), bands.T.tolist()):
            named = {f"{metric}/{name}": value for name, value in zip(QUANTILES, band)}
            rows.setdefault(step, {"step": step}).update(_finite(named))
    return [rows[step] for step in sorted(rows)]


def seed_summary(members: pl.DataFrame) -> dict[str, float]:
    """Median over seeds of every final metric (where it is finite), n_seeds and n_diverged."""
    medians = {}
    for metric in METRICS:
        values = members[metric].fill_nan(None)
        if values.is_not_null().any():
            medians[metric] = values.fill_null(Metric(metric).worst).median()
    return {**_finite(medians), "n_seeds": len(members), "n_diverged": (members["status"] == "diverged").sum()}


def _config(members: pl.DataFrame, role: str) -> dict[str, Any]:
    """What the members of one setting share: the spec without the seed, and what computed them (lists if mixed)."""
    spec = {name: value for name, value in member_spec(members.row(0, named=True)).items() if name != "seed"}
    computed_with = {name: members[name].unique().sort().to_list() for name in ENVIRONMENT}
    return {
        **spec,
        "role": role,
        "label": members["problem"][0],
        "seeds": members["seed"].to_list(),
        "unstable_momentum": members["unstable_momentum"][0],
        "dataset_checksum": members["dataset_checksum"][0],
        **{name: values[0] if len(values) == 1 else values for name, values in computed_with.items()},
    }


def _name(members: pl.DataFrame) -> str:
    """A run's name: the optimizer and its setting."""
    hyperparameters = json.loads(members["hyperparameters"][0])
    return " ".join([members["optimizer"][0], *(f"{name}={value:g}" for name, value in hyperparameters.items())])


def _log_curve(run: wandb.Run, rows: Sequence[dict[str, float]], names: Sequence[str]) -> None:
    """Log one row per step; the summary is written apart, from the members."""
    run.define_metric("step", hidden=True, summary="none")
    for name in names:
        run.define_metric(name, step_metric="step", summary="none")
    for row in rows:
        run.log(row)


def _finite(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def _settings() -> wandb.Settings:
    """Silent, bounded in time, and without what the store records better (git, packages, machine, load)."""
    return wandb.Settings(
        silent=True,
        show_errors=False,
        show_warnings=False,
        console="off",
        reinit="create_new",
        init_timeout=INIT_TIMEOUT,
        finish_timeout=FINISH_TIMEOUT,
        finish_timeout_raises=True,
        disable_git=True,
        disable_code=True,
        symlink=False,
        use_dot_wandb=False,  # an older .wandb/ beside it would be taken instead
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Keep wandb's cache and staging area, by default in the home directory, in `folder` (unless the user set them)."""
    folders = {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "data")}
    folders = {name: value for name, value in folders.items() if name not in os.environ}
    os.environ.update(folders)
    try:
        yield
    finally:
        for name in folders:
            os.environ.pop(name, None)
