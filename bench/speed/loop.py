"""The baseline: the same members one at a time, plain torch modules under torch.optim.

No data loader, no logging: as fast as a loop in eager torch gets. It runs in three ways, and the fastest is what a
stack is compared with: one process with all threads, one with one thread, a process of one thread for every thread.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import torch
from torch import Tensor, nn

from bench.speed.work import LR, MOMENTUM, Work, device, loss_of, synchronize

PATIENCE = 120.0  # seconds that a worker waits for the others


class Loop:
    """Members of `work` with the given `seeds`, one after the other, `steps` steps each.

    Attributes:
        member_steps: of one `run`.
    """

    def __init__(self, work: Work, seeds: range, steps: int) -> None:
        self.problem, self.steps, self._loss = work.problem, steps, loss_of(work)
        self.member_steps = len(seeds) * steps
        self._trained: list[tuple[int, nn.Module, torch.optim.SGD]] = []
        for seed in seeds:
            module = work.plain().to(device())
            self._trained.append((seed, module, torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM)))
        self.reset()

    def reset(self) -> None:
        """Back to w_0 at rest."""
        for seed, module, optimizer in self._trained:
            optimizer.state.clear()
            with torch.no_grad():
                for parameter, value in zip(module.parameters(), self.problem.initial_parameters(seed).values()):
                    parameter.copy_(value.reshape(parameter.shape))

    def run(self) -> None:
        for seed, module, optimizer in self._trained:
            samples = self.problem.sample(seed, 0, self.steps).to(device())
            for sample in samples.double() if samples.dtype == torch.int8 else samples:
                optimizer.zero_grad()
                self._loss(module, sample).backward()
                optimizer.step()
        synchronize()

    def parameters(self) -> list[list[Tensor]]:
        """Of every member, in the order of its module."""
        return [[parameter.detach() for parameter in module.parameters()] for _, module, _ in self._trained]


class Workers:
    """`count` processes of one thread each that stay alive; they run loops of different seeds at the same time.

    Attributes:
        processes: alive until `close`.
    """

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.count, self._barrier = count, context.Barrier(count)
        self._pipes: list[Connection] = []
        self.processes: list[multiprocessing.process.BaseProcess] = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._barrier, number), daemon=True)
            process.start()
            theirs.close()  # so that a dead worker is an EOFError here
            self._pipes.append(ours)
            self.processes.append(process)

    def load(self, work: Work, seeds: int, steps: int) -> None:
        """Give every worker a loop of `seeds` members."""
        self._ask((dataclasses.replace(work), seeds, steps))  # a copy, without the problem that `work` may have made

    def run(self) -> float:
        """Run the loaded loops at the same time, from w_0; member-steps per second, summed over the workers."""
        return sum(self._ask("run"))

    def _ask(self, message: object) -> list[float]:
        for pipe in self._pipes:
            pipe.send(message)
        return [pipe.recv() for pipe in self._pipes]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self.processes:
            process.join(PATIENCE)


def _serve(pipe: Connection, barrier: Barrier, number: int) -> None:
    """What a worker does until its pipe is closed: make the loop it is sent, or run it and answer with the rate."""
    torch.set_num_threads(1)
    loop = None
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        rate = 0.0
        if message == "run":
            loop.reset()
            barrier.wait(PATIENCE)
            started = time.perf_counter()
            loop.run()
            rate = loop.member_steps / (time.perf_counter() - started)
        else:
            work, seeds, steps = message
            loop = Loop(work, range(number * seeds, (number + 1) * seeds), steps)
        pipe.send(rate)
