"""Stochastic heavy ball and its relatives on nonsmooth nonconvex problems.

`shb.SHB` is a torch.optim.Optimizer for any training loop. Below it: pure update rules (`shb.optimizers`),
schedules (`shb.schedules`), kinks (`shb.nonsmooth`), problems, models, data sets, and stacked training.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shb.optimizers import SHB

__version__ = "0.1.0"
__all__ = ["SHB", "__version__"]


def __getattr__(name: str) -> Any:
    """`shb.SHB`, found when it is asked for: what reads results imports parts of this package, and needs no torch."""
    if name == "SHB":
        from shb.optimizers import SHB

        return SHB
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
