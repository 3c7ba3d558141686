"""An own optimizer, model, data set, loss, schedule and closed form in one file outside the repository: a plug-in.

python -m bench.run plugins=[docs/examples/plugin.py] optimizer=signsgd model=tanh_mlp dataset=rings seeds=8
python -m bench.run plugins=[docs/examples/plugin.py] dataset=diabetes loss=huber schedule=warmup seeds=8
python -m bench.run plugins=[docs/examples/plugin.py] suite=smoke suite.optimizers=[sgd,shb,signsgd]
"""

from typing import Any

import numpy as np
import torch

from shb.datasets.dataset import Dataset, build_dataset, permuted_split
from shb.optimizers import Hyperparameters, Optimizer, Params, State, expand
from shb.optimizers.optimizer import refuse_velocity
from shb.problems import ClosedForm
from shb.schedules import Schedule
from shb.streams import signs


def init(params: Params, hyperparameters: Hyperparameters, velocity: Params | None = None) -> State:
    """No state."""
    refuse_velocity("signsgd", velocity)
    return {}


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | torch.Tensor
) -> tuple[Params, State]:
    """w_{k+1} = w_k - lr_k sign(g_k).  Bernstein et al., arXiv 1802.04434."""
    lr = hyperparameters["lr"]
    return {name: w - expand(lr, w) * torch.sign(grads[name]) for name, w in params.items()}, {}


def tanh_mlp(
    feature_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 16,
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> torch.nn.Module:
    """One hidden layer with tanh; it has no ReLU, whose settings it need not use."""
    size = int(np.prod(feature_shape))
    layers = torch.nn.Flatten(), torch.nn.Linear(size, width), torch.nn.Tanh(), torch.nn.Linear(width, outputs)
    return torch.nn.Sequential(*layers)


def rings() -> Dataset:
    """300 points in the plane, in or out of a circle."""
    x = np.random.RandomState(0).standard_normal((300, 2))
    inside = ((x**2).sum(1) < 1.4).astype(np.int64)
    return build_dataset(
        *("rings", "classification", x, inside, permuted_split(300)), outputs=2, source="here", licence="CC0"
    )


class Tilted(ClosedForm):
    """f(w, s) = |w| + slope s w, s = +-1: F(w) = |w|."""

    name, minimum = "tilted", 0.0

    def __init__(self, *, slope: float = 0.5, **options: Any) -> None:
        self.slope = slope
        super().__init__(**options)

    def objective(self, w: torch.Tensor) -> torch.Tensor:
        return w[..., 0].abs()

    def clarke_distance(self, w: torch.Tensor) -> torch.Tensor:
        return w[..., 0].abs()

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(signs(seeds, "sampling", start, stop))

    def loss(self, params: Params, s: torch.Tensor) -> torch.Tensor:
        return (params["w"].abs() + self.slope * s * params["w"]).sum()


def huber(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """r^2 / 2 where |r| < 1, else |r| - 1/2; summed over outputs: [..., outputs] -> [...]."""
    residual = (output - y).abs()
    return torch.where(residual < 1, residual * residual / 2, residual - 0.5).sum(-1)


def rising(k: int, steps: int, share: float) -> float:
    """From 0 to 1 in the first `share` of a run, then 1."""
    return min(1.0, (k + 1) / (share * steps))


OPTIMIZERS = [Optimizer("signsgd", {"lr": 1e-3}, init, update), Optimizer("momentum_free", {"lr": None}, init, update)]
SPACES = {"signsgd": {"lr": {"low": 1e-4, "high": 0.1, "scale": "log"}}}
MODELS = {"tanh_mlp": tanh_mlp}
DATASETS = {"rings": rings}
PROBLEMS = {"tilted": Tilted}
LOSSES = {"huber": huber}
SCHEDULES = [Schedule("warmup", {"share": 0.1}, rising, {"share": (1e-6, 1.0)})]
