"""A stack: many members of one problem and one optimizer advance together, one program step at a time.

Every member has its own initialisation, sample stream and hyperparameters, and its trajectory is, on the CPU,
bit for bit the one it has alone: all operations act per member (batched products, elementwise updates), and
what depends on floating-point functions (schedules) is computed per member outside the stack.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.optimizers import Optimizer
from shb.problems import Params, Problem
from shb.schedules import schedule_table, second_order_momentum
from shb.streams import BLOCK, stream
from shb.training.checkpoint import Checkpoint
from shb.training.gradient import example, example_buffers, metrics_program, shared
from shb.training.member import Member, Plan, Trajectory
from shb.training.state import finite, freeze, leaves, mapped, select, write
from shb.training.step import ENGINES, Step, flags, step_of

_MANY = 10**8  # member-steps from which on it pays to compile a loop of their own for many small members
# Members, at least, that a CPU takes through a block of steps together: temporaries are of them only, and cached (but
# torch shares an operation among threads from 32,768 numbers on)
_SLICE = {"eager": 40_000, "compiled": 28_000}


def minimal_width() -> int:
    """Members a stack holds at least (filled up with copies that are dropped).

    A single product and, where there are more threads than members, a shared one differ from a batched product
    in the last bit; with a member for every thread, each product is computed by one thread.
    """
    return max(2, torch.get_num_threads())


class StackStep(NamedTuple):
    """One update of a stack: w_k, v_k, w_{k+1} by name [width, ...], and the hyperparameters of step k [width]."""

    k: int
    params: Params
    grads: Params
    new_params: Params
    hyperparameters: dict[str, Tensor]


class _Slice(NamedTuple):
    """Members `rows` of a stack: the `seeds` of their samples, and of which of these each is (None: in this order)."""

    rows: slice
    seeds: np.ndarray
    members: Tensor | None


class Stack:
    """Run `members` of `problem` under `optimizer` and `plan`.

    Args:
        width: members the program is made for (default: their number, at least `minimal_width()`); more than
            there are members lets stacks of slightly different size share one program. Many are taken in equal slices.
        engine: see `Step`.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        members: Sequence[Member],
        plan: Plan,
        width: int | None = None,
        engine: str = "eager",
    ) -> None:
        choose("engine", engine, ENGINES)
        _check(optimizer, members, plan)
        self.problem, self.optimizer, self.plan = problem, optimizer, plan
        self.engine = engine
        self.members = list(members)
        width = max(width or 0, len(members), minimal_width())
        slices = max(1, width // _SLICE[engine]) if problem.device.type == "cpu" else 1
        width = slices * math.ceil(width / slices)
        self.asks_device = problem.device.type == "cpu"  # per step, whether a member diverged: a GPU would have to wait
        self._filled = self.members + [self.members[-1]] * (width - len(members))
        self._base = {
            name: np.array([m.hyperparameters[name] for m in self._filled], dtype=np.float64)
            for name in self.members[0].hyperparameters
        }
        self._sample_seeds, rows = np.unique([m.seed for m in self._filled], return_inverse=True)
        self._sample_rows = torch.from_numpy(rows)
        in_order = np.array_equal(rows, np.arange(width))
        self._whole = _Slice(slice(0, width), self._sample_seeds, None if in_order else self._sample_rows)
        self._size = width // slices
        self._slices = [self._part(i) for i in range(0, width, self._size)] if slices > 1 else [self._whole]

    def _part(self, first: int) -> _Slice:
        """Of many: drawing for each of them is faster than picking what their seeds share."""
        rows = slice(first, first + self._size)
        return _Slice(rows, self._sample_seeds[self._sample_rows.numpy()[rows]], None)

    @property
    def width(self) -> int:
        return len(self._filled)

    def run(
        self, *, progress: Callable[[int], None] | None = None, checkpoint: Checkpoint | None = None
    ) -> list[Trajectory]:
        """Advance all members to the end of the plan.

        `progress(n)` is called with the number of member-steps done since the last call; a `checkpoint` is
        written now and then and, if one of the same members exists, resumed from.
        """
        state = checkpoint.load() if checkpoint else None
        if state is not None and len(state["alive"]) != self.width:
            state, checkpoint.resumed_at = None, 0  # of a stack that was filled up to another width
        state = self.start() if state is None else state
        if progress and state["k"] > 0:
            progress(int(state["k"]) * len(self.members))  # done before the interruption
        evaluations = sorted({0, *self.plan.evaluate_at, self.plan.steps})
        while True:
            k = int(state["k"])
            if k in evaluations and k not in state["curve"].get("step", ()):  # a checkpoint may hold row k
                self._evaluate(state, k)
            if k == self.plan.steps:
                break
            if checkpoint:
                checkpoint.save_if_due(state)
            stop = min(e for e in evaluations if e > k)
            stop = min(stop, (k // BLOCK + 1) * BLOCK)
            self.advance(state, k, stop)
            if progress:
                progress((stop - k) * len(self.members))
            state["k"] = torch.tensor(stop)
        return self._results(state)

    def start(self) -> dict:
        """State at k = 0: nested dicts of tensors with a leading member axis (and the 0-d step k)."""
        device = self.problem.device
        initial = self.problem.initial_parameters_of(self._sample_seeds)
        params = {name: p[self._sample_rows].to(device) for name, p in initial.items()}
        hyperparameters = {n: torch.from_numpy(v).to(device) for n, v in self._base.items()}
        options = {}
        if self.plan.velocity_std > 0:
            options["velocity"] = self._initial_velocity(params)
        optimizer = self.optimizer.init(params, hyperparameters, **options)
        buffers = self._initial_buffers()
        if len(self._slices) > 1:  # slices write into it
            params, optimizer = mapped(Tensor.clone, params), mapped(Tensor.clone, optimizer)
        return {
            "k": torch.tensor(0),
            "params": params,
            "optimizer": optimizer,
            **({"buffers": buffers} if buffers else {}),
            "diverged_step": torch.full((self.width,), -1, dtype=torch.int64, device=device),
            "curve": {},
            **flags(self.problem, params),
        }

    def _initial_buffers(self) -> Params:
        initial = getattr(self.problem, "initial_buffers", None)
        drawn = [initial(int(seed)) for seed in self._sample_seeds] if self._stateful else []
        return {
            name: torch.stack([one[name] for one in drawn])[self._sample_rows].to(self.problem.device)
            for name in (drawn[0] if drawn else {})
        }

    @functools.cached_property
    def _stateful(self) -> bool:
        """Whether members have buffers."""
        return bool(example_buffers(self.problem, 1))

    def _initial_velocity(self, params: Params) -> Params:
        drawn: dict[int, dict[str, Tensor]] = {}
        for seed in map(int, self._sample_seeds):
            generator = stream(seed, "velocity")
            drawn[seed] = {
                name: torch.from_numpy(
                    np.asarray(self.plan.velocity_std * generator.standard_normal(tuple(p.shape[1:])))
                )
                for name, p in params.items()
            }
        return {
            name: torch.stack([drawn[m.seed][name] for m in self._filled]).to(p.device, p.dtype)
            for name, p in params.items()
        }

    @functools.cached_property
    def _constant(self) -> dict[str, Tensor]:
        """Hyperparameters that are the same in every step: name -> float64 [width]."""
        varying = {
            "lr": (self.plan.schedule, "schedule."),
            "momentum": (self.plan.momentum_schedule, "momentum_schedule."),
        }
        constant = {}
        for name, base in self._base.items():
            schedule, prefix = varying.get(name, ("constant", f"{name}."))
            if "." not in name and schedule == "constant":
                (constant[name],) = self._table(schedule, prefix, base, self._base, 0, 1)
        return {name: torch.from_numpy(base).to(self.problem.device) for name, base in constant.items()}

    def _table(
        self, schedule: str, prefix: str, base: np.ndarray, own: dict[str, np.ndarray], start: int, stop: int
    ) -> np.ndarray:
        parameters = {n.removeprefix(prefix): v for n, v in own.items() if n.startswith(prefix)}
        return schedule_table(schedule, base, parameters, start, stop, self.plan.steps)

    def _hyperparameters(self, start: int, stop: int, rows: slice) -> dict[str, Tensor]:
        """Schedules of the members `rows` for steps start..stop-1: name -> float64 [stop - start, members]."""
        plan, own = self.plan, {name: base[rows] for name, base in self._base.items()}
        tables: dict[str, Tensor | np.ndarray] = {}
        for name, base in own.items():
            if name in self._constant:
                tables[name] = self._constant[name][rows].expand(stop - start, -1)
            elif name == "lr":
                tables[name] = self._table(plan.schedule, "schedule.", base, own, start, stop)
            elif name == "momentum" and plan.momentum_schedule == "second_order":
                lr = self._table(plan.schedule, "schedule.", own["lr"], own, max(start - 1, 0), stop)
                previous = np.concatenate([lr[:1], lr])[: stop - start] if start == 0 else lr[:-1]
                tables[name] = second_order_momentum(previous, lr[-(stop - start) :], own["momentum_schedule.r"])
            elif name == "momentum":
                tables[name] = self._table(plan.momentum_schedule, "momentum_schedule.", base, own, start, stop)
        return {n: torch.as_tensor(t).to(self.problem.device) for n, t in tables.items()}

    def advance(self, state: dict, start: int, stop: int, observe: Callable[[StackStep], None] | None = None) -> None:
        """Run steps start..stop-1 on `state`, which `start` made, without evaluation (one block of samples).

        `observe` is called after every update.
        """
        if observe or len(self._slices) == 1:
            return self._advance(state, self._whole, start, stop, observe)
        moved = ("params", "optimizer", "buffers", "diverged_step", "frozen", *self._flag_names)
        for part in self._slices:
            own = {name: state[name] for name in moved if name in state}
            own = mapped(lambda t, rows=part.rows: t[rows], own)
            self._advance(own, part, start, stop)
            if "frozen" in own and "frozen" not in state:
                state["frozen"] = mapped(Tensor.clone, _held(state))
            write(part.rows, own, state)

    def _advance(
        self,
        state: dict,
        part: _Slice,
        start: int,
        stop: int,
        observe: Callable[[StackStep], None] | None = None,
    ) -> None:
        """`state` is that of the members of `part`."""
        hyperparameters = self._hyperparameters(start, stop, part.rows)
        ks = torch.arange(start, stop, device=self.problem.device)
        step = self._step(hyperparameters, len(state["alive"]), observe is not None)
        tree = {name: state.pop(name) for name in ("params", "optimizer")}  # not kept while steps replace them
        tree["flags"] = {name: state[name] for name in self._flag_names}
        if self._stateful:
            tree["buffers"] = state.pop("buffers")
        carried = step.flatten(tree)
        del tree
        with torch.no_grad():
            if step.taped and observe is None and self.width * self.plan.steps >= _MANY:
                together = self._together(step, part, carried, hyperparameters, ks)
                if together is not None:
                    return self._put(state, step.unflatten(together))
            samples = self._samples(part, start, stop)
            rows = {name: table.unbind() for name, table in hyperparameters.items()}  # faster than indexing every step
            numbers = [dict(zip(rows, one)) for one in zip(*rows.values())] or [{}] * len(ks)
            for k, index, sample, one in zip(ks.tolist(), ks.unbind(), samples.unbind(), numbers):
                batch = (sample,) if step.taped else self.problem.batch(sample)
                new, not_finite, grads = step(carried, one, batch, index)
                if not self.asks_device or bool(not_finite):
                    tree, new_tree = step.unflatten(carried), step.unflatten(new)
                    state["alive"] = new_tree["flags"]["alive"]
                    freeze(state, state["alive"] & ~finite(new_tree["params"]), _held(tree), k)
                    new = step.flatten({**new_tree, "flags": {**new_tree["flags"], "alive": state["alive"]}})
                if observe:
                    params, new_params = step.unflatten(carried)["params"], step.unflatten(new)["params"]
                    observe(StackStep(k, params, dict(zip(params, grads)), new_params, one))
                carried = new
        self._put(state, step.unflatten(carried))

    def _samples(self, part: _Slice, start: int, stop: int) -> Tensor:
        """[steps, members, ...]"""
        samples = self.problem.samples_of(part.seeds, start, stop)
        return (samples if part.members is None else samples.index_select(1, part.members)).to(self.problem.device)

    def _together(
        self, step: Step, part: _Slice, carried: Sequence[Tensor], hyperparameters: dict[str, Tensor], ks: Tensor
    ) -> Sequence[Tensor] | None:
        """What is carried after all steps `ks`; None if they must go one by one, as where a member diverges."""
        start, stop = int(ks[0]), int(ks[-1]) + 1
        bits = getattr(self.problem, "sign_bits_of", lambda *_: None)(part.seeds, start, stop)
        signs = bits is not None
        if step.recurrence(signs) is None:
            return None
        if signs:
            samples = (bits if part.members is None else bits[part.members]).unsqueeze(0)
        else:
            samples = self._samples(part, start, stop)
        new, not_finite = step.many(carried, hyperparameters, samples, ks, signs)
        return None if bool(not_finite) else new

    def _put(self, state: dict, carried: dict) -> None:
        state |= {"params": carried["params"], "optimizer": carried["optimizer"], **carried["flags"]}
        if self._stateful:
            state["buffers"] = carried["buffers"]

    @functools.cached_property
    def _flag_names(self) -> list[str]:
        params, _ = example(self.problem, 1)
        return list(flags(self.problem, params))

    def _step(self, hyperparameters: Iterable[str], width: int, observed: bool = False) -> Step:
        names = tuple(hyperparameters)
        return step_of(self.problem, self.optimizer, width, names, self.engine, observed)

    def _evaluate(self, state: dict, k: int) -> None:
        """Append a row to every curve column; columns not evaluated at k get NaN."""
        curve, full = state["curve"], k == self.plan.steps
        sums: dict[str, Tensor] = {}
        weights: dict[str, int] = {}
        for part, tensors, weight in self.problem.evaluation(full=full):
            program, names = metrics_program(self.problem, self._size, weight, self.engine)
            data, params = shared(tensors, self._size), _held(state).values()
            values = [program(*(p[part.rows] for p in params), *data) for part in self._slices]
            for name, value in zip(names, map(torch.cat, zip(*values))):
                sums[part + name] = sums.get(part + name, 0) + value.double()
                weights[part + name] = weights.get(part + name, 0) + weight
        row = {name: sums[name] / weights[name] for name in sums}
        if "train_loss" in row:
            freeze(state, state["alive"] & ~row["train_loss"].isfinite(), _held(state), k)
        previous = int(curve["step"][-1]) if curve else 0
        row |= {name: state[name].double() for name in ("touched", "trapped") if name in state}
        row["batch_loss"] = state["batch_loss"] / (k - previous if k else torch.nan)
        state["batch_loss"] = torch.zeros_like(state["batch_loss"])
        missing = torch.full((self.width,), torch.nan, dtype=torch.float64)
        rows = len(curve.setdefault("step", torch.empty(0, dtype=torch.int64)))
        curve["step"] = torch.cat([curve["step"], torch.tensor([k])])
        for name in sorted((curve.keys() | row.keys()) - {"step"}):
            past = curve.get(name, missing.expand(rows, -1))
            curve[name] = torch.cat([past, row.get(name, missing).cpu().unsqueeze(0)])

    def _results(self, state: dict) -> list[Trajectory]:
        alive, diverged = state["alive"].tolist(), state["diverged_step"].tolist()
        kept = select(state["alive"], _held(state), state["frozen"]) if "frozen" in state else _held(state)
        kept = {n: p.cpu() for n, p in kept.items()}
        params = {n: kept[n] for n in state["params"]}
        buffers = {n: kept[n] for n in state.get("buffers", ())}
        steps = state["curve"]["step"].tolist()
        columns = {name: values.T.tolist() for name, values in state["curve"].items() if name != "step"}
        trajectories = []
        for i, member in enumerate(self.members):
            rows = len(steps) if alive[i] else sum(step <= diverged[i] for step in steps)
            curve = {n: [None if v != v else v for v in values[i][:rows]] for n, values in columns.items()}
            trajectories.append(
                Trajectory(
                    member,
                    "done" if alive[i] else "diverged",
                    None if alive[i] else diverged[i],
                    {n: v[-1] if alive[i] else None for n, v in curve.items() if n != "batch_loss"},
                    {"step": steps[:rows], **curve},
                    {name: p[i].clone() for name, p in params.items()},
                    {name: b[i].clone() for name, b in buffers.items()},
                )
            )
        return trajectories

    @property
    def scratch_bytes(self) -> int:
        """Memory that every thread needs besides that of the members."""
        return getattr(self._own_step().program, "scratch_bytes", 0)

    def _own_step(self) -> Step:
        return self._step((name for name in self._base if "." not in name), self._size)

    def bytes_per_member(self) -> int:
        """Peak bytes per member: what is carried, and the larger of a step and an evaluation batch."""
        state = self.start()
        held = sum(t.numel() * t.element_size() for t in leaves([_held(state), state["optimizer"]]))
        rows = max(batch.weight for batch in self.problem.evaluation(full=True))
        evaluation, _ = metrics_program(self.problem, self._size, rows, self.engine)
        step = self._own_step().program
        return (max(step.bytes_of(self._size), evaluation.bytes_of(self._size)) + held) // self.width


def _held(state: dict) -> Params:
    """Parameters and buffers of members, by name."""
    return {**state["params"], **state.get("buffers", {})}


def _check(optimizer: Optimizer, members: Sequence[Member], plan: Plan) -> None:
    names = members[0].hyperparameters.keys() if members else {}
    for member in members:
        if member.hyperparameters.keys() != names:
            given = sorted(member.hyperparameters)
            raise ConfigurationError("hyperparameters of a member", given, f"the names of its stack, {sorted(names)}")
    lacking = [name for name in optimizer.hyperparameters if name not in names]
    if not members or lacking:
        raise ConfigurationError(
            "hyperparameters of a stack", sorted(names), f"all of {list(optimizer.hyperparameters)}"
        )
    if plan.momentum_schedule != "constant" and "momentum" not in names:
        raise ConfigurationError("momentum_schedule", plan.momentum_schedule, f"constant for {optimizer.name}")
