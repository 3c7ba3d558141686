"""Stochastic heavy ball and its relatives on nonsmooth nonconvex problems.

`shb.SHB` is a torch.optim.Optimizer for any training loop; the rest is what stacks of many small trainings are made of.

Public are the modules of this table: their names in `__all__`, or, in a module without it, what it defines with no
leading underscore. A change of these is in CHANGELOG.md. Everything else may change without a word.

| module | what for |
|---|---|
| `shb` | `SHB`, the heavy ball in an ordinary torch loop |
| `shb.optimizers` | pure update rules on dictionaries of tensors, by name |
| `shb.optimizers.optimizer` | what a rule is, and what helps to write one |
| `shb.optimizers.conversions` | momentum forms to and from Polyak's; the effective step |
| `shb.schedules` | step size and momentum as functions of the step |
| `shb.streams` | named random streams of a seed, drawn on the CPU |
| `shb.nonsmooth` | ReLU'(0) rules, stationarity, the differential inclusion |
| `shb.problems` | objectives: closed forms and networks on data, one protocol |
| `shb.problems.closed_forms` | the examples E1 .. E16, the test functions, laws of noise |
| `shb.problems.closed_forms.closed_form` | the base of a closed form, and what helps to write one |
| `shb.models` | networks as torch modules, and their initialisation |
| `shb.datasets` | data with fixed splits and checksums, by name |
| `shb.datasets.dataset` | what a data set is, and what makes one of raw arrays |
| `shb.training` | stacks of members, chunks, checkpoints |
| `shb.kernels` | convolutions and tapes of a stack |
| `shb.errors` | what is raised for a wrong value |
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

        globals()[name] = SHB  # from now on a name like others
        return SHB
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
