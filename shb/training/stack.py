"""A stack: many members of one problem and one optimizer advance together, one program step at a time.

Every member has its own initialisation, sample stream and hyperparameters, and its trajectory is, on the CPU,
bit for bit the one it has alone: all operations act per member (batched products, elementwise updates), and
what depends on floating-point functions (schedules) is computed per member outside the stack.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.optimizers import Optimizer
from shb.optimizers.ranges import RANGES, check_hyperparameters
from shb.problems import Params, Problem
from shb.streams import BLOCK
from shb.training.checkpoint import Checkpoint
from shb.training.evaluation import evaluate, trajectories
from shb.training.gradient import example, example_buffers, metrics_program
from shb.training.initial import initial_buffers, initial_velocity
from shb.training.member import Member, Plan, Trajectory
from shb.training.state import finite, freeze, held, leaves, mapped, write
from shb.training.step import ENGINES, Step, flags, step_of
from shb.training.tables import Tables

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
    """One update of a stack, for who observes it.

    Attributes:
        k: the step.
        params, grads, new_params: w_k, v_k and w_{k+1}, name -> [width, ...].
        hyperparameters: of step k, name -> [width].
    """

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
        problem: one of `shb.problems`, or what has the methods of `Problem`.
        optimizer: one of `shb.optimizers.OPTIMIZERS`, or an own rule.
        members: at least one; all with hyperparameters of the same names.
        plan: what they share.
        width: members the program is made for (default: their number, at least `minimal_width()`); more than
            there are members lets stacks of slightly different size share one program. Many are taken in equal slices.
        engine: "eager" runs torch's operations one by one; "compiled" native ones on a CPU, and on a GPU what torch's
            compiler makes. A member's bits differ between the two; within each they do not depend on its stack.

    Raises:
        ConfigurationError: an unknown engine; members without a hyperparameter of the optimizer, or with others than
            their neighbours; a hyperparameter out of its range (`shb.optimizers.ranges`); a momentum schedule of a
            rule without momentum.

    Attributes:
        members: those that were given.
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
        self._tables = Tables(self._filled, plan, problem.device)
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
        """Members that are advanced: those given, and copies that fill the stack up."""
        return len(self._filled)

    def run(
        self, *, progress: Callable[[int], None] | None = None, checkpoint: Checkpoint | None = None
    ) -> list[Trajectory]:
        """Advance all members to the end of the plan.

        Args:
            progress: `progress(n)` is called with the number of member-steps done since the last call.
            checkpoint: is written now and then and, if one of the same members exists, resumed from.

        Returns:
            One trajectory for each member, in their order.

        Raises:
            ConfigurationError: a rule or problem that a stack cannot trace, or that changes dtypes or shapes; an
                unknown schedule, or a number out of its range; a `velocity_std` of a rule that takes no velocity.
            CheckpointError: the checkpoint cannot be written.
            CompilationError: engine "compiled" without a compiler.
        """
        state = checkpoint.load() if checkpoint else None
        if checkpoint and state is not None and len(state["alive"]) != self.width:
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
        options = {}
        if self.plan.velocity_std > 0:
            std = self.plan.velocity_std
            options["velocity"] = initial_velocity(params, std, self._sample_seeds, self._sample_rows)
        optimizer = self.optimizer.init(params, self._tables.initial(), **options)
        buffers = initial_buffers(self.problem, self._sample_seeds, self._sample_rows) if self._stateful else {}
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

    @functools.cached_property
    def _stateful(self) -> bool:
        """Whether members have buffers."""
        return bool(example_buffers(self.problem, 1))

    def advance(self, state: dict, start: int, stop: int, observe: Callable[[StackStep], None] | None = None) -> None:
        """Run the steps `start` .. `stop` - 1 without evaluation.

        Args:
            state: what the method `start` made; it is changed.
            start, stop: of one block of samples: both in [64 i, 64 (i + 1)] for a whole number i.
            observe: is called after every update, with what it did.
        """
        if observe or len(self._slices) == 1:
            return self._advance(state, self._whole, start, stop, observe)
        moved = ("params", "optimizer", "buffers", "diverged_step", "frozen", *self._flag_names)
        for part in self._slices:
            own = {name: state[name] for name in moved if name in state}
            own = mapped(operator.itemgetter(part.rows), own)
            self._advance(own, part, start, stop)
            if "frozen" in own and "frozen" not in state:
                state["frozen"] = mapped(Tensor.clone, held(state))
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
        hyperparameters = self._tables.steps(start, stop, part.rows)
        ks = torch.arange(start, stop, device=self.problem.device)
        step = self._step(hyperparameters, len(state["alive"]), observe is not None)
        tree = {name: state.pop(name) for name in ("params", "optimizer")}  # not kept while steps replace them
        tree["flags"] = {name: state[name] for name in self._flag_names}
        if self._stateful:
            tree["buffers"] = state.pop("buffers")
        carried: Sequence[Tensor] = step.flatten(tree)
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
                    freeze(state, state["alive"] & ~finite(new_tree["params"]), held(tree), k)
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
        if bits is not None:
            samples = (bits if part.members is None else bits[part.members]).unsqueeze(0)
        else:
            samples = self._samples(part, start, stop)
        done = step.many(carried, hyperparameters, samples, ks, signs)
        return None if done is None or bool(done[1]) else done[0]

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
        rows = [part.rows for part in self._slices]
        evaluate(self.problem, self.engine, rows, state, k, full=k == self.plan.steps)

    def _results(self, state: dict) -> list[Trajectory]:
        return trajectories(self.members, state)

    @property
    def scratch_bytes(self) -> int:
        """Memory that every thread needs besides that of the members."""
        return getattr(self._own_step().program, "scratch_bytes", 0)

    def _own_step(self) -> Step:
        return self._step(self._tables.names, self._size)

    def bytes_per_member(self) -> int:
        """Peak bytes per member: what is carried, and the larger of a step and an evaluation batch."""
        state = self.start()
        carried = sum(t.numel() * t.element_size() for t in leaves([held(state), state["optimizer"]]))
        rows = max(batch.weight for batch in self.problem.evaluation(full=True))
        evaluation, _ = metrics_program(self.problem, self._size, rows, self.engine)
        step = self._own_step().program
        return (max(step.bytes_of(self._size), evaluation.bytes_of(self._size)) + carried) // self.width


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
    check_hyperparameters({name: [m.hyperparameters[name] for m in members] for name in RANGES.keys() & names})
    if plan.momentum_schedule != "constant" and "momentum" not in names:
        raise ConfigurationError("momentum_schedule", plan.momentum_schedule, f"constant for {optimizer.name}")
