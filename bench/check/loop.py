"""A member of a stack is what a plain loop makes of it, in float64 and to rounding: one member, one step, autograd.

The loop trains the module itself: for `mlp` and `cnn` one of torch's own layers (bench.reproduction.plain_loop), for
others the contributor's. Its optimizer is torch's own where there is one, else the rule, of one member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.cell.problem import build_model
from bench.check.fault import Fault
from bench.check.subject import Subject
from bench.reproduction.plain_loop import PlainUpdate, check_plain, plain_module, plain_squared, step_sizes
from shb.datasets import load_dataset
from shb.errors import ConfigurationError
from shb.optimizers import Optimizer
from shb.problems import LOSSES, LearningProblem, Params, Problem
from shb.training import Member
from shb.training.drawing import kept

TOLERANCE = 1e-9  # of the largest entry of a parameter
_CRITERIA = {"cross_entropy": F.cross_entropy, "squared": plain_squared}
_aten = torch.ops.aten


def check(subject: Subject, engine: str) -> str:
    """What was seen; a Fault otherwise."""
    member = subject.members[0]
    (stacked,) = subject.stack([member], engine, "float64").run()
    if stacked.status == "diverged":
        cure = "a smaller step size; if the plain loop does not diverge, an operation that differs in a stack"
        raise Fault(f"the member diverges at step {stacked.diverged_step}", cure)
    plain = (_train_closed if subject.closed else _train_module)(subject, member)
    found = {**stacked.parameters, **stacked.buffers, **_metrics(stacked.metrics, plain)}
    worst = 0.0
    for name, expected in plain.items():
        size = expected.double().abs().amax().item()
        gap = (found[name].double() - expected.double()).abs().amax().item()
        gap = gap / size if size else gap
        if not gap <= TOLERANCE:
            raise Fault(
                f"after {subject.plan.steps} steps {name} differs by {gap:.1e} of its size from that of a plain loop",
                "nothing that changes from call to call or between tracing and running: attributes that `forward` or "
                "`update` set, `isinstance(k, int)`, global variables",
            )
        worst = max(worst, gap)
    return f"{subject.plan.steps} steps in float64 agree to {worst:.1e}"


def _metrics(metrics: Mapping[str, float | None], plain: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items() if name in plain}


class _Rule:
    """An update rule in the place of a torch.optim.Optimizer: of one member, with a member axis of length 1."""

    def __init__(self, rule: Optimizer, parameters: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        self._rule, self._parameters, self._k = rule, parameters, 0
        self.numbers = {name: torch.tensor([numbers[name]], dtype=torch.float64) for name in rule.hyperparameters}
        self._state = rule.init(self._stacked(lambda p: p.detach()), self.numbers)

    def _stacked(self, part: Callable[[Tensor], Tensor]) -> Params:
        return {name: part(p).unsqueeze(0) for name, p in self._parameters.items()}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        if "lr" in self.numbers:
            self.numbers["lr"] = torch.tensor([lr], dtype=torch.float64)
        params, grads = self._stacked(lambda p: p.detach()), self._stacked(_gradient)
        new, self._state = self._rule.update(params, grads, self._state, self.numbers, self._k)
        for name, p in self._parameters.items():
            p.copy_(new[name][0])
        self._k += 1


def _gradient(p: Tensor) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad


def _optimizer(subject: Subject, member: Member, parameters: Mapping[str, Tensor], module: nn.Module | None) -> Any:
    own = subject.optimizer.name in ("sgd", "nesterov", "adam", "shb") and subject.plan.schedule == "constant"
    if own and module is not None:
        return PlainUpdate(subject.optimizer, module, member.hyperparameters)
    return _Rule(subject.optimizer, parameters, member.hyperparameters)


def _step_sizes(subject: Subject, member: Member) -> list[float]:
    return step_sizes(subject.plan, member) if "lr" in member.hyperparameters else [0.0] * subject.plan.steps


def _train_closed(subject: Subject, member: Member) -> Params:
    """Parameters at the end."""
    problem: Problem = subject.problem("float64")
    parameters = {name: p.clone().requires_grad_() for name, p in problem.initial_parameters(member.seed).items()}
    optimizer = _optimizer(subject, member, parameters, None)
    for k, lr in enumerate(_step_sizes(subject, member)):
        batch = [tensor[0] for tensor in problem.batch(problem.sample(member.seed, k, k + 1))]
        _forget(parameters)
        problem.loss(parameters, *batch).backward()
        optimizer.step(lr)
    return {name: p.detach() for name, p in parameters.items()}


def _forget(parameters: Mapping[str, Tensor]) -> None:
    for p in parameters.values():
        p.grad = None


def _train_module(subject: Subject, member: Member) -> Params:
    """Parameters, buffers and the loss of the training part at the end."""
    problem = subject.problem("float64")
    spec, (x, y) = subject.cell.problem_spec, _training_part(subject, problem)
    data = load_dataset(spec["dataset"], subject.cell.data_root)
    module = _module(subject, data.feature_shape, data.outputs).double()
    start = {**problem.initial_parameters(member.seed), **problem.initial_buffers(member.seed)}
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            tensor.copy_(start[name])
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = _optimizer(subject, member, parameters, module)
    criterion = _CRITERIA.get(spec["loss"]) or (lambda output, y: LOSSES[spec["loss"]](output, y).mean())
    for k, lr in enumerate(_step_sizes(subject, member)):
        (sample,) = problem.sample(member.seed, k, k + 1)
        rows = sample[: spec["batch_size"]]
        _forget(parameters)
        with _Draws(sample[-1:].unsqueeze(0)) if problem.draws else torch.enable_grad():
            loss = criterion(module(x[rows]), y[rows])
        loss.backward()
        optimizer.step(lr)
    module.eval()
    with torch.no_grad():
        loss = criterion(module(x), y).double()
    return {**{n: t.detach() for n, t in [*module.named_parameters(), *module.named_buffers()]}, "train_loss": loss}


def _module(subject: Subject, feature_shape: tuple[int, ...], outputs: int) -> nn.Module:
    spec = subject.cell.problem_spec
    try:
        check_plain(subject.cell)
    except ConfigurationError:
        return build_model(spec)(feature_shape, outputs)
    return plain_module(spec, feature_shape, outputs)


def _training_part(subject: Subject, problem: LearningProblem) -> tuple[Tensor, Tensor]:
    """Inputs and targets as a plain loop has them: labels for torch's cross-entropy, else one-hot rows or numbers."""
    samples = torch.arange(problem.train_size).unsqueeze(0)
    x, y = (tensor[0] for tensor in problem.rows(samples))
    return x, y.argmax(1) if subject.cell.problem_spec["loss"] == "cross_entropy" else y


class _Draws(TorchDispatchMode):
    """Dropout by the member's word of a step, as a stack has it (shb.training.drawing)."""

    def __init__(self, key: Tensor) -> None:
        super().__init__()
        self._key, self._used = key, 0

    def _kept(self, like: Tensor, probability: float) -> Tensor:
        mask = kept(self._key, torch.Size((1, *like.shape)), probability, self._used)[0]
        self._used += like.numel()
        return mask.to(like.dtype)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in (_aten.bernoulli.p, _aten.bernoulli_.float):
            mask = self._kept(args[0], args[1] if len(args) > 1 else kwargs.get("p", 0.5))
            return args[0].copy_(mask) if func is _aten.bernoulli_.float else mask
        return func(*args, **kwargs)
