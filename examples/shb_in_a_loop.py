"""The heavy ball in an ordinary torch loop, beside torch's own momentum: the same until the step size changes.

python examples/shb_in_a_loop.py

With a constant step size both take the same path. Where a schedule divides the step size, torch's form divides the
velocity with it; Polyak's form, which the theory is about, keeps it (docs/theory.md, section 1).
"""

from collections.abc import Callable

import torch

from shb import SHB


def losses(optimizer_class: Callable[..., torch.optim.Optimizer], steps: int, drop: int) -> list[float]:
    """Full-batch losses of a small network on 256 points; the step size is divided by 10 at step `drop`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 10, generator=generator, dtype=torch.float64)
    y = x[:, :1].abs() + 0.1 * torch.randn(256, 1, generator=generator, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)).double()

    optimizer = optimizer_class(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [drop], gamma=0.1)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        seen.append(loss.item())
    return seen


def main(steps: int = 100, drop: int = 30) -> tuple[list[float], list[float]]:
    """Print both paths around the drop; returns the losses of SHB and of torch.optim.SGD, [steps] each."""
    ours, theirs = losses(SHB, steps, drop), losses(torch.optim.SGD, steps, drop)
    print("step   shb.SHB   torch.optim.SGD")
    for k in sorted({0, drop // 2, drop, min(drop + 5, steps - 1), steps - 1}):
        print(f"{k:4d}   {ours[k]:.5f}   {theirs[k]:.5f}")
    return ours, theirs


if __name__ == "__main__":
    main()
