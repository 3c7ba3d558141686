"""Exact conversions and identities: CL1-CL3."""
