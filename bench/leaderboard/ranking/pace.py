"""Wall time, only as a ratio to the fastest optimizer of the same problem on the same machine."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

MACHINE = ("cpu", "device_name", "threads", "torch", "platform", "engine")  # all equal, or no comparison


def time_ratios(members: Mapping[str, pl.DataFrame]) -> dict[str, float] | None:
    """Seconds per step of a member over those of the fastest optimizer, compilation left out; the fastest has 1.

    Args:
        members: optimizer -> its member rows (columns of the store) on one problem, tuning and evaluation.

    None if an optimizer has none, or if they come from several machines, libraries or engines: then the times do not
    compare optimizers. On one machine they still depend on what else it was doing, and on the widths of the stacks.
    """
    together = pl.concat([rows.select(*MACHINE, "member_steps_per_second") for rows in members.values()])
    if not all(map(len, members.values())) or together.select(MACHINE).n_unique() > 1:
        return None
    seconds = {optimizer: (1 / rows["member_steps_per_second"]).mean() for optimizer, rows in members.items()}
    if not all(seconds.values()):
        return None
    fastest = min(seconds.values())
    return {optimizer: value / fastest for optimizer, value in seconds.items()}
