"""Claims of the theory, their evidence and their verdicts."""
