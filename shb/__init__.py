"""Stochastic heavy ball and its relatives on nonsmooth nonconvex problems.

`shb.SHB` is a torch.optim.Optimizer for any training loop. Below it: pure update rules (`shb.optimizers`),
schedules (`shb.schedules`), kinks (`shb.nonsmooth`), problems, models, data sets, and stacked training.
"""

from shb.optimizers import SHB

__version__ = "0.1.0"
__all__ = ["SHB", "__version__"]
