"""One dataclass for each configuration group, with its own check.

What needs more than one group, such as a momentum schedule beside an optimizer without momentum, is checked where all
is known (bench/cell/cell.py, grid.py, problem.py). What a plug-in adds must be loaded before.
"""

from bench.cell.groups.clip import ClipConfig
from bench.cell.groups.group import Group
from bench.cell.groups.logger import LoggerConfig
from bench.cell.groups.optimizer import DECAY, OptimizerConfig
from bench.cell.groups.problem import DatasetConfig, ModelConfig, ProblemConfig
from bench.cell.groups.schedule import SECOND_ORDER, MomentumScheduleConfig, ScheduleConfig
from bench.cell.groups.start import InitConfig, VelocityConfig
from bench.cell.groups.suite import ClaimConfig, SuiteConfig

__all__ = [
    "DECAY",
    "SECOND_ORDER",
    "ClaimConfig",
    "ClipConfig",
    "DatasetConfig",
    "Group",
    "InitConfig",
    "LoggerConfig",
    "ModelConfig",
    "MomentumScheduleConfig",
    "OptimizerConfig",
    "ProblemConfig",
    "ScheduleConfig",
    "SuiteConfig",
    "VelocityConfig",
]
