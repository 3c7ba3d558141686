"""Finite precision, ReLU'(0) and max-pooling: CL32-CL37."""
