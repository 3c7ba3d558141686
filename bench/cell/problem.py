"""The problem of a cell: from the configuration to a JSON-like spec, and from the spec to the problem itself."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bench.cell.config import Config
from shb.datasets import DATASETS, Dataset, Split, check_files, load_dataset
from shb.errors import ConfigurationError, choose
from shb.models import MODELS, adapter, check_initialization, check_module, cnn, lenet, mlp, transformer, vgg
from shb.nonsmooth.relu import check_derivative, check_rule
from shb.optimizers import OPTIMIZERS, Optimizer
from shb.problems import CLOSED_FORMS, LOSSES, SAMPLINGS, LearningProblem, Problem, check_loss
from shb.problems.learning import settled_initialization
from shb.training import check_optimizer, check_trainable

DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}
DEVICES = ("auto", "cpu", "cuda")
_TESTED = (adapter, cnn, lenet, mlp, transformer, vgg, *OPTIMIZERS.values(), *LOSSES.values())  # need no trial


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda" for auto, cpu, cuda; raises if CUDA is asked for and absent."""
    choose("device", device, DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device", device, "auto or cpu: torch finds no CUDA device here")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def problem_spec(config: Config) -> tuple[dict[str, Any], str, int | None]:
    """Description of the problem, its label, and the size of its training part (None for closed forms).

    Raises a ConfigurationError for any value that cannot be used; files are checked, nothing is computed.
    """
    choose("dtype", config.dtype, DTYPES)
    closed = config.problem.name != "learning"
    init = {"name": config.init.name, **config.init.options}
    if init["name"] == "auto":
        init = {"name": "normal", "std": None} if closed else {"name": "auto"}  # a model's is settled with its module
    if "std" in init and init["std"] is None:
        init["std"] = 2.0 if closed else 0.1
    if not closed:
        if isinstance(init.get("value"), list):
            raise ConfigurationError("init.value", init["value"], "one number")
        std = init.get("std", 1.0)
        assert not isinstance(std, list) and std is not None  # `InitConfig` has one number; None is settled above
        check_initialization(str(init["name"]), float(std))
    check_derivative(config.relu_derivative)
    check_rule(config.relu_rule)
    choose("loss", config.loss, ("auto", *LOSSES))
    choose("sampling", config.sampling, SAMPLINGS)
    spec = {
        "name": config.problem.name,
        "init": init,
        "relu_derivative": config.relu_derivative,
        "relu_rule": config.relu_rule,
        "dtype": config.dtype,
        "device": resolve_device(config.device),
    }
    return _closed_form_spec(config, spec) if closed else _learning_spec(config, spec)


def _closed_form_spec(config: Config, spec: dict[str, Any]) -> tuple[dict[str, Any], str, None]:
    spec |= config.problem.options
    spec |= {name: float(spec[name]) for name in config.problem.numeric}
    if config.sampling != "iid":  # the default is no part of an identity
        spec["sampling"] = config.sampling
    if spec.get("data") == "diabetes":
        spec["checksum"] = load_dataset("diabetes").checksum
    build_problem(json.dumps(spec, sort_keys=True), None)  # its own checks
    return spec, spec["name"], None


def _learning_spec(config: Config, spec: dict[str, Any]) -> tuple[dict[str, Any], str, int]:
    dataset = config.dataset.name
    facts = DATASETS[dataset]
    loss = config.loss
    if loss == "auto":
        loss = "cross_entropy" if facts.task == "classification" else "squared"
    check_loss(loss, facts.task)
    if not 1 <= config.batch_size <= facts.train_size:
        allowed = f"1..{facts.train_size}, the training part of {dataset}"
        raise ConfigurationError("batch_size", config.batch_size, allowed)
    spec |= {
        "model": _model_spec(config),
        "dataset": dataset,
        "loss": loss,
        "batch_size": config.batch_size,
        "sampling": config.sampling,
    }
    with torch.device("meta"):  # the model's own checks, without memory
        module = _made(spec["model"]["name"], build_model(spec), facts.feature_shape, facts.outputs)
    _check_batch(spec, module, facts.feature_shape)
    spec["init"]["name"] = settled_initialization(spec["init"]["name"], check_module(module))
    check_files(dataset, config.data_root, config.download)
    data = load_dataset(dataset, config.data_root, config.download)
    spec["checksum"] = data.checksum
    if build_model(spec).func not in _TESTED or LOSSES[loss] not in _TESTED:
        _check_trainable(json.dumps(spec, sort_keys=True), config.data_root)
    return spec, f"{dataset}/{config.model.name}", facts.train_size


def _model_spec(config: Config) -> dict[str, Any]:
    """The model's name and options, without `norm: none`: members from before that field keep their identity."""
    spec = {"name": config.model.name, **config.model.options}
    if MODELS[config.model.name] in _TESTED and spec.get("norm") == "none":
        del spec["norm"]
    return spec


def _check_batch(spec: Mapping[str, Any], module: nn.Module, feature_shape: Sequence[int]) -> None:
    """Refuse a sample alone where a BatchNorm sees one number of it per channel, as in a perceptron."""
    if spec["batch_size"] > 1 or spec["model"].get("norm") != "batch" or build_model(spec).func not in _TESTED:
        return
    try:
        module(torch.empty(1, *feature_shape, device="meta"))  # shapes alone
    except ValueError as error:  # of torch's BatchNorm
        allowed = "at least 2 with model.norm=batch: a channel of this model has one number per sample, no variance"
        raise ConfigurationError("batch_size", 1, allowed) from error


def _made(name: str, model: Callable[..., nn.Module], feature_shape: Sequence[int], outputs: int) -> nn.Module:
    """The module; whatever else than a wrong setting keeps it from being made, in one line."""
    try:
        return model(feature_shape, outputs)
    except ConfigurationError:
        raise
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        allowed = f"a model that can be made without data, on the meta device ({type(error).__name__}: {cause})"
        raise ConfigurationError("model", name, allowed) from error


@functools.lru_cache(maxsize=64)
def _check_trainable(spec_json: str, data_root: str | None) -> None:
    spec = json.loads(spec_json)
    own = build_model(spec).func not in _TESTED
    field, name = ("model", spec["model"]["name"]) if own else ("loss", spec["loss"])
    check_trainable(_tiny_learning(spec, data_root), field, name)


def try_optimizer(optimizer: Optimizer, spec: Mapping[str, Any], data_root: str | None) -> None:
    """Try an own rule on the problem that `spec` describes.

    Raises:
        ConfigurationError: a rule that cannot train it (see `shb.training.check_optimizer`).
    """
    if OPTIMIZERS[optimizer.name] not in _TESTED:  # weight decay and clipping need no trial
        _try_optimizer(optimizer, json.dumps(spec, sort_keys=True), data_root)


@functools.lru_cache(maxsize=64)
def _try_optimizer(optimizer: Optimizer, spec_json: str, data_root: str | None) -> None:
    check_optimizer(optimizer, _tiny_problem(spec_json, data_root))


def _tiny_problem(spec_json: str, data_root: str | None) -> Problem:
    """The problem that a `problem_spec` describes, on the CPU and on very few samples."""
    spec = {**json.loads(spec_json), "device": "cpu"}
    if spec["name"] != "learning":
        return build_problem.__wrapped__(json.dumps(spec), data_root)
    return _tiny_learning(spec, data_root)


def _tiny_learning(spec: Mapping[str, Any], data_root: str | None) -> LearningProblem:
    few = {**spec, "device": "cpu", "batch_size": min(spec["batch_size"], 2)}
    return learning_problem(few, first_rows(load_dataset(spec["dataset"], data_root), 2))


def first_rows(dataset: Dataset, rows: int) -> Dataset:
    """The same data with at most `rows` samples in each part."""
    parts = {name: getattr(dataset, name) for name in ("train", "validation", "test")}
    few = {name: Split(part.x[:rows], part.y[:rows]) for name, part in parts.items()}
    return dataclasses.replace(dataset, train=few["train"], validation=few["validation"], test=few["test"])


def learning_problem(spec: Mapping[str, Any], dataset: Dataset) -> LearningProblem:
    """What a `problem_spec` with a model describes, on `dataset`."""
    init = dict(spec["init"])
    return LearningProblem(
        build_model(spec),
        dataset,
        loss=spec["loss"],
        batch_size=spec["batch_size"],
        sampling=spec["sampling"],
        init=init.pop("name"),
        **init,
        dtype=DTYPES[spec["dtype"]],
        device=spec["device"],
    )


def build_model(spec: Mapping[str, Any]) -> functools.partial:
    """`(feature_shape, outputs) -> torch.nn.Module` of the network that a `problem_spec` names."""
    options = {name: value for name, value in spec["model"].items() if name != "name"}
    model = MODELS[spec["model"]["name"]]
    parameters = inspect.signature(model).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "pool_beta" in options:
        options["pool_beta"] = float(options["pool_beta"])
    for name, default in (("relu_derivative", 0.0), ("relu_rule", "chain")):
        if takes_any or name in parameters:
            options[name] = spec[name]
        elif spec[name] != default:
            allowed = f"{default}: model={spec['model']['name']} has no argument {name}"
            raise ConfigurationError(name, spec[name], allowed)
    return functools.partial(model, **options)


@functools.lru_cache(maxsize=4)
def build_problem(spec_json: str, data_root: str | None) -> Problem:
    """The problem that a `problem_spec` describes, with its data on the device."""
    spec = json.loads(spec_json)
    if spec["name"] == "learning":
        return learning_problem(spec, load_dataset(spec["dataset"], data_root))
    init = dict(spec["init"])
    shared = {"init": init.pop("name"), **init, "dtype": DTYPES[spec["dtype"]], "device": spec["device"]}
    shared |= {"relu_derivative": spec["relu_derivative"], "relu_rule": spec["relu_rule"]}
    options = {name: value for name, value in spec.items() if name not in ("name", "init", "checksum", *shared)}
    if options.pop("data", "pair") == "diabetes":
        train = load_dataset("diabetes", data_root).train
        options |= {"x": train.x, "y": train.y[:, 0]}
    return CLOSED_FORMS[spec["name"]](**options, **shared)
