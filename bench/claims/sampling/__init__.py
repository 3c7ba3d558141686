"""Subgradient sampling and comparison of optimizers: CL38-CL41."""
