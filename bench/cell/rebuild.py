"""From the stored spec of a member back to its cell.

The spec is read as data (bench/cell/spec.py), turned into the configuration that it came from, and checked by the
same code that checks the command line. The cell that results must have exactly this spec: a field that is unknown,
missing or of another type cannot pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from bench.cell.cell import NUMERICS, Cell, build_cell
from bench.cell.config import Config, fields, typed
from bench.cell.plugins import PluginMissing
from bench.cell.problem import resolve_device
from bench.cell.spec import PROBLEM_FIELDS, read_spec
from bench.store.identity import canonical, identity
from shb.datasets import check_files, load_dataset
from shb.errors import ConfigurationError, shown


class Unavailable(RuntimeError):
    """What a spec needs is not here (data set, device, newer code), which says nothing against it."""


def spec_cell(text: str, data_root: str | None = None) -> Cell:
    """The cell of one member that the spec `text` (JSON) describes, under the identity that the spec gives it.

    Nothing is computed, and no memory but that of the data set is used.

    Raises:
        ConfigurationError: not a spec that this code, or an older one, could have written.
        Unavailable: the data set, a plug-in, a CUDA device, or the code of newer numerics is missing.
    """
    try:
        spec = read_spec(text)
    except PluginMissing as error:
        raise Unavailable(str(error)) from None
    engine, numerics = spec["engine"], spec["numerics"]
    if numerics > NUMERICS[engine]:
        known = NUMERICS[engine]
        raise Unavailable(f"engine {engine} with numerics {numerics}: this code has {known}, update it")
    _check_available(spec["problem"], data_root)
    cell = build_cell(_config(spec, data_root)).under(engine)
    own = {**cell.specs[0], "numerics": numerics}
    difference = _difference(spec, json.loads(canonical(own)), "spec")
    if difference:
        raise difference
    return replace(cell, specs=(own,), ids=(identity(own),))


def _check_available(problem: Mapping[str, Any], data_root: str | None) -> None:
    dataset = problem.get("dataset", "diabetes" if problem.get("data") == "diabetes" else None)
    try:
        resolve_device(problem["device"])
        if dataset:
            check_files(dataset, data_root)
    except ConfigurationError as error:
        raise Unavailable(str(error)) from None
    if dataset and load_dataset(dataset, data_root).checksum != problem.get("checksum"):
        raise Unavailable(f"{dataset}: the data set here is another one (checksum {shown(problem.get('checksum'))})")


def _config(spec: Mapping[str, Any], data_root: str | None) -> Config:
    """The configuration from which `bench.run` made the spec."""
    problem, hyperparameters = spec["problem"], spec["hyperparameters"]
    closed = problem["name"] != "learning"
    shared = {*PROBLEM_FIELDS, "checksum", "sampling"} - {"name"}
    std = spec["velocity_std"]

    def group(name: str) -> dict[str, Any]:
        own = {n.removeprefix(f"{name}."): value for n, value in hyperparameters.items() if n.startswith(f"{name}.")}
        return {"name": spec.get(name, "none"), **own}  # without a name only clipping, which is off then

    composed = {
        "problem": {n: v for n, v in problem.items() if n not in shared} if closed else {"name": "learning"},
        "model": problem.get("model", {"name": "mlp"}),
        "dataset": {"name": problem.get("dataset", "digits")},
        "optimizer": {
            "name": spec["optimizer"],
            **{n: v for n, v in hyperparameters.items() if "." not in n},
            **({"allow_unstable": True} if "allow_unstable" in fields("optimizer", spec["optimizer"]) else {}),
            **({"decoupled": spec["decoupled"]} if "decoupled" in spec else {}),
        },
        "clip": group("clip"),
        "schedule": group("schedule"),
        "momentum_schedule": group("momentum_schedule"),
        "init": problem["init"],
        "velocity": {"name": "normal", "std": std} if std else {"name": "zero"},
        "logger": {"name": "none"},
        "suite": {"name": "none"},
        "seeds": 1,
        "seed_offset": spec["seed"],
        "steps": spec["steps"],
        "epochs": None,
        "batch_size": problem.get("batch_size", 1),
        "sampling": problem.get("sampling", "iid"),
        "loss": problem.get("loss", "auto"),
        "relu_derivative": problem["relu_derivative"],
        "relu_rule": problem["relu_rule"],
        "evaluations": max(1, len(spec["evaluate_at"]) - 1),
        "dtype": problem["dtype"],
        "device": problem["device"],
        "engine": "eager",
        "threads": None,
        "workers": None,
        "memory": None,
        "data_root": data_root,
        "download": False,
        "plugins": [],
        "results_dir": "results/local",
    }
    return typed(OmegaConf.create(composed), Config)


def _difference(given: Any, rebuilt: Any, where: str) -> ConfigurationError | None:
    """The first field in which the spec is not what its own configuration gives."""
    if isinstance(given, dict) and isinstance(rebuilt, dict) and given.keys() == rebuilt.keys():
        found = (_difference(given[name], rebuilt[name], f"{where}.{name}") for name in given)
        return next(filter(None, found), None)
    if json.dumps(given) == json.dumps(rebuilt):  # 1 and 1.0 are different texts, hence different identities
        return None
    return ConfigurationError(where, shown(given), f"{shown(rebuilt)}, as its other fields say")
