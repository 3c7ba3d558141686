"""Speed of stacked training against one-at-a-time torch.optim, as ratios measured in one process."""
