"""What a suite has planned, as the store knows it: no Hydra, no data files, no torch."""
