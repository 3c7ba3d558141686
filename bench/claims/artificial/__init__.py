"""Artificial critical points: when they trap, and how they are avoided: CL22-CL31, CL47."""
