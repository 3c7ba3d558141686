"""The measure "grid": every setting of a grid, for each seed, on one problem per initialisation scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.claims.experiment import Columns, measure
from bench.claims.trajectories import advance, overrides_of
from shb.training import Member, Stack

FACTORS = ("init", "momentum", "q", "lr")  # order of the axes


@measure("grid")
def grid(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Final F of SHB with the power schedule for all levels of `settings["levels"]` (factor -> values).

    Column objective [n, product of the numbers of levels], the last factor of FACTORS varying fastest; NaN for a run
    that diverged.
    """
    blocks = []
    for std in settings["levels"]["init"]:
        cell = build_cell(compose_config(_overrides(settings, std)))
        wanted = [_setting(settings, index) for index in np.ndindex(*shape(settings["levels"])[1:])]
        members = []
        for seed in seeds:
            for setting in wanted:
                members.append(Member(int(seed), {**cell.members[0].hyperparameters, **setting}))
        columns = advance(Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine), {})
        f = np.where(columns["diverged"].cpu(), np.nan, columns["objective"].cpu())[: len(members)]
        blocks.append(f.reshape(len(seeds), -1))
    return {"objective": np.concatenate(blocks, axis=1)}


def _overrides(settings: Mapping[str, Any], std: float) -> list[str]:
    common = {"optimizer": "shb", "schedule": "power", "init": "normal", "init.std": std, "engine": "eager"}
    return overrides_of(common, *settings["overrides"], {"device": settings["device"], "seeds": 1})


def _setting(settings: Mapping[str, Any], index: Sequence[int]) -> dict[str, float]:
    momentum, q, lr = (settings["levels"][factor][i] for factor, i in zip(FACTORS[1:], index))
    return {"momentum": momentum, "schedule.q": q, "lr": lr}


def shape(levels: Mapping[str, Sequence[float]]) -> tuple[int, ...]:
    """Numbers of levels in the order of FACTORS."""
    return tuple(len(levels[factor]) for factor in FACTORS)
