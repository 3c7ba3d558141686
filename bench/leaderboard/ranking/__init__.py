"""How optimizers are compared: pure functions of values over seeds, explained in docs/ranking.md."""
