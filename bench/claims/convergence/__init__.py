"""Convergence of the objective, of the iterates, its laws and limits: CL4-CL13, CL53."""
