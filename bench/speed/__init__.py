"""Speed of stacked training against one-at-a-time torch.optim, JAX and the machine, as ratios from one run."""
