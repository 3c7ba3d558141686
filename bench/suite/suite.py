"""A suite: a named matrix of problems and optimizers, its tuning protocol, its seeds and its targets.

A suite with `settings` has nothing to tune: every pair has one setting, given in its file (a published one, say).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from bench.cell.bounds import BOUNDS, check_numbers, finite_number
from bench.cell.cell import Cell, build_cell
from bench.cell.config import CONF, Config, compose_config, entries
from bench.cell.groups import DECAY
from bench.cell.memory import check_bytes, check_members
from bench.cell.plugins import use_plugins
from bench.cell.space import Axis
from bench.execution.engine import settle
from bench.plan.plan import Pair, SuitePlan, Target, changes_of, setting_key, suite_hash
from bench.statistics.resampling import RESAMPLES
from bench.store.schema import METRICS
from bench.store.yaml_file import read_yaml
from bench.suite.tuning import sobol_trials
from shb.datasets import DATASETS
from shb.errors import ConfigurationError, choose
from shb.optimizers import get_optimizer

RESAMPLED_BYTES = 24  # of each seed in each resample: index, difference, sorted
_OWN_LIST = "suite.optimizers="  # instead of the suite's optimizers: with own ones among them
FIXED_BY_SUITE = ("problem", "model", "dataset", "optimizer", "seeds", "seed_offset")


@dataclass
class Suite:
    """A suite and the cells it consists of (composed on first use).

    Attributes follow conf/suite/*.yaml; `content` is the hash of the file, `overrides` are what the user added on the
    command line.
    """

    name: str
    version: int
    problems: Mapping[str, Sequence[str]]
    optimizers: Sequence[str]
    evaluation_seeds: int
    evaluation_seed_offset: int
    targets: Mapping[str, Target]
    trials: int = 0
    tuning_seeds: int = 0
    tuning_seed_offset: int = 0
    tuning_evaluations: int | None = None
    settings: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    content: str = ""
    overrides: Sequence[str] = ()
    _configs: dict[tuple[str, str], Config] = field(default_factory=dict, repr=False)
    _cells: dict[tuple, Cell] = field(default_factory=dict, repr=False)

    def config(self, problem: str, optimizer: str) -> Config:
        """The composed configuration of a problem and an optimizer."""
        key = problem, optimizer
        if key not in self._configs:
            own = [*self.problems[problem], f"optimizer={optimizer}"]
            self._configs[key] = compose_config([*own, *(o for o in self.overrides if not o.startswith(_OWN_LIST))])
        return self._configs[key]

    def tuning_cell(self, problem: str, optimizer: str) -> Cell:
        """All trials on the tuning seeds; a cell without members if there is nothing to tune."""
        key = "tuning", problem, optimizer
        if key not in self._cells:
            config = self.config(problem, optimizer)
            if self.settings:
                self._cells[key] = _settled(config, ())
            else:
                trial = replace(
                    config,
                    seeds=self.tuning_seeds,
                    seed_offset=self.tuning_seed_offset,
                    evaluations=self.tuning_evaluations or config.evaluations,
                )
                self._cells[key] = _settled(trial, sobol_trials(self.space(problem, optimizer), self.trials))
        return self._cells[key]

    def evaluation_cell(self, problem: str, optimizer: str, hyperparameters: Mapping[str, float]) -> Cell:
        """One setting on the evaluation seeds."""
        key = "evaluation", problem, optimizer, json.dumps(hyperparameters, sort_keys=True)
        if key not in self._cells:
            config = self.config(problem, optimizer)
            seeds = replace(config, seeds=self.evaluation_seeds, seed_offset=self.evaluation_seed_offset)
            own = config.optimizer.hyperparameters
            # weight decay that is off is not among the hyperparameters of a trial
            off = {DECAY: 0.0} if DECAY in own and not self.settings else {}
            cell = _settled(seeds, [off | {n: v for n, v in hyperparameters.items() if n in own}])
            if config.engine != "auto" or cell.engine_open:  # the engine that it was tuned under
                tuning = self.tuning_cell(problem, optimizer)
                cell = cell.under(tuning.engine, tuning.engine_open)
            self._cells[key] = cell
        return self._cells[key]

    def settle(self, problem: str, tuning: Cell) -> None:
        """Use the tuning cell as it was run: its engine, which may have been chosen by the run, is that of the pair."""
        pair = problem, tuning.optimizer.name
        self._cells = {key: cell for key, cell in self._cells.items() if key[1:3] != pair}
        self._cells["tuning", *pair] = tuning

    def space(self, problem: str, optimizer: str) -> dict[str, Axis]:
        """Search space of an optimizer: hyperparameter -> low, high, scale; {} if there is nothing to tune."""
        if self.settings:
            return {}
        space = self.config(problem, optimizer).optimizer.space
        if not space:
            raise ConfigurationError(f"optimizer.space of {optimizer}", "(missing)", "a search space, to be tuned in")
        return space

    def score(self, problem: str) -> str:
        """The validation metric that chooses among trials: accuracy for classes, loss for regression."""
        spec = self.tuning_cell(problem, self.optimizers[0]).problem_spec
        if "dataset" not in spec:
            return "train_loss"
        return "val_accuracy" if DATASETS[spec["dataset"]].task == "classification" else "val_loss"

    def plan(self, members: pl.DataFrame, only: Sequence[tuple[str, str]] | None = None) -> SuitePlan:
        """What is planned, evaluations as far as stored `members` know the winners.

        Args:
            only: some (problem, optimizer) of the suite; all by default.
        """
        positions = {pair: position for position, pair in enumerate(self.pairs())}
        return SuitePlan(
            suite=self.name,
            version=self.version,
            content=self.content,
            changes=tuple(changes_of(self.overrides)),
            trials=self.trials,
            tuning_seeds=self.tuning_seeds,
            evaluation_seeds=self.evaluation_seeds,
            count=len(positions),
            pairs=tuple(self._pair(*pair, positions[pair], members) for pair in only or positions),
        )

    def _pair(self, problem: str, optimizer: str, position: int, members: pl.DataFrame) -> Pair:
        tuning, trials = self.tuning_cell(problem, optimizer), dict[str, list[str]]()
        for index, member_id in enumerate(tuning.ids):
            trials.setdefault(setting_key(tuning.setting(index)), []).append(member_id)
        pair = Pair(
            problem=problem,
            optimizer=optimizer,
            score=self.score(problem),
            target=self.targets.get(problem),
            space=self.space(problem, optimizer),
            engine=tuning.engine,
            device=tuning.problem_spec["device"],
            position=position,
            setting=self.settings[problem][optimizer] if self.settings else None,
            trials=trials,
        )
        won = pair.winner(members)
        if won is None:
            return pair
        cell = self.evaluation_cell(problem, optimizer, won.hyperparameters)
        return replace(pair, engine=cell.engine, evaluations={setting_key(won.hyperparameters): list(cell.ids)})

    def evaluation(self, problem: str, optimizer: str, members: pl.DataFrame) -> Cell | None:
        """The evaluation of the winner among stored `members`; None while any trial is missing."""
        (pair,) = self.plan(members, [(problem, optimizer)]).pairs
        won = pair.winner(members)
        return self.evaluation_cell(problem, optimizer, won.hyperparameters) if won else None

    def pairs(self) -> list[tuple[str, str]]:
        """(problem, optimizer) in the order in which they run."""
        return [(problem, optimizer) for problem in self.problems for optimizer in self.optimizers]


def _settled(config: Config, settings: Sequence[Mapping[str, float]]) -> Cell:
    return settle(build_cell(config, settings), config.results_dir)


def _check_frozen(raw: Mapping[str, Any]) -> None:
    """Raise a ConfigurationError if the content is not what its version was frozen with; a suite may freeze none."""
    frozen, version, content = raw.get("frozen") or {}, raw["version"], suite_hash(raw)
    if frozen and frozen.get(version) != content:
        raise ConfigurationError(
            "suite.version",
            version,
            f"a new number, because conf/suite/{raw['name']}.yaml has changed: version {version} is frozen with the "
            f"content {frozen.get(version)}, the file has {content}. Undo the change, or raise version to "
            f'{max(frozen) + 1} and add `{max(frozen) + 1}: "{content}"` to frozen',
        )


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """Read conf/suite/`name`.yaml and check it; `overrides` apply to every cell.

    Raises:
        ConfigurationError: unknown suite, one that was changed under the same version, an override of what the suite
            itself sets, or a wrong value.
    """
    use_plugins(overrides)
    choose("suite", name, entries("suite"))
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if key in FIXED_BY_SUITE or key.startswith("optimizer."):
            raise ConfigurationError(
                key, override.partition("=")[2], f"not set together with suite={name}, which sets it"
            )
    raw = read_yaml(CONF / "suite" / f"{name}.yaml")
    _check_frozen(raw)
    content = suite_hash(raw)
    raw.pop("frozen", None)
    raw["optimizers"] = _optimizers(overrides) or raw["optimizers"]
    targets = {problem: Target(**target) for problem, target in raw.pop("targets").items()}
    for problem, target in targets.items():
        choose(f"targets.{problem}", problem, raw["problems"])
        choose(f"targets.{problem}.metric", target.metric, METRICS)
        check_numbers(f"targets.{problem}.value", target.value)
    suite = Suite(**raw, targets=targets, content=content, overrides=tuple(overrides))
    _check_numbers(suite)
    if suite.settings:
        _check_settings(suite)
        return suite
    low, high = sorted(
        [
            (suite.tuning_seed_offset, suite.tuning_seeds),
            (suite.evaluation_seed_offset, suite.evaluation_seeds),
        ]
    )
    if sum(low) > high[0]:
        raise ConfigurationError(
            "suite.tuning_seed_offset", suite.tuning_seed_offset, "seeds disjoint from the evaluation seeds"
        )
    return suite


def _check_numbers(suite: Suite) -> None:
    """Raise a ConfigurationError for a number out of its bounds, or more members than the memory can list."""
    for name, value in vars(suite).items():
        bound = BOUNDS.get(f"suite.{name}")
        if bound is None or (name == "tuning_evaluations" and value is None):
            continue
        if suite.settings and name.startswith(("trials", "tuning")):  # not set: `_check_settings`
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(f"suite.{name}", value, bound.words)
        bound.check(f"suite.{name}", value)
    per_pair = suite.evaluation_seeds + (0 if suite.settings else suite.trials * suite.tuning_seeds)
    check_bytes(
        "suite.evaluation_seeds",
        suite.evaluation_seeds,
        suite.evaluation_seeds * RESAMPLES * RESAMPLED_BYTES,
        "the resamples of its ranks",
    )
    check_members(per_pair * len(suite.pairs()), 1, field=f"members of suite {suite.name}")


def _optimizers(overrides: Sequence[str]) -> list[str]:
    """Those of `suite.optimizers=[...]`; [] if it is not given."""
    given = [override for override in overrides if override.startswith(_OWN_LIST)]
    if not given:
        return []
    return compose_config(given[-1:]).suite.optimizers or []


def _check_settings(suite: Suite) -> None:
    """Raise a ConfigurationError unless every pair has a setting with a number for each of its hyperparameters."""
    for name in ("trials", "tuning_seeds", "tuning_evaluations"):
        if getattr(suite, name):
            raise ConfigurationError(f"suite.{name}", getattr(suite, name), "not set together with settings")
    for problem, optimizer in suite.pairs():
        setting = suite.settings.get(problem, {}).get(optimizer)
        where, known = f"suite.settings.{problem}.{optimizer}", list(get_optimizer(optimizer).hyperparameters)
        if setting is None:
            raise ConfigurationError(where, "(missing)", f"a number for each of {', '.join(known)}")
        for name in setting:
            choose(where, name, [*known, DECAY])
        for name in {**dict.fromkeys(known), **setting}:
            finite_number(f"{where}.{name}", setting.get(name))
